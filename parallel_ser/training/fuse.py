"""Fusing finished runs of the same folds, from what they said of the same utterances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from parallel_ser.decision import calibration, fusion
from parallel_ser.errors import UserError
from parallel_ser.system.digests import write_json
from parallel_ser.training import card, run_folder
from parallel_ser.training.fused import HOW, Pool, record_of
from parallel_ser.training.inference import Run
from parallel_ser.training.metrics import Metrics, measure
from parallel_ser.training.predictions import Predictions, concatenate

Method = Literal["mean", "stack"]


@dataclass(frozen=True)
class Fused:
    """What a fusion said.

    Attributes:
        selection: of each fold, of utterances that no system was trained or is tested on.
        tested: of each fold's test side.
        metrics: over all folds.
        pools: of each fold, the systems' calibrations and the stacker's weights.
        runs: that are fused.
        method: how.
    """

    selection: dict[int, Predictions]
    tested: dict[int, Predictions]
    metrics: Metrics
    pools: dict[int, Pool]
    runs: Sequence[Run]
    method: Method


def fuse(folders: Sequence[Path], method: Method) -> Fused:
    """The mean of calibrated log-probabilities, or a stacker fitted on the utterances that each system held out.

    Every system is calibrated by temperature on what it said of its own selection utterances; the stacker sees those
    that all systems held out. Folds are never mixed: a fold's test speakers train other folds' systems.

    Raises:
        UserError: fewer than two runs, runs of other folds or classes, or one that is not finished.
    """
    if len(folders) < 2:
        raise UserError("a fusion needs two runs or more.")
    runs = [Run.open(folder) for folder in folders]
    folds = runs[0].folds
    for run in runs:
        if run.folds != folds:
            raise UserError(f"{run.folder} has folds {_listed(run.folds)}, but {folders[0]} {_listed(folds)}.")
    heard, held = [run.tested() for run in runs], [run.selection() for run in runs]
    selection, tested, pools = {}, {}, {}
    for fold in folds:
        own = [run[fold] for run in heard]
        classes = own[0].classes
        chosen = [_ordered(run[fold], classes, folder) for run, folder in zip(held, folders, strict=True)]
        own = [_ordered(one, classes, folder) for one, folder in zip(own, folders, strict=True)]
        own = [_same(own[0], one, folder, folders[0]) for one, folder in zip(own, folders, strict=True)]
        calibrators = [calibration.fit("temperature", one.probabilities, one.truth_indices) for one in chosen]
        common = _common(chosen, own[0], fold)
        stacker = None
        if method == "stack":
            learned = [calibrator(one.probabilities) for calibrator, one in zip(calibrators, common, strict=True)]
            stacker = fusion.Stacker.fit(learned, common[0].truth_indices)
        pool = pools[fold] = Pool(tuple(calibrators), stacker)
        selection[fold] = common[0].with_probabilities(pool([one.probabilities for one in common]))
        tested[fold] = own[0].with_probabilities(pool([one.probabilities for one in own]))
    metrics = _metrics(folders, list(tested.values()), method)
    return Fused(selection, tested, metrics, pools, runs, method)


def _ordered(predictions: Predictions, classes: tuple[str, ...], folder: Path) -> Predictions:
    """The same with its classes in another order."""
    if set(predictions.classes) != set(classes):
        raise UserError(f"{folder} tells {_listed(predictions.classes)} apart, but the first run {_listed(classes)}.")
    return predictions.with_classes(classes)


def _same(first: Predictions, other: Predictions, folder: Path, reference: Path) -> Predictions:
    """``other`` in the order of ``first``'s utterances."""
    places = {path: place for place, path in enumerate(other.paths)}
    if set(places) != set(first.paths):
        raise UserError(f"{folder} was tested on other recordings than {reference}: fuse runs of one corpus and split.")
    return other.take([places[path] for path in first.paths])


def _common(parts: Sequence[Predictions], tested: Predictions, fold: int) -> list[Predictions]:
    """The utterances that all systems held out, in one order; none of them is tested."""
    shared = set.intersection(*(set(one.paths) for one in parts)) - set(tested.paths)
    if not shared:
        raise UserError(f"in fold {fold} there is no utterance that every run held out: fuse with runs of one split.")
    order = [path for path in parts[0].paths if path in shared]
    return [one.take([one.paths.index(path) for path in order]) for one in parts]


def _metrics(folders: Sequence[Path], parts: list[Predictions], method: Method) -> Metrics:
    """Of all folds, with the audit of the runs' split and everything that must be said of any of them."""
    records = [run_folder.metrics_of(folder) for folder in folders]
    notes = [f"fusion of {len(folders)} systems by {HOW[method]}"]
    notes += dict.fromkeys(note for record in records for note in record["notes"])
    metrics = measure(concatenate(parts), records[0]["audit"])
    return metrics.model_copy(update={"notes": tuple(dict.fromkeys([*metrics.notes, *notes]))})


def write(folder: Path, fused: Fused) -> dict[str, Any]:
    """Write a fusion as a folder with the files of a run's results; returns the metrics as a plain record."""
    for fold, tested in fused.tested.items():
        home = run_folder.fold_folder(folder, fold)
        tested.to_csv(home / "predictions.csv")
        fused.selection[fold].to_csv(home / "selection.csv")
        write_json(home / run_folder.FUSION, fused.pools[fold].state())
    write_json(folder / run_folder.FUSION, record_of(folder, fused.runs, fused.method))
    record = run_folder.write_results(folder, concatenate(list(fused.tested.values())), fused.metrics)
    card.write(folder, fused.runs[0].config)
    return record


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
