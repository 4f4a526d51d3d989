"""Arithmetic on class probabilities that calibration and fusion share."""

from __future__ import annotations

import numpy as np

from parallel_ser.errors import UserError

FLOOR = float(np.finfo(np.float64).eps)
"""The least probability whose logarithm is taken; scikit-learn's ``log_loss`` uses the same."""

_SUM_TOLERANCE = 1e-3


def checked(probabilities: np.ndarray) -> np.ndarray:
    """``probabilities``, ``(utterances, classes)``, as float64.

    Raises:
        ValueError: another shape, or a row that is not made of probabilities (logits, perhaps).
        UserError: a probability is not finite.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or not probabilities.shape[1]:
        raise ValueError(f"probabilities must be (utterances, classes), got {probabilities.shape}")
    broken = ~np.isfinite(probabilities).all(axis=1)
    if broken.any():
        raise UserError(f"utterance {broken.argmax() + 1} has a probability that is not finite; predict it anew.")
    wrong = (probabilities < 0).any(axis=1) | (np.abs(probabilities.sum(axis=1) - 1) > _SUM_TOLERANCE)
    if wrong.any():
        raise ValueError(f"row {wrong.argmax()} is not probabilities: {probabilities[wrong.argmax()]}")
    return probabilities


def labelled(probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``checked`` probabilities and the column of each utterance's truth, ``(utterances,)``, at least one of them.

    Raises:
        ValueError: as ``checked``, or a truth that is no column.
        UserError: as ``checked``, or there is no utterance.
    """
    probabilities, truth = checked(probabilities), np.asarray(truth)
    count, classes = probabilities.shape
    if not count:
        raise UserError("there is no labelled utterance to calibrate or measure with; give at least one.")
    if truth.shape != (count,) or truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= classes:
        raise ValueError(f"truth must be {count} integers from 0 to {classes - 1}")
    return probabilities, truth.astype(np.int64)


def log(probabilities: np.ndarray) -> np.ndarray:
    """The logarithm, finite: probabilities below ``FLOOR`` count as that."""
    return np.log(np.maximum(probabilities, FLOOR))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities proportional to ``exp(scores)``, over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def normalised(weights: np.ndarray) -> np.ndarray:
    """Each row divided by its sum."""
    return weights / weights.sum(axis=-1, keepdims=True)
