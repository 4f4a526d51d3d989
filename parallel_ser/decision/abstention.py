"""Abstention: answer where the confidence is high enough, say "not sure" elsewhere.

    coverage   the share of utterances that is answered
    risk       the share of wrong ones among those answered

A threshold is promised to keep an error on *new speakers of the same kind*. Two things can break that promise: too few
utterances above the threshold, and too few speakers. The utterances of one speaker are alike, so a thousand of them
from ten speakers say about as much of an eleventh as ten would. Each has its own bound, and both must hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parallel_ser.errors import UserError

STEPS = 20
"""The coverages that are searched: 5%, 10%, ..., 100%."""

MIN_SPEAKERS = 5
"""Fewer answered speakers than this say too little of other speakers for a promise."""

_POINTS = 201


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What every threshold gives, the highest first; a tie in confidence is answered as a whole.

    Attributes:
        thresholds: each distinct confidence, descending, ``(thresholds,)``.
        coverage: share of utterances of at least that confidence, ``(thresholds,)``.
        risk: error among them, ``(thresholds,)``.
        area: AURC, the mean of the risk over coverage (Geifman et al. 2019, "Bias-Reduced Uncertainty Estimation");
            lower is better, and the error of all utterances is what a confidence that knows nothing has.
    """

    thresholds: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    area: float

    def record(self) -> dict[str, Any]:
        """Plain ``area``, ``coverage`` and ``risk`` for a picture, thinned to at most 201 points; the last is kept."""
        last = len(self.risk) - 1
        kept = np.unique(np.linspace(0, last, min(last + 1, _POINTS)).round().astype(int))
        return {"area": self.area, "coverage": self.coverage[kept].tolist(), "risk": self.risk[kept].tolist()}


@dataclass(frozen=True)
class Promise:
    """A threshold and what is promised of it; ``dataclasses.asdict`` gives its plain record.

    Attributes:
        error: the error allowed among answered utterances.
        level: the probability with which the promise is kept.
        threshold: answer where the confidence is at least this; None where nothing can be promised.
        coverage: share of the utterances answered, 0.0 without a threshold.
        answered_error: of the utterances answered here.
        binomial_bound: of the error, as if utterances were independent.
        speaker_bound: of the error, by resampling speakers.
        smallest_error: the smallest that could have been promised here; None where not even that is known.
        reason: why there is no threshold, None where there is one.
    """

    error: float
    level: float
    threshold: float | None
    coverage: float
    answered_error: float | None
    binomial_bound: float | None
    speaker_bound: float | None
    smallest_error: float | None
    reason: str | None


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> RiskCoverage:
    """Risk and coverage of every threshold, from confidence and correctness, both ``(utterances,)``.

    Raises:
        ValueError: the two do not fit together, or a confidence is not a number.
        UserError: there are no utterances.
    """
    thresholds, answered, wrong = _ranked(confidence, correct)
    risk = wrong / answered
    coverage = answered / answered[-1]
    return RiskCoverage(thresholds, coverage, risk, float(np.diff(coverage, prepend=0.0) @ risk))


def observed(confidence: np.ndarray, correct: np.ndarray, threshold: float) -> tuple[float, float | None]:
    """Coverage and error of a threshold on other utterances; the error is None where none is answered."""
    answered = np.asarray(confidence) >= threshold
    error = float(1 - np.asarray(correct)[answered].mean()) if answered.any() else None
    return float(answered.mean()), error


