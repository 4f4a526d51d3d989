"""Calibration: of the utterances answered with a confidence of 0.8, eight in ten should be right.

A calibrator is fitted on predictions of speakers that the model was not trained on (the selection split, or the other
folds) and then applied to any. It knows nothing of the model, only its probabilities:

| method | what it changes | what it needs |
| --- | --- | --- |
| ``temperature`` | one number: how sure the model is overall; never which emotion comes first | few utterances |
| ``isotonic`` | a monotone curve a class; may change which emotion comes first | hundreds a class |
| ``none`` | nothing | – |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from parallel_ser.decision.probabilities import checked, labelled, log, normalised, softmax
from parallel_ser.errors import UserError

BOUNDS = (0.1, 10.0)
"""The temperatures searched: utterances that are all right or all wrong would have it 0 or infinite."""

Bins = list[dict[str, Any]]


class Calibrator(Protocol):
    """What every method is: probabilities, ``(utterances, classes)``, to probabilities, with a state for JSON."""

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of the same shape."""

    def state(self) -> dict[str, Any]:
        """Plain values that ``from_state`` takes back."""


@dataclass(frozen=True)
class Identity:
    """Probabilities as they are."""

    @classmethod
    def fit(cls, probabilities: np.ndarray, truth: np.ndarray) -> Identity:
        """Nothing is learnt; the arguments are checked."""
        labelled(probabilities, truth)
        return cls()

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """The same probabilities as float64."""
        return checked(probabilities)

    def state(self) -> dict[str, Any]:
        """The method's name alone."""
        return {"method": "none"}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Identity:
        """Inverse of ``state``."""
        return cls()


@dataclass(frozen=True)
class Temperature:
    """Temperature scaling, ``softmax(log p / T)`` (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Attributes:
        temperature: ``T``, positive; above 1 the model was too sure.

    >>> Temperature(2.0)(np.array([[0.9, 0.1]])).round(2).tolist()
    [[0.75, 0.25]]
    """

    temperature: float

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"a temperature must be positive, got {self.temperature}")

    @classmethod
    def fit(cls, probabilities: np.ndarray, truth: np.ndarray) -> Temperature:
        """The ``T`` within ``BOUNDS`` of the lowest negative log likelihood; 1 where no ``T`` differs from another.

        Raises:
            ValueError, UserError: as ``probabilities.labelled``.
        """
        from scipy.optimize import brentq

        probabilities, truth = labelled(probabilities, truth)
        scores = log(probabilities)
        scores -= scores.mean(axis=1, keepdims=True)
        true_scores = scores[np.arange(len(truth)), truth]

        def slope(sharpness: float) -> float:
            return float(((softmax(sharpness * scores) * scores).sum(axis=1) - true_scores).mean())

        # In 1 / T the loss is convex, so that its slope is zero once or nowhere.
        low, high = 1 / BOUNDS[1], 1 / BOUNDS[0]
        if abs(slope(1.0)) < 1e-12:
            return cls(1.0)
        if slope(low) >= 0:
            return cls(BOUNDS[1])
        if slope(high) <= 0:
            return cls(BOUNDS[0])
        return cls(float(1 / brentq(slope, low, high)))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, ``(utterances, classes)``; their order in a row stays."""
        return softmax(log(checked(probabilities)) / self.temperature)

    def state(self) -> dict[str, Any]:
        """The method's name and the temperature."""
        return {"method": "temperature", "temperature": self.temperature}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Temperature:
        """Inverse of ``state``."""
        return cls(float(state["temperature"]))


