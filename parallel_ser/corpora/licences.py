"""The terms of the corpora that can be fetched, as shown before anything is downloaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """Terms of a corpus: the licence's name and address, what it asks in short, and the paper to cite."""

    corpus: str
    name: str
    url: str
    terms: str
    citation: str

    def text(self) -> str:
        """What a user reads before accepting."""
        return (
            f"{self.corpus} is licensed under {self.name}.\n"
            f"Full text: {self.url}\n\n"
            f"{self.terms}\n\n"
            f"Cite: {self.citation}\n"
        )


RAVDESS = Licence(
    corpus="RAVDESS",
    name="Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0)",
    url="https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode",
    terms=(
        "In short: name the authors; no commercial use; what you make from it and share carries the same licence.\n"
        "A commercial licence is the authors' to give. This summary does not replace the licence."
    ),
    citation=(
        "Livingstone SR, Russo FA (2018). The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS): "
        "A dynamic, multimodal set of facial and vocal expressions in North American English. "
        "PLoS ONE 13(5): e0196391. https://doi.org/10.1371/journal.pone.0196391"
    ),
)

TESS = Licence(
    corpus="TESS",
    name="Creative Commons Attribution-NonCommercial-NoDerivatives 4.0 International (CC BY-NC-ND 4.0)",
    url="https://creativecommons.org/licenses/by-nc-nd/4.0/legalcode",
    terms=(
        "In short: name the authors; no commercial use; share it unchanged or not at all.\n"
        "This summary does not replace the licence."
    ),
    citation=(
        "Pichora-Fuller MK, Dupuis K (2020). Toronto emotional speech set (TESS). Borealis. "
        "https://doi.org/10.5683/SP2/E8H2MF"
    ),
)
