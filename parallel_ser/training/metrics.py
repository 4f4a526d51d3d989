"""What is reported of a set of predictions, with intervals over speakers.

All figures come from confusion matrices, ``(..., classes, classes)``, rows the truth, columns what was predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from parallel_ser.errors import UserError
from parallel_ser.system.digests import KEY
from parallel_ser.training.predictions import Predictions

MIN_SPEAKERS = 5
"""Fewer speakers than this say too little of other speakers for an interval."""

_LEVEL = 95


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_digest(cls, read: Any) -> Any:
        """Of a file of which ``run_folder.metrics_of`` checks the digest."""
        return {name: value for name, value in read.items() if name != KEY} if isinstance(read, dict) else read


class Estimate(_Record):
    """A figure and its 95% interval, where there is one."""

    value: float
    interval: tuple[float, float] | None


class ClassResult(_Record):
    """Of one emotion.

    Attributes:
        name: of it.
        support: its utterances.
        precision: the share of what was taken for it that is it, None when nothing was.
        recall: the share of its utterances that was recognised, None when there are none.
        f1: the harmonic mean of both, None when the emotion neither occurs nor is predicted.
    """

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None


class GroupResult(_Record):
    """Of one speaker, sex or fold: utterances, emotions heard (UAR is over these), UAR and accuracy."""

    name: str
    n: int
    classes: int
    uar: float
    wa: float


class Metrics(_Record):
    """A result, as it goes to ``metrics.json``.

    Attributes:
        schema_version: of this record.
        n: utterances.
        speakers: how many speakers they are from.
        classes: the emotions, in the order of ``per_class`` and ``confusion``.
        uar: unweighted average recall, over the emotions that occur in the truth.
        wa: weighted accuracy, the share of utterances recognised.
        interval_note: how the intervals were made, or why there are none.
        macro_f1: the mean F1 over emotions that occur in the truth or among the predictions.
        per_class: support, precision, recall and F1 of each emotion.
        confusion: counts, rows the truth, columns what was predicted.
        per_speaker: sorted by name.
        per_sex: sorted by name.
        per_fold: sorted by number.
        fold_uar_mean: over folds.
        fold_uar_std: over folds (n - 1), None with one fold.
        mean_confidence: the mean probability of what was predicted.
        confidence_gap: ``mean_confidence`` minus accuracy; above 0 is over-confident.
        majority_wa: accuracy of always saying the most frequent emotion.
        majority_emotion: that emotion.
        chance: UAR of guessing blindly, 1 / classes.
        notes: what a reader of the figures must know besides.
        audit: of the protocol that split training from test, None where there was none.
    """

    schema_version: Literal[1] = 1
    n: int
    speakers: int
    classes: tuple[str, ...]
    uar: Estimate
    wa: Estimate
    interval_note: str
    macro_f1: float
    per_class: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]
    per_speaker: tuple[GroupResult, ...]
    per_sex: tuple[GroupResult, ...]
    per_fold: tuple[GroupResult, ...]
    fold_uar_mean: float
    fold_uar_std: float | None
    mean_confidence: float
    confidence_gap: float
    majority_wa: float
    majority_emotion: str
    chance: float
    notes: tuple[str, ...]
    audit: dict[str, Any] | None


def measure(
    predictions: Predictions, audit: dict[str, Any] | None = None, resamples: int = 2000, seed: int = 0
) -> Metrics:
    """Compute every figure that is reported of ``predictions``.

    Raises:
        UserError: there are no predictions.
    """
    if not len(predictions):
        raise UserError("no utterance was predicted, so there is nothing to measure; test on at least one.")
    classes = predictions.classes
    speakers, by_speaker = _by(predictions, predictions.speakers)
    total = by_speaker.sum(axis=0)
    support = total.sum(axis=1)
    accuracy = float(wa(total))
    confidence = float(predictions.probabilities.max(axis=1).mean())

    uar_interval, wa_interval = None, None
    if len(speakers) < MIN_SPEAKERS:
        interval_note = (
            f"none, as {len(speakers)} speaker{'s' * (len(speakers) != 1)} cannot stand for others "
            f"(at least {MIN_SPEAKERS} are needed)"
        )
    else:
        uar_interval, wa_interval = speaker_intervals(by_speaker, resamples, seed)
        interval_note = f"{_LEVEL}% bootstrap over {len(speakers)} speakers, {resamples} resamples"

    absent = [name for name, count in zip(classes, support, strict=True) if count == 0]
    per_fold = _groups(*_by(predictions, predictions.folds))
    fold_uars = [fold.uar for fold in per_fold]
    return Metrics(
        n=len(predictions),
        speakers=len(speakers),
        classes=classes,
        uar=Estimate(value=float(uar(total)), interval=uar_interval),
        wa=Estimate(value=accuracy, interval=wa_interval),
        interval_note=interval_note,
        macro_f1=macro_f1(total),
        per_class=tuple(
            ClassResult(name=name, support=int(count), precision=_known(p), recall=_known(r), f1=_known(f))
            for name, count, p, r, f in zip(classes, support, precisions(total), recalls(total), f1(total), strict=True)
        ),
        confusion=tuple(tuple(row) for row in total.tolist()),
        per_speaker=_groups(speakers, by_speaker),
        per_sex=_groups(*_by(predictions, predictions.sexes)),
        per_fold=per_fold,
        fold_uar_mean=float(np.mean(fold_uars)),
        fold_uar_std=float(np.std(fold_uars, ddof=1)) if len(fold_uars) > 1 else None,
        mean_confidence=confidence,
        confidence_gap=confidence - accuracy,
        majority_wa=float(support.max() / support.sum()),
        majority_emotion=classes[int(support.argmax())],
        chance=1 / len(classes),
        notes=(f"no test utterance of {', '.join(absent)}: left out of UAR",) if absent else (),
        audit=audit,
    )


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count the utterances of each truth (row) and prediction (column), both given as class indices."""
    return np.bincount(np.asarray(truth) * classes + np.asarray(predicted), minlength=classes**2).reshape(
        classes, classes
    )