@dataclass(frozen=True)
class Isotonic:
    """One-against-rest isotonic regression, renormalised (Zadrozny & Elkan 2002, "Transforming Classifier Scores").

    A regression gives exact zeros, for all classes at once even, and a new utterance may prove any of them wrong. So
    the model's own probability counts as one utterance beside the ``count`` of the regression:
    ``(count · regression(p) + p) / (count + 1)``. Each class's curve then rises strictly, and no row is all zeros.

    Attributes:
        count: utterances it was fitted on.
        knots: of each class the probabilities between which its curve is linear, and the curve's values there.
    """

    count: int
    knots: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]

    @classmethod
    def fit(cls, probabilities: np.ndarray, truth: np.ndarray) -> Isotonic:
        """One curve a class, of the least squares.

        Raises:
            ValueError, UserError: as ``probabilities.labelled``.
        """
        from sklearn.isotonic import IsotonicRegression

        probabilities, truth = labelled(probabilities, truth)
        knots = []
        for column, values in enumerate(probabilities.T):
            curve = IsotonicRegression(y_min=0, y_max=1).fit(values, truth == column)
            knots.append((tuple(curve.X_thresholds_.tolist()), tuple(curve.y_thresholds_.tolist())))
        return cls(len(truth), tuple(knots))

    def curves(self, probabilities: np.ndarray) -> np.ndarray:
        """What each class's curve makes of its column before rows are renormalised, ``(utterances, classes)``."""
        probabilities = checked(probabilities)
        if probabilities.shape[1] != len(self.knots):
            raise ValueError(f"calibrated for {len(self.knots)} classes, got {probabilities.shape[1]}")
        regressed = [np.interp(values, *knots) for values, knots in zip(probabilities.T, self.knots, strict=True)]
        return (self.count * np.stack(regressed, axis=1) + probabilities) / (self.count + 1)

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, ``(utterances, classes)``."""
        return normalised(self.curves(probabilities))

    def state(self) -> dict[str, Any]:
        """The method's name, the count and each class's knots."""
        knots = [{"x": list(x), "y": list(y)} for x, y in self.knots]
        return {"method": "isotonic", "count": self.count, "knots": knots}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Isotonic:
        """Inverse of ``state``."""
        knots = tuple((tuple(map(float, one["x"])), tuple(map(float, one["y"]))) for one in state["knots"])
        return cls(int(state["count"]), knots)


_Method = type[Identity] | type[Temperature] | type[Isotonic]
_METHODS: dict[str, _Method] = {"none": Identity, "temperature": Temperature, "isotonic": Isotonic}

METHODS = tuple(_METHODS)
"""What ``fit`` knows."""


def fit(method: str, probabilities: np.ndarray, truth: np.ndarray) -> Calibrator:
    """Fit one of ``METHODS`` to probabilities, ``(utterances, classes)``, and the column of each utterance's truth.

    Raises:
        UserError: there is no such method, or no utterance to fit it on.
        ValueError: the arguments do not fit together.
    """
    return _method(method).fit(probabilities, truth)


def from_state(state: Mapping[str, Any]) -> Calibrator:
    """The calibrator whose ``state()`` this is.

    Raises:
        UserError: there is no such method, or its values are missing or broken.
    """
    method = _method(state.get("method"))
    try:
        return method.from_state(state)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the calibration's state is broken ({error!r}); calibrate anew.") from error


def measures(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> dict[str, Any]:
    """All measures below as one plain record: ``ece``, ``brier``, ``log_loss`` and ``reliability``."""
    table = reliability(probabilities, truth, bins)
    return {
        "ece": _gap(table),
        "brier": brier(probabilities, truth),
        "log_loss": log_loss(probabilities, truth),
        "reliability": table,
    }


def expected_calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """The mean gap between confidence and accuracy over bins, by their utterances (Naeini et al. 2015; Guo et al.)."""
    return _gap(reliability(probabilities, truth, bins))


def brier(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The mean over utterances of the squared distance to the truth, summed over classes: 0 to 2 (Brier 1950)."""
    probabilities, truth = labelled(probabilities, truth)
    return float(((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1).mean())


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The mean negative log likelihood of the truth in nats, finite."""
    probabilities, truth = labelled(probabilities, truth)
    return float(-log(probabilities[np.arange(len(truth)), truth]).mean())


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> Bins:
    """Utterances by the confidence of what was predicted, in ``bins`` equal widths from 0 to 1.

    Returns:
        A dict a bin: ``low`` (exclusive but for 0), ``high`` (inclusive), ``n`` utterances, their mean ``confidence``
        and their ``accuracy``, both None in an empty bin.
    """
    if bins < 1:
        raise ValueError(f"at least one bin is needed, got {bins}")
    probabilities, truth = labelled(probabilities, truth)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, bins + 1)
    # Rounding can leave a probability a little above 1.
    place = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    rows: Bins = []
    for index, (low, high) in enumerate(zip(edges.tolist(), edges[1:].tolist(), strict=False)):
        inside = place == index
        n = int(inside.sum())
        means = [float(values[inside].mean()) if n else None for values in (confidence, correct)]
        rows.append({"low": low, "high": high, "n": n, "confidence": means[0], "accuracy": means[1]})
    return rows


def _gap(table: Bins) -> float:
    total = sum(row["n"] for row in table)
    return sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in table if row["n"]) / total


def _method(name: object) -> _Method:
    if name not in METHODS:
        raise UserError(f"there is no calibration method {name!r}; use one of {', '.join(METHODS)}.")
    return _METHODS[str(name)]
