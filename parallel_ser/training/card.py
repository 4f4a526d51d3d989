"""The card of a run's model: what it is, on which data, how it was tested, and where it must not be used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parallel_ser.config import Config
from parallel_ser.corpora import licences
from parallel_ser.models.registry import title
from parallel_ser.report.markdown_pages import card
from parallel_ser.system.digests import read_json
from parallel_ser.system.files import write_text
from parallel_ser.training import robustness, run_folder

FILE = "card.md"
_LICENCES = {one.corpus.casefold(): one for one in vars(licences).values() if isinstance(one, licences.Licence)}


def write(folder: Path, config: Config) -> None:
    """Write the card of a finished run into its folder, from its metrics and, where they are there, its alterations.

    Args:
        folder: of the run.
        config: of the run, or of one of those that are fused.
    """
    metrics: Mapping[str, Any] = run_folder.metrics_of(folder)
    altered = folder / robustness.FILE
    tried = read_json(altered) if altered.exists() else None
    corpora = []
    for name in dict.fromkeys(one.name for one in config.corpus.parts):
        licence = _LICENCES.get(str(name))
        known = {"licence": licence.name, "citation": licence.citation} if licence else {}
        if name == "synthetic":
            known = {"licence": "made by this program, no person's speech"}
        corpora.append({"name": name, **known})
    record = {
        "name": folder.absolute().name,
        "system": _system(folder, config),
        "tta_copies": 0 if run_folder.is_fusion(folder) else config.train.tta_copies,
        "version": version("parallel-ser"),
        "classes": metrics["classes"],
        "corpora": corpora,
        "metrics": metrics,
        "robustness": tried,
        "limits": _limits(metrics, tried),
    }
    write_text(folder / FILE, card(record).rstrip() + "\n")


def _system(folder: Path, config: Config) -> str:
    if run_folder.is_fusion(folder):
        return "A fusion of several systems"
    if any(folder.glob("fold-*/model.skops")):
        return f"The classical system {config.classical.system} on {', '.join(config.classical.views)}"
    beside, views = config.model.beside, ", ".join(config.classical.views)
    vectors = f", which reads {views}{' beside the frames' * beside.frames}" if beside.vectors else ""
    return f"The network {title(config.model)}{vectors}"


def _limits(metrics: Mapping[str, Any], tried: Mapping[str, Any] | None) -> list[str]:
    """What its figures and the way they came about say against it, as clauses."""
    found = [*metrics["notes"]]
    whole = metrics["uar"]["value"]
    for row in metrics["per_sex"]:
        if abs(row["uar"] - whole) > robustness.SEX:
            found.append(
                f"UAR on {row['name']} speakers is {row['uar']:.3f}, more than {robustness.SEX:g} from the whole's "
                f"{whole:.3f}"
            )
    weak = [row["name"] for row in metrics["per_class"] if row["support"] and row["recall"] <= metrics["chance"]]
    if weak:
        found.append(f"recognised no more often than by chance: {', '.join(weak)}")
    gap = metrics["confidence_gap"]
    if abs(gap) > 0.05:
        found.append(f"its confidence is {abs(gap):.3f} {'above' if gap > 0 else 'below'} its accuracy: calibrate it")
    if tried is None:
        found.append("it was not tried with altered sound: parallel-ser evaluate RUN --robustness")
    else:
        found += tried["short"]
    return [
        *found,
        "other languages, ages, rooms, microphones and ways of speaking than its data has were not tested",
        "what is acted or labelled by listeners is not what a person feels",
    ]
