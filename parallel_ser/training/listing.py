"""What there is of runs, as plain records to list and compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from parallel_ser.config import Config
from parallel_ser.corpora.protocols import PUBLISHED
from parallel_ser.corpora.settings import SplitSettings
from parallel_ser.errors import UserError
from parallel_ser.system.digests import read_json as read_with_digest
from parallel_ser.system.files import cache_key
from parallel_ser.training import run_folder

FIELDS = (
    *("run", "problem", "corpus", "model", "protocol", "split_seed", "seed", "folds", "folds_done", "n", "speakers"),
    *("uar", "uar_low", "uar_high", "wa", "macro_f1", "chance"),
)
"""Of a run's record; what is not known is None. ``problem`` says what is wrong with its folder."""


def find(places: Sequence[Path]) -> list[Path]:
    """The run folders among ``places``, and directly under those that are none, by name.

    Raises:
        UserError: a place is no folder, or there is no run in any.
    """
    found = []
    for place in places:
        if not place.is_dir():
            raise UserError(f"{place} is no folder: give the folders of runs, or one that holds them.")
        found += [place] if _is_run(place) else sorted(one for one in place.iterdir() if _is_run(one))
    if not found:
        raise UserError(f"there is no run in {', '.join(map(str, places))}; parallel-ser train makes one.")
    return list(dict.fromkeys(found))


def record(folder: Path) -> dict[str, Any]:
    """A run with its result, as ``FIELDS`` says; a folder that cannot be read has a problem and no result."""
    row: dict[str, Any] = {**dict.fromkeys(FIELDS), "run": str(folder)}
    try:
        row |= _fusion(folder) if run_folder.is_fusion(folder) else _settings(folder)
        if (folder / run_folder.METRICS).exists():
            row |= _result(run_folder.metrics_of(folder))
    except UserError as error:
        row["problem"] = str(error)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        row["problem"] = f"a JSON file of {folder} does not hold what a run writes: {error}"
    return row


def over_seeds(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs that differ in their seed alone, two or more: their number, the mean UAR and its deviation (n - 1)."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["uar"] is not None and row["seed"] is not None:
            groups.setdefault(_recipe(run_folder.settings(Path(row["run"])), row["model"]), []).append(row)
    return [
        {
            "runs": [row["run"] for row in group],
            "seeds": [row["seed"] for row in group],
            "uar_mean": fmean(row["uar"] for row in group),
            "uar_std": stdev(row["uar"] for row in group),
        }
        for group in groups.values()
        if len({row["seed"] for row in group}) > 1
    ]


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").exists() or run_folder.is_fusion(folder)


def _settings(folder: Path) -> dict[str, Any]:
    config = run_folder.settings(folder)
    processes = run_folder.read_json(folder / "environment.json")["processes"]
    classical = any(folder.glob("fold-*/model.skops"))
    return {
        "corpus": config.corpora,
        "model": config.classical.system if classical else run_folder.kind_of(config, processes),
        "protocol": config.split.protocol,
        "split_seed": config.split.seed,
        "seed": config.classical.seed if classical else config.train.seed,
        "folds": _folds_of(config.split) or len(run_folder.folds(folder)),
        "folds_done": len(run_folder.tested_folds(folder)),
    }


def _folds_of(split: SplitSettings) -> int:
    """How many folds the protocol has, whichever were asked for; 0 where the settings alone do not tell."""
    if split.protocol in PUBLISHED:
        return len(PUBLISHED[split.protocol])
    return split.folds if split.protocol in ("auto", "random", "speaker", "session", "text") else 0


def _fusion(folder: Path) -> dict[str, Any]:
    fused = read_with_digest(folder / run_folder.FUSION)
    first = record(folder / fused["runs"][0]["folder"])
    if first["problem"]:
        raise UserError(first["problem"])
    own = {"model": f"{fused['method']} of {len(fused['runs'])}", "folds": len(fused["folds"])}
    same = {name: first[name] for name in ("corpus", "protocol", "split_seed")}
    return {**same, **own, "folds_done": len(fused["folds"])}


def _result(metrics: dict[str, Any]) -> dict[str, Any]:
    low, high = metrics["uar"]["interval"] or (None, None)
    # the protocol that "auto" stood for
    named = {"protocol": metrics["audit"]["protocol"]} if metrics["audit"] else {}
    figures = {**named, **{name: metrics[name] for name in ("n", "speakers", "macro_f1", "chance")}}
    return {**figures, "uar": metrics["uar"]["value"], "uar_low": low, "uar_high": high, "wa": metrics["wa"]["value"]}


def _recipe(config: Config, model: str) -> str:
    """The settings but for the seed of the training, and what has no part in its result."""
    settings = config.model_dump(mode="json", exclude={"run": True, "train": {*run_folder.FREE}})
    for group in ("train", "classical"):
        settings[group].pop("seed")
    return cache_key([model, settings])
