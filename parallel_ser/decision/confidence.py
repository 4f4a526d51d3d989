"""From probabilities to a decision: the emotion of the highest confidence, with that confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parallel_ser.errors import UserError


@dataclass(frozen=True)
class Decision:
    """What is said of one utterance.

    Attributes:
        emotion: the class of the highest probability.
        confidence: that probability.
        ranked: every class with its probability, the highest first; ties keep the order of the classes.
    """

    emotion: str
    confidence: float
    ranked: tuple[tuple[str, float], ...]


def decide(probabilities: np.ndarray, classes: Sequence[str]) -> list[Decision]:
    """Decide for each row of ``probabilities``, ``(utterances, classes)``, its columns in the order of ``classes``.

    Raises:
        ValueError: the columns are not as many as the classes.
        UserError: a probability is not finite.

    >>> decide(np.array([[0.25, 0.5, 0.25]]), ["anger", "joy", "sad"])[0].ranked
    (('joy', 0.5), ('anger', 0.25), ('sad', 0.25))
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(classes) or not len(classes):
        raise ValueError(f"probabilities of shape {probabilities.shape} do not fit {len(classes)} classes")
    broken = ~np.isfinite(probabilities).all(axis=1)
    if broken.any():
        raise UserError(f"utterance {broken.argmax() + 1} has a probability that is not finite; no decision is made.")

    # A stable sort of the negated values keeps the order of the classes in a tie.
    order = np.argsort(-probabilities, axis=1, kind="stable")
    decisions = []
    for row, columns in zip(probabilities.tolist(), order.tolist(), strict=True):
        ranked = tuple((classes[column], row[column]) for column in columns)
        decisions.append(Decision(*ranked[0], ranked))
    return decisions
