"""Calibrating a finished run: on selection speakers, judged on test speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from parallel_ser.decision import calibration
from parallel_ser.decision.abstention import Promise, risk_coverage, threshold
from parallel_ser.errors import UserError
from parallel_ser.system.digests import read_json, write_json
from parallel_ser.training import run_folder
from parallel_ser.training.inference import Run
from parallel_ser.training.predictions import Predictions, concatenate


def calibrate(run: Run, method: str, errors: Sequence[float]) -> tuple[dict[str, Any], Predictions]:
    """Fit each fold's calibration and thresholds on its selection speakers, and keep them in the run's folder.

    ``predict`` and ``evaluate`` use the calibration from then on. The selection speakers of a fold are test speakers of
    another, so nothing is ever pooled over folds before it is fitted.

    Args:
        run: finished.
        method: of ``decision.calibration``.
        errors: each an error among answered utterances that a threshold is to promise.

    Returns:
        The record that ``report.calibration`` draws, measured on the test sides, and their calibrated predictions.

    Raises:
        UserError: a fold of the run is not finished.
    """
    before, selection = run.tested(), run.selection()
    after, promises = [], {}
    for fold, tested in before.items():
        chosen = selection[fold]
        calibrator = calibration.fit(method, chosen.probabilities, chosen.truth_indices)
        sure = calibrator(chosen.probabilities)
        right = sure.argmax(axis=1) == chosen.truth_indices
        speakers = np.array(chosen.speakers)
        promises[fold] = [threshold(sure.max(axis=1), right, speakers, error) for error in errors]
        state = {**calibrator.state(), "promises": [asdict(one) for one in promises[fold]]}
        write_json(run_folder.fold_folder(run.folder, fold) / "calibration.json", state)
        after.append(tested.with_probabilities(calibrator(tested.probabilities)))
    raw, calibrated = concatenate(list(before.values())), concatenate(after)
    confidence, correct = _answers(calibrated)
    record = {
        "method": method,
        "n": len(raw),
        "speakers": len(set(raw.speakers)),
        "before": calibration.measures(raw.probabilities, raw.truth_indices),
        "after": calibration.measures(calibrated.probabilities, calibrated.truth_indices),
        "risk_coverage": risk_coverage(confidence, correct).record(),
        "promises": [
            _kept([promises[fold][place] for fold in run.folds], calibrated, run.folds) for place in range(len(errors))
        ],
    }
    return record, calibrated


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


def thresholds(run: Run, error: float) -> float:
    """The confidence from which the run answers when at most ``error`` of its answers are to be wrong.

    The strictest fold's, for ``predict`` asks all folds' models together.

    Raises:
        UserError: the run was not calibrated for this error, or a fold could not promise it.
    """
    found = []
    for fold in run.folds:
        path = run_folder.fold_folder(run.folder, fold) / "calibration.json"
        promises = read_json(path)["promises"] if path.exists() else []
        known = {promise["error"]: promise for promise in promises}
        if error not in known:
            raise UserError(
                f"{run.folder} has no threshold for an error of {error:g} yet: "
                f"run parallel-ser calibrate {run.folder} --error {error:g} first."
            )
        if known[error]["threshold"] is None:
            least = known[error]["smallest_error"]
            can = f"the least that it could is {least:.2f}" if least is not None else known[error]["reason"]
            raise UserError(f"fold {fold} of {run.folder} cannot promise an error of {error:g}; {can}.")
        found.append(float(known[error]["threshold"]))
    return max(found)
