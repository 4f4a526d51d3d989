"""Calibrating a finished run: on speakers that it was not trained on, judged on test speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from parallel_ser.decision import calibration
from parallel_ser.decision.abstention import MIN_SPEAKERS, Promise, risk_coverage, threshold
from parallel_ser.errors import UserError
from parallel_ser.system.digests import read_json, shaped, write_json
from parallel_ser.training import run_folder
from parallel_ser.training.inference import Run
from parallel_ser.training.predictions import Predictions, concatenate


@dataclass(frozen=True)
class Calibrated:
    """A run's calibration, and what it makes of the test sides.

    Attributes:
        states: of each fold, as ``calibration.json`` keeps it.
        record: that ``report.calibration`` draws.
        predictions: of all test sides, calibrated.
    """

    states: dict[int, dict[str, Any]]
    record: dict[str, Any]
    predictions: Predictions


def calibrate(run: Run, method: str, errors: Sequence[float], even_if_worse: bool = False) -> Calibrated:
    """Fit each fold's calibration and thresholds on speakers that it was neither trained nor tested on, and keep them.

    ``predict`` and ``evaluate`` use them from then on. A method that makes the ECE of the test sides worse is not kept:
    the probabilities then stay as they are, and the thresholds are of these; the record has what was tried.

    Args:
        run: finished.
        method: of ``decision.calibration``.
        errors: each an error among answered utterances that a threshold is to promise.
        even_if_worse: keep the method all the same.

    Raises:
        UserError: a fold of the run is not finished.
    """
    tested, (held_out, told) = run.tested(), _held_out(run)
    found = _fitted(tested, held_out, method, errors)
    before, after = found.record["before"]["ece"], found.record["after"]["ece"]
    tried = None
    if after > before and not even_if_worse:
        tried = {"method": method, "ece": after}
        found = _fitted(tested, held_out, "none", errors)
    found.record.update(fitted_on=told, tried=tried)
    for fold, state in found.states.items():
        write_json(run_folder.fold_folder(run.folder, fold) / "calibration.json", state)
    return found


def _held_out(run: Run) -> tuple[dict[int, Predictions], str]:
    """Of each fold what to fit its calibration on, and what that is in words.

    The selection side, where it has enough speakers for a threshold. Otherwise the test sides of the other folds, less
    the fold's own test speakers: what models of the same kind said of speakers that these had not been trained on.
    """
    selection, tested = run.selection(), run.tested()
    if _speakers(selection) < MIN_SPEAKERS:
        others = {}
        for fold, own in tested.items():
            every = [side for other, side in tested.items() if other != fold]
            rows = [[row for row, one in enumerate(side.speakers) if one not in own.speakers] for side in every]
            others[fold] = [side.take(kept) for side, kept in zip(every, rows, strict=True) if kept]
        if all(others.values()):
            joined = {fold: concatenate(parts) for fold, parts in others.items()}
            if _speakers(joined) > _speakers(selection):
                return joined, "the test speakers of the other folds"
    return selection, "speakers that each fold held out from its training"


def _speakers(sides: Mapping[int, Predictions]) -> int:
    """Of the fold that has the fewest."""
    return min(len(set(side.speakers)) for side in sides.values())


def _fitted(
    tested: Mapping[int, Predictions], held_out: Mapping[int, Predictions], method: str, errors: Sequence[float]
) -> Calibrated:
    """A fold's own test speakers take no part in its calibration, so nothing is measured where it was fitted."""
    after, promises, states = [], {}, {}
    for fold, own in tested.items():
        chosen = held_out[fold]
        calibrator = calibration.fit(method, chosen.probabilities, chosen.truth_indices)
        sure = calibrator(chosen.probabilities)
        right = sure.argmax(axis=1) == chosen.truth_indices
        speakers = np.array(chosen.speakers)
        promises[fold] = [threshold(sure.max(axis=1), right, speakers, error) for error in errors]
        states[fold] = {**calibrator.state(), "promises": [asdict(one) for one in promises[fold]]}
        after.append(own.with_probabilities(calibrator(own.probabilities)))
    raw, calibrated = concatenate(list(tested.values())), concatenate(after)
    confidence, correct = _answers(calibrated)
    record = {
        "method": method,
        "n": len(raw),
        "speakers": len(set(raw.speakers)),
        "before": calibration.measures(raw.probabilities, raw.truth_indices),
        "after": calibration.measures(calibrated.probabilities, calibrated.truth_indices),
        "risk_coverage": risk_coverage(confidence, correct).record(),
        "promises": [
            _kept([promises[fold][place] for fold in tested], calibrated, list(tested)) for place in range(len(errors))
        ],
    }
    return Calibrated(states, record, calibrated)


def _answers(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and correctness, both (utterances,)."""
    return predictions.probabilities.max(axis=1), predictions.predicted_indices == predictions.truth_indices


def _kept(promises: Sequence[Promise], tested: Predictions, folds: Sequence[int]) -> dict[str, Any]:
    """One error's promises of all folds, with what came of them on the test sides.

    The threshold shown is the strictest fold's; each fold answers by its own, or not at all where it has none.
    """
    own = {fold: promise.threshold for fold, promise in zip(folds, promises, strict=True)}
    confidence, correct = _answers(tested)
    answered = np.array(
        [own[fold] is not None and sure >= own[fold] for fold, sure in zip(tested.folds, confidence, strict=True)]
    )
    thresholds = [value for value in own.values() if value is not None]
    least = [promise.smallest_error for promise in promises if promise.smallest_error is not None]
    return {
        **asdict(promises[0]),
        "threshold": max(thresholds) if thresholds else None,
        "coverage": float(answered.mean()),
        "answered_error": float(1.0 - correct[answered].mean()) if answered.any() else None,
        "smallest_error": max(least) if least else None,
        "reason": next((promise.reason for promise in promises if promise.reason), None),
    }


def promised(run: Run, fold: int) -> dict[float, Promise]:
    """What ``calibrate`` promises of a fold, by the error; nothing where it was not asked.

    Raises:
        DamagedError: the file is damaged.
    """
    path = run_folder.fold_folder(run.folder, fold) / "calibration.json"
    promises = read_json(path).get("promises", []) if path.exists() else []
    with shaped(path):
        return {float(promise["error"]): Promise(**promise) for promise in promises}


def thresholds(run: Run, error: float) -> float:
    """The confidence from which the run answers when at most ``error`` of its answers are to be wrong.

    The strictest fold's, for ``predict`` asks all folds' models together.

    Raises:
        UserError: the run was not calibrated for this error, or a fold could not promise it.
    """
    found = []
    for fold in run.folds:
        known = promised(run, fold)
        if error not in known:
            raise UserError(
                f"{run.folder} has no threshold for an error of {error:g} yet: "
                f"run parallel-ser calibrate {run.folder} --error {error:g} first."
            )
        promise = known[error]
        if promise.threshold is None:
            least = promise.smallest_error
            why, way = promise.reason, "train with more speakers or more folds"
            if least is not None:
                why, way = f"the least that it could is {least:.2f}", "calibrate for a larger error"
            raise UserError(
                f"fold {fold} of {run.folder} cannot promise an error of {error:g}: {why}; leave --error out, or {way}."
            )
        found.append(promise.threshold)
    return max(found)