def threshold(
    confidence: np.ndarray,
    correct: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    error: float,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Promise:
    """The lowest threshold among ``STEPS`` coverages of which both bounds promise at most ``error``.

    The binomial bound is that of SGR (Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks"),
    the exact upper limit of Clopper & Pearson. The speaker bound is the upper percentile over resamples of speakers
    (cluster bootstrap, Davison & Hinkley 1997, section 3.8). Each is taken at ``1 - (1 - level) / STEPS``, so that all
    hold at once and the one that looks best may be picked (Bonferroni). SGR bisects and corrects by the number of
    bisections; here the coverages are fixed beforehand, so that what is looked at does not depend on what was seen.

    Args:
        confidence: of each utterance's prediction, ``(utterances,)``.
        correct: whether it is right, bool, ``(utterances,)``.
        groups: the speaker of each utterance, ``(utterances,)``.
        error: allowed among answered utterances, between 0 and 1.
        level: with which probability, between 0 and 1.
        resamples: of the speakers.
        seed: of the resamples.

    Raises:
        ValueError: the arrays do not fit together.
        UserError: there are no utterances, or ``error`` or ``level`` is not between 0 and 1.
    """
    for name, value in (("error", error), ("level", level)):
        if not 0 < value < 1:
            raise UserError(f"the {name} of a promise must be between 0 and 1, got {value}.")
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    distinct, answered, wrong = _ranked(confidence, correct)
    if group.shape != confidence.shape:
        raise ValueError(f"{len(confidence)} utterances but groups of shape {group.shape}")

    count = len(confidence)
    ranks = np.unique(np.ceil(count * np.arange(1, STEPS + 1) / STEPS).astype(int))
    # A tie is answered as a whole, so the first threshold that answers at least that many.
    places = np.searchsorted(answered, ranks)
    certainty = 1 - (1 - level) / len(ranks)
    binomial = _binomial_bound(wrong[places], answered[places], certainty)
    by_speakers = _speaker_bound(confidence, correct, group, distinct[places], certainty, resamples, seed)
    bound = np.maximum(binomial, by_speakers)

    smallest = float(np.nanmin(bound)) if np.isfinite(bound).any() else None
    kept = np.flatnonzero(bound <= error)
    if not len(kept):
        reason = _reason(error, level, count, len(names), smallest)
        return Promise(error, level, None, 0.0, None, None, None, smallest, reason)
    best = kept[-1]
    place = places[best]
    return Promise(
        error=error,
        level=level,
        threshold=float(distinct[place]),
        coverage=float(answered[place] / count),
        answered_error=float(wrong[place] / answered[place]),
        binomial_bound=float(binomial[best]),
        speaker_bound=float(by_speakers[best]),
        smallest_error=smallest,
        reason=None,
    )


def _ranked(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct confidences, descending, and of each how many utterances reach it and how many of those are wrong."""
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    if confidence.ndim != 1 or confidence.shape != correct.shape:
        raise ValueError(f"confidence of shape {confidence.shape} does not fit correct of shape {correct.shape}")
    if not np.isfinite(confidence).all():
        raise ValueError("a confidence is not a finite number")
    if not len(confidence):
        raise UserError("there is no labelled utterance to set a threshold with; give at least one.")
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~correct[order])
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    return ranked[ends], ends + 1, wrong[ends]


def _binomial_bound(wrong: np.ndarray, answered: np.ndarray, certainty: float) -> np.ndarray:
    """The error at which so few wrong ones have a probability of ``1 - certainty``."""
    from scipy.special import betaincinv

    right = answered - wrong
    return np.where(right > 0, betaincinv(wrong + 1, np.maximum(right, 1), certainty), 1.0)


def _speaker_bound(
    confidence: np.ndarray,
    correct: np.ndarray,
    group: np.ndarray,
    thresholds: np.ndarray,
    certainty: float,
    resamples: int,
    seed: int,
) -> np.ndarray:
    """The upper percentile of the error over resamples of speakers; NaN where too few speakers are answered."""
    speakers = int(group.max()) + 1
    answered = np.zeros((speakers, len(thresholds)))
    wrong = np.zeros_like(answered)
    reached = confidence[:, None] >= thresholds
    np.add.at(answered, group, reached)
    np.add.at(wrong, group, reached & ~correct[:, None])
    drawn = np.random.default_rng(seed).multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)
    total = drawn @ answered
    # A resample that answers nothing promises nothing.
    errors = np.divide(drawn @ wrong, total, out=np.ones_like(total), where=total > 0)
    enough = (answered > 0).sum(axis=0) >= MIN_SPEAKERS
    return np.where(enough, np.quantile(errors, certainty, axis=0), np.nan)


def _reason(error: float, level: float, count: int, speakers: int, smallest: float | None) -> str:
    whose = f"{count} utterances of {speakers} speaker{'s' * (speakers != 1)}"
    if smallest is None:
        return f"{whose} cannot stand for other speakers (at least {MIN_SPEAKERS} are needed)"
    # Rounded up, so that asking for the error named is granted.
    return (
        f"{whose} do not show an error of at most {error:.1%} at a level of {level:.0%}; "
        f"the smallest that could be promised is {math.ceil(1000 * smallest) / 10:.1f}%"
    )