def recalls(confusion: np.ndarray) -> np.ndarray:
    """Recall of each class, ``(..., classes)``, NaN for a class that is not in the truth."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def precisions(confusion: np.ndarray) -> np.ndarray:
    """Precision of each class, ``(..., classes)``, NaN for a class that is never predicted."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-2))


def f1(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class, ``(..., classes)``, NaN for a class that is neither in the truth nor predicted."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(2 * hits, confusion.sum(axis=-1) + confusion.sum(axis=-2))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Their quotient, NaN where there is no whole."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def uar(confusion: np.ndarray) -> np.ndarray:
    """Unweighted average recall over the classes in the truth, ``(...)``."""
    return np.nanmean(recalls(confusion), axis=-1)


def wa(confusion: np.ndarray) -> np.ndarray:
    """Weighted accuracy, the share of utterances on the diagonal, ``(...)``."""
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


def macro_f1(confusion: np.ndarray) -> float:
    """Mean F1 over the classes that are in the truth or among the predictions (as scikit-learn's ``f1_score``)."""
    return float(np.nanmean(f1(confusion)))


def speaker_intervals(
    by_speaker: np.ndarray, resamples: int, seed: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95% percentile bootstrap of UAR and WA over speakers, from ``(speakers, classes, classes)`` counts.

    The utterances of one speaker are alike, so it is speakers that are drawn with replacement (cluster bootstrap,
    Davison & Hinkley 1997, section 3.8). A resample's confusion matrix is the sum of its speakers' matrices, each as
    often as it was drawn, which one matrix product gives for all resamples.
    """
    speakers, classes, _ = by_speaker.shape
    drawn = np.random.default_rng(seed).multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)
    resampled = (drawn @ by_speaker.reshape(speakers, -1)).reshape(resamples, classes, classes)
    return _percentiles(uar(resampled)), _percentiles(wa(resampled))


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    tail = (100 - _LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def _by(predictions: Predictions, groups: Sequence[str] | np.ndarray) -> tuple[list[str], np.ndarray]:
    """The sorted names of ``groups`` and a confusion matrix for each, ``(groups, classes, classes)``."""
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    width = len(predictions.classes)
    counts = np.zeros((len(names), width, width), dtype=np.int64)
    np.add.at(counts, (group.ravel(), predictions.truth_indices, predictions.predicted_indices), 1)
    return [str(name) for name in names], counts


def _groups(names: list[str], confusions: np.ndarray) -> tuple[GroupResult, ...]:
    heard = (confusions.sum(axis=-1) > 0).sum(axis=-1)
    columns = zip(
        names,
        confusions.sum(axis=(1, 2)).tolist(),
        heard.tolist(),
        uar(confusions).tolist(),
        wa(confusions).tolist(),
        strict=True,
    )
    return tuple(GroupResult(name=name, n=n, classes=k, uar=u, wa=w) for name, n, k, u, w in columns)
