"""Corpora by name. A new corpus is one module with ``read(root) -> Corpus`` and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from parallel_ser.corpora import (
    audformat,
    choose,
    crema_d,
    emodb,
    emovo,
    esd,
    iemocap,
    manifest,
    meld,
    ravdess,
    savee,
    tess,
)
from parallel_ser.corpora.base import Corpus, NoCorpusError
from parallel_ser.corpora.labels import align, apply
from parallel_ser.corpora.settings import CorpusSettings, PartSettings
from parallel_ser.errors import UserError

READERS: Mapping[str, Callable[[Path], Corpus]] = MappingProxyType(
    {
        "ravdess": ravdess.read,
        "tess": tess.read,
        "emodb": emodb.read,
        "crema_d": crema_d.read,
        "iemocap": iemocap.read,
        "savee": savee.read,
        "meld": meld.read,
        "esd": esd.read,
        "emovo": emovo.read,
        "audformat": audformat.read,
        "manifest": manifest.read,
    }
)


def recognise(root: Path, how: str) -> Corpus:
    """Read the corpus at ``root``, of the kind that its files look like; ``how`` to name it goes into an error.

    Raises:
        UserError: nothing is at ``root``, its files look like no corpus or like more than one, or like one of which
            something is wrong.
    """
    place = root.expanduser()
    if not place.exists():
        raise UserError(f"{root} does not exist; give the corpus's folder or a manifest's CSV file.")
    if place.is_file():
        return manifest.read(root)
    if (place / audformat.HEADER).is_file():  # which says what its files are, whatever their names look like
        return audformat.read(root)
    found = []
    for reader in READERS.values():
        try:
            found.append(reader(root))
        except NoCorpusError:
            continue
    if len(found) == 1:
        return found[0]
    names = ", ".join(READERS)
    if found:
        looks = " or ".join(corpus.name for corpus in found)
        raise UserError(f"the files in {root} look like {looks}; say which with {how}: {names}.")
    lists = sorted(place.glob("*.csv"))
    csv = f"{lists[0]} would be read as one" if lists else "a line such as rec/0001.wav,p01,anger for each recording"
    raise UserError(
        f"the files in {root} look like no known corpus; say which with {how}: {names}. Or give, in place of the "
        f"folder, a CSV file with the columns path, speaker, emotion: {csv}."
    )


def load(settings: CorpusSettings, jobs: int | None = None) -> Corpus:
    """Read what the settings name: each corpus and what is chosen of it, joined, its emotions merged and mapped.

    Args:
        settings: which corpora, where they lie, which recordings and emotions.
        jobs: processes that render the built-in corpus where it is not cached; all cores when None.

    Raises:
        UserError: a corpus is not where the settings say, or its fields or emotions are not those that they name.
    """
    parts = [choose.where(_read(part, jobs), part.where) for part in settings.parts]
    joined = choose.join(parts)
    choose.require_distinct_speakers(joined)
    merged = choose.merge(joined, settings.merge)
    return choose.emotions(apply(merged, settings.labels), settings.emotions)


def load_pair(
    corpus: CorpusSettings, test: CorpusSettings | None, jobs: int | None = None
) -> tuple[Corpus, Corpus | None]:
    """The corpus trained on and, where there is one, the corpus tested on under the first one's names of emotions.

    Raises:
        UserError: as for ``load``.
    """
    learnt = load(corpus, jobs)
    return learnt, align(load(test, jobs), learnt.classes) if test else None


def _read(settings: PartSettings, jobs: int | None) -> Corpus:
    if settings.name == "synthetic":
        from parallel_ser.corpora import synthetic  # renders audio, so it alone needs numpy and soundfile

        return synthetic.make(settings.synthetic, jobs=jobs)
    if settings.root is None:
        raise UserError(f"corpus.name={settings.name} needs corpus.root, the folder of its recordings.")
    return READERS[settings.name](settings.root)
