"""Kernel machines over one view of the utterances or several: SVM, kernel extreme learning machine, logistic."""

from __future__ import annotations

from typing import Literal

import numpy as np

from parallel_ser.decision.probabilities import softmax

Learner = Literal["svm", "elm", "logistic"]

_ROUNDS = 500
_SHARPNESS = 2.0
"""Of the softmax that makes an unlabelled row's targets, by the mean deviation of a row's scores."""


class Vectors:
    """A view's vectors made ready for a kernel: scaled, clipped, freed of speakers' directions, selected.

    Args:
        keep: how many values stay, those with the highest F statistic between the classes on the training rows; 0 all.
        nuisance: directions between speakers' means that are projected out (nuisance attribute projection, Solomonoff
            et al. 2005).
        pca: principal components that stay; 0 turns it off.
        clip: values beyond this many deviations are cut to it.
    """

    def __init__(self, keep: int = 0, nuisance: int = 0, pca: int = 0, clip: float = 4.0):
        self.keep, self.nuisance, self.pca, self.clip = keep, nuisance, pca, clip

    def fit(self, values: np.ndarray, labels: np.ndarray, speakers: np.ndarray) -> np.ndarray:
        """Learn from training rows (utterances, values); returns them made ready."""
        self.mean_, deviation = values.mean(axis=0), values.std(axis=0)
        self.scale_ = np.where(deviation > 1e-9, deviation, np.inf)  # a value that never varies says nothing
        ready = self._scaled(values)
        self.chosen_ = _best(ready, labels, self.keep)
        ready = ready[:, self.chosen_]
        self.directions_ = _between(ready, labels, speakers, self.nuisance)
        ready = self._freed(ready)
        if self.pca:
            from sklearn.decomposition import PCA

            count = min(self.pca, *ready.shape)
            self.pca_ = PCA(count, svd_solver="full").fit(ready)
            ready = self.pca_.transform(ready)
        return ready

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Rows (utterances, values) made ready."""
        ready = self._freed(self._scaled(values)[:, self.chosen_])
        return self.pca_.transform(ready) if self.pca else ready

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return np.clip((values - self.mean_) / self.scale_, -self.clip, self.clip)

    def _freed(self, ready: np.ndarray) -> np.ndarray:
        return ready - (ready @ self.directions_) @ self.directions_.T if self.nuisance else ready


def _best(values: np.ndarray, labels: np.ndarray, keep: int) -> np.ndarray:
    """Places of the ``keep`` columns of the highest F statistic (all for 0), ascending."""
    if not keep or keep >= values.shape[1]:
        return np.arange(values.shape[1])
    from sklearn.feature_selection import f_classif

    varies = np.flatnonzero(np.ptp(values, axis=0))
    score, _ = f_classif(values[:, varies], labels)
    return np.sort(varies[np.argsort(-score, kind="stable")[:keep]])


def _between(values: np.ndarray, labels: np.ndarray, speakers: np.ndarray, count: int) -> np.ndarray:
    """Directions (values, count) in which speakers' means, over the emotions alike, differ most."""
    if not count:
        return np.empty((values.shape[1], 0))
    centres = []
    for speaker in np.unique(speakers):
        own = speakers == speaker
        classes = np.unique(labels[own])
        centres.append(np.mean([values[own & (labels == one)].mean(axis=0) for one in classes], axis=0))
    spread = np.stack(centres) - np.mean(centres, axis=0)
    _, _, directions = np.linalg.svd(spread, full_matrices=False)
    # as many centres differ in one direction fewer; a further one would be arbitrary
    return np.ascontiguousarray(directions[: min(count, len(centres) - 1)].T)


def squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(left rows, right rows)."""
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2.0 * left @ right.T
    return np.maximum(squares, 0.0)


class Kernel:
    """A kernel over training rows.

    Args:
        kind: ``linear``: the inner product over its mean square. ``rbf``: exp(-d² / (width · median d²)).
        width: in medians of the squared distance between training rows.
    """

    def __init__(self, kind: Literal["rbf", "linear"] = "rbf", width: float = 1.0):
        self.kind, self.width = kind, width

    def fit(self, rows: np.ndarray) -> np.ndarray:
        """Keep the training rows; returns their kernel (rows, rows)."""
        self.rows_ = rows
        rows = rows.astype(np.float64)
        if self.kind == "linear":
            self.scale_ = float((rows**2).sum(axis=1).mean()) or 1.0
            return self(rows)
        distances = squared_distances(rows, rows)
        self.scale_ = self.width * float(np.median(distances[np.triu_indices(len(rows), 1)])) or 1.0
        kernel: np.ndarray = np.exp(-distances / self.scale_)
        return kernel

    def __call__(self, rows: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        """Kernel between rows and others, the training rows where none are given, (rows, others), float64."""
        rows, others = (one.astype(np.float64) for one in (rows, self.rows_ if others is None else others))
        if self.kind == "linear":
            return rows @ others.T / self.scale_
        return np.exp(-squared_distances(rows, others) / self.scale_)


class Machine:
    """A classifier on a kernel between training rows; every class weighs alike, however many utterances it has.

    Args:
        learner: ``svm``, one against one, its votes as one against the rest; ``elm``, kernel ridge regression to ±1
            (the kernel extreme learning machine of Huang et al. 2012, with class weights); ``logistic``, multinomial
            logistic regression on the kernel's rows (as coordinates).
        cost: of an error; C of the SVM, the inverse of the ridge, C of the logistic regression.
    """

    def __init__(self, learner: Learner = "svm", cost: float = 1.0):
        self.learner, self.cost = learner, cost

    def fit(self, kernel: np.ndarray, labels: np.ndarray, classes: int) -> Machine:
        """Learn from a kernel (rows, rows) and labels (rows,) in 0 … classes - 1, each of which occurs."""
        counts = np.bincount(labels, minlength=classes)
        if not counts.all():
            raise ValueError(f"{(counts == 0).sum()} of {classes} classes have no training row")
        if self.learner == "elm":
            weight = (len(labels) / (classes * counts))[labels]
            targets = 2.0 * np.eye(classes)[labels] - 1.0
            self.ridge_ = 1.0 / (self.cost * weight)
            self.offset_ = (weight[:, None] * targets).sum(axis=0) / weight.sum()
            self.weights_ = self.solved(kernel, targets - self.offset_)
        elif self.learner == "svm":
            from sklearn.svm import SVC

            self.model_ = SVC(C=self.cost, kernel="precomputed", class_weight="balanced", cache_size=100)
            self.model_.fit(kernel, labels)
        else:
            from sklearn.linear_model import LogisticRegression

            self.model_ = LogisticRegression(C=self.cost, class_weight="balanced", max_iter=500)
            self.model_.fit(kernel, labels)
        return self

    def scores(self, kernel: np.ndarray) -> np.ndarray:
        """Score of each class, (rows, classes), of a kernel (rows, training rows)."""
        if self.learner == "elm":
            return kernel @ self.weights_ + self.offset_
        scores = self.model_.decision_function(kernel)
        return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores

    def solved(self, training: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Of an ``elm``: A⁻¹ ``right`` with A = training + ridge, the kernel between training rows and their ridge."""
        from scipy.linalg import solve

        ridged = training.copy()
        ridged.flat[:: len(ridged) + 1] += self.ridge_
        solution: np.ndarray = solve(ridged, right, assume_a="pos", overwrite_a=True)
        return solution

    def self_trained(self, kernel: np.ndarray, solved: np.ndarray, among: np.ndarray, weight: float) -> np.ndarray:
        """Scores (rows, classes) of an ``elm`` fitted again with these rows and what it takes them for.

        Self-training with soft targets: 2 p - 1 of a softmax of the scores, again until they stay, ``_ROUNDS`` times at
        the most. The training rows' share is solved once: with S = kernel A⁻¹ targets and G = among - kernel A⁻¹
        kernelᵀ, the fit with targets T for the rows scores S + G (G + r)⁻¹ (T - S).

        Args:
            kernel: (rows, training rows).
            solved: A⁻¹ kernelᵀ, (training rows, rows).
            among: (rows, rows).
            weight: of a row, in those of a training row; r is the inverse of ``cost`` times it.
        """
        before = first = kernel @ self.weights_
        rest = among - kernel @ solved
        moved = rest @ np.linalg.inv(rest + np.eye(len(among)) / (self.cost * weight))
        for _ in range(_ROUNDS):
            scores = before + self.offset_
            sharpness = _SHARPNESS / (scores.std(axis=1).mean() or 1.0)
            targets = 2.0 * softmax(sharpness * scores) - 1.0 - self.offset_
            after = first + moved @ (targets - first)
            if np.abs(after - before).max() < 1e-6:
                break
            before = after
        return after + self.offset_
