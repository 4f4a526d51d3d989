"""Fusion: one answer from several systems' probabilities of the same utterances and classes.

Systems that err on different utterances are better together than the best of them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parallel_ser.decision.probabilities import checked, labelled, log, softmax
from parallel_ser.errors import UserError

PENALTY = 10.0
"""How hard the weights are held at the mean's: about as hard as ten utterances would hold them."""


def log_mean(parts: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """The mean of log probabilities, renormalised (logarithmic opinion pool; Genest & Zidek 1986).

    Args:
        parts: of each system, ``(utterances, classes)``.
        weights: one a system, at least 0, counted by their share of the sum; equal ones without.

    Returns:
        Probabilities, ``(utterances, classes)``.

    Raises:
        ValueError: no systems, systems that differ in shape, or weights that do not fit them.

    >>> log_mean([np.array([[0.8, 0.2]]), np.array([[0.2, 0.8]])]).tolist()
    [[0.5, 0.5]]
    """
    scores = _scores(parts)
    shares = np.ones(len(parts)) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (len(parts),) or not (np.isfinite(shares) & (shares >= 0)).all() or not shares.sum() > 0:
        raise ValueError(f"weights must be {len(parts)} numbers of at least 0 and not all 0, got {weights}")
    return softmax(np.tensordot(shares / shares.sum(), scores, axes=1))


@dataclass(frozen=True)
class Stacker:
    """Log-linear pooling with learnt weights: ``softmax(sum_s weight_s · log p_s + bias)``.

    The weights need not sum to 1, so fusion calibrates as well: systems that are too sure are given less in all.
    Systems have one weight each, not one a class, for labelled speakers are few.

    Attributes:
        weights: of each system, at least 0.
        bias: of each class.
    """

    weights: tuple[float, ...]
    bias: tuple[float, ...]

    @classmethod
    def fit(cls, parts: Sequence[np.ndarray], truth: np.ndarray, penalty: float = PENALTY) -> Stacker:
        """Minimise the negative log likelihood, summed over utterances, plus ``penalty`` times the squared distance
        of the weights from equal ones (1 / systems) and of the bias from 0. With few utterances it is the mean.

        Args:
            parts: of each system, ``(utterances, classes)``, predicted by models not trained on these speakers: of
                its training utterances a model says too much good.
            truth: the column of each utterance's truth, ``(utterances,)``.
            penalty: above 0, in utterances.

        Raises:
            ValueError: systems or truth do not fit together.
            UserError: there is no utterance, or the penalty is not positive.
        """
        from scipy.optimize import minimize

        if not 0 < penalty < np.inf:
            raise UserError(f"the penalty of a fusion must be above 0, got {penalty}; {PENALTY:g} is usual.")
        scores = _scores(parts)
        _, truth = labelled(parts[0], truth)
        systems, count, classes = scores.shape
        rows = np.arange(count)
        prior = np.concatenate([np.full(systems, 1 / systems), np.zeros(classes)])

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            said = softmax(np.tensordot(values[:systems], scores, axes=1) + values[systems:])
            away = values - prior
            total = -log(said[rows, truth]).sum() + penalty * (away**2).sum()
            said[rows, truth] -= 1  # now the slope in each class's score
            slope = np.concatenate([np.tensordot(scores, said, axes=2), said.sum(axis=0)])
            return float(total), slope + 2 * penalty * away

        bounds = [(0, None)] * systems + [(None, None)] * classes
        best = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds).x.tolist()
        return cls(tuple(best[:systems]), tuple(best[systems:]))

    def __call__(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Fused probabilities, ``(utterances, classes)``; the systems in the order of ``fit``."""
        scores = _scores(parts)
        if (len(scores), scores.shape[2]) != (len(self.weights), len(self.bias)):
            raise ValueError(
                f"fitted on {len(self.weights)} systems of {len(self.bias)} classes, "
                f"got {len(scores)} of {scores.shape[2]}"
            )
        return softmax(np.tensordot(np.array(self.weights), scores, axes=1) + np.array(self.bias))

    def state(self) -> dict[str, Any]:
        """Plain values that ``from_state`` takes back."""
        return {"weights": list(self.weights), "bias": list(self.bias)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Stacker:
        """Inverse of ``state``.

        Raises:
            UserError: its values are missing or broken.
        """
        try:
            return cls(tuple(map(float, state["weights"])), tuple(map(float, state["bias"])))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the fusion's state is broken ({error!r}); fit it anew.") from error


def _scores(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Log probabilities, ``(systems, utterances, classes)``, relative to each row's mean."""
    checked_parts = [checked(part) for part in parts]
    shapes = sorted({part.shape for part in checked_parts})
    if len(shapes) != 1:
        raise ValueError(f"systems must predict the same utterances and classes, got {shapes or 'no system'}")
    scores = log(np.stack(checked_parts))
    return scores - scores.mean(axis=-1, keepdims=True)
