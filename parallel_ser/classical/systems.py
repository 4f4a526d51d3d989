"""The classifiers behind one interface: ``fit`` on a sample and its labels, ``scores`` of a sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, get_args

import numpy as np

from parallel_ser.classical.front import CEPSTRA
from parallel_ser.classical.gmm import adapted_means, draw, fit_mixture
from parallel_ser.classical.kernel import Kernel, Learner, Machine, Vectors
from parallel_ser.classical.sample import Frames, Sample
from parallel_ser.classical.settings import ClassicalSettings

Candidate = Mapping[str, Any]
"""Values of the settings that are searched."""
TOGETHER = 3
"""Candidates of a kernel that are tried as one task: more would leave processes idle, and be lost with a killed one."""


class System(ABC):
    """A classifier; what it is given has been through ``Front``."""

    @abstractmethod
    def fit(self, sample: Sample, labels: np.ndarray, classes: int) -> System:
        """Learn from labels (utterances,) in 0 … classes - 1, each of which occurs."""

    @abstractmethod
    def scores(self, *samples: Sample) -> np.ndarray:
        """How much speaks for each class, (utterances, classes); a softmax makes probabilities of it.

        Of several samples, the same utterances and altered copies of them, the mean.
        """


class KernelSystem(System):
    """A kernel machine on the mean of the views' kernels, each with its own scaling, selection and width.

    Args:
        views: names of vector views.
        learner, cost: of ``Machine``.
        kernel, width: of ``Kernel``.
        keep, nuisance, pca: of ``Vectors``.
        self_training: how much a tested utterance weighs, in units of a training recording, see
            ``Machine.self_trained``; with 0 it is none.
        versions: training rows that each recording has, itself and its copies, which weigh as one together.
    """

    self_training, versions = 0.0, 1  # of a file that was written without them

    def __init__(
        self,
        views: tuple[str, ...],
        learner: str = "svm",
        cost: float = 1.0,
        kernel: str = "rbf",
        width: float = 1.0,
        keep: int = 0,
        nuisance: int = 0,
        pca: int = 0,
        self_training: float = 0.0,
        versions: int = 1,
    ):
        self.views, self.learner, self.cost, self.kernel, self.width = tuple(views), learner, cost, kernel, width
        self.keep, self.nuisance, self.pca = keep, nuisance, pca
        self.self_training, self.versions = self_training, versions

    def fit(self, sample: Sample, labels: np.ndarray, classes: int) -> KernelSystem:
        """See ``System``."""
        self.machine_ = self._machine(self.cost).fit(self._kernel(sample, labels), labels, classes)
        return self

    def at_costs(
        self, costs: Sequence[float], sample: Sample, labels: np.ndarray, classes: int, tested: Sequence[Sample]
    ) -> Iterator[np.ndarray]:
        """The mean of the scores of ``tested`` by machines of each cost, fitted to ``sample``; the kernels are made
        once."""
        training = self._kernel(sample, labels)
        together = _apart(tested)
        rows = self._rows(together)
        kernel = self._between(rows)
        for cost in costs:
            machine = self._machine(cost).fit(training, labels, classes)
            yield _mean_of(self._scores(machine, rows, kernel, training, together.speakers), len(tested))

    def _machine(self, cost: float) -> Machine:
        """Of a cost that means what it means without copies: n rows alike at an nth of it are as one; logistic
        regression, whose coordinates are the kernel's columns, has n columns alike as well."""
        share = self.versions**2 if self.learner == "logistic" else self.versions
        return Machine(self.learner, cost / share)  # type: ignore[arg-type]

    def _kernel(self, sample: Sample, labels: np.ndarray) -> np.ndarray:
        """The mean of the views' kernels between training rows, each learned from them."""
        self.vectors_ = {name: Vectors(self.keep, self.nuisance, self.pca) for name in self.views}
        self.kernels_ = {name: Kernel(self.kernel, self.width) for name in self.views}  # type: ignore[arg-type]

        def parts() -> Iterator[np.ndarray]:
            for name in self.views:
                rows = self.vectors_[name].fit(_vectors(sample, name), labels, sample.speakers)
                yield self.kernels_[name].fit(rows.astype(np.float32))  # they are most of the model's file

        return self._mean(parts())

    def scores(self, *samples: Sample) -> np.ndarray:
        """See ``System``; with self-training a speaker's utterances of a sample are scored together."""
        together = _apart(samples)
        rows = self._rows(together)
        trained_on = {name: self.kernels_[name].rows_ for name in self.views}
        training = self._between(trained_on) if self.self_training else None
        scores = self._scores(self.machine_, rows, self._between(rows), training, together.speakers)
        return _mean_of(scores, len(samples))

    def _scores(
        self,
        machine: Machine,
        rows: Mapping[str, np.ndarray],
        kernel: np.ndarray,
        training: np.ndarray | None,
        speakers: np.ndarray,
    ) -> np.ndarray:
        """Of rows made ready, their kernel with the training rows, and the kernel between those."""
        if not self.self_training:
            return machine.scores(kernel)
        assert training is not None
        solved = machine.solved(training, kernel.T)
        weight = self.self_training * self.versions
        scores = np.empty((len(speakers), machine.weights_.shape[1]))
        for speaker in np.unique(speakers):
            places = np.flatnonzero(speakers == speaker)
            theirs = {name: values[places] for name, values in rows.items()}
            among = self._between(theirs, theirs)
            scores[places] = machine.self_trained(kernel[places], solved[:, places], among, weight)
        return scores

    def _rows(self, sample: Sample) -> dict[str, np.ndarray]:
        return {name: self.vectors_[name](_vectors(sample, name)) for name in self.views}

    def _between(self, rows: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """The mean of the views' kernels between rows and others, the training rows where none are given."""
        return self._mean(self.kernels_[name](rows[name], others[name] if others else None) for name in self.views)

    def _mean(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        """Of the views' kernels, in the place of the first."""
        first, *others = parts
        for one in others:
            first += one
        first /= len(self.views)
        return first


class MixtureSystem(System):
    """A Gaussian mixture for each emotion; the score is the mean log-likelihood of the utterance's frames.

    Args:
        background: the fitted universal background model, which is adapted to each emotion; None fits one to each.
        size, covariance: of a mixture of its own.
        relevance: of the adaptation.
    """

    def __init__(
        self, background: Any = None, size: int = 32, covariance: str = "diag", relevance: float = 8.0, seed: int = 0
    ):
        self.background, self.size, self.covariance = background, size, covariance
        self.relevance, self.seed = relevance, seed

    def fit(self, sample: Sample, labels: np.ndarray, classes: int) -> MixtureSystem:
        """See ``System``."""
        frames = _cepstra(sample)
        own = [frames.take(np.flatnonzero(labels == number)) for number in range(classes)]
        self.mixtures_ = [self._mixture(one) for one in own]
        return self

    def _mixture(self, frames: Frames) -> Any:
        rows = draw(frames, self.seed)
        if self.background is None:
            return fit_mixture(rows, self.size, self.covariance, self.seed)
        from sklearn.base import clone

        adapted = clone(self.background)
        adapted.means_, _ = adapted_means(self.background, rows, self.relevance)
        for name in ("weights_", "covariances_", "precisions_", "precisions_cholesky_", "n_features_in_"):
            setattr(adapted, name, getattr(self.background, name))
        return adapted

    def scores(self, *samples: Sample) -> np.ndarray:
        """See ``System``."""
        return _mean_of(np.concatenate([self._scores(one) for one in samples]), len(samples))

    def _scores(self, sample: Sample) -> np.ndarray:
        frames = _cepstra(sample)
        rows = np.concatenate(list(frames)).astype(np.float64)
        lengths = np.diff(frames.bounds, axis=1)[:, 0]
        starts = np.append(0, lengths.cumsum()[:-1])
        parts = [np.add.reduceat(mixture.score_samples(rows), starts) / lengths for mixture in self.mixtures_]
        return np.stack(parts, axis=1)


def _apart(samples: Sequence[Sample]) -> Sample:
    """The utterances of all samples as one, where a speaker of each sample is a speaker of its own."""
    speakers = [np.array([f"{number} {speaker}" for speaker in one.speakers]) for number, one in enumerate(samples)]
    return Sample.join([Sample(one.views, own) for one, own in zip(samples, speakers, strict=True)])


def _mean_of(scores: np.ndarray, samples: int) -> np.ndarray:
    """Scores (samples × utterances, classes) to their mean over the samples."""
    mean: np.ndarray = scores.reshape(samples, -1, scores.shape[1]).mean(axis=0)
    return mean


def _vectors(sample: Sample, name: str) -> np.ndarray:
    return np.asarray(sample.views[name])


def _cepstra(sample: Sample) -> Frames:
    frames = sample.views[CEPSTRA]
    assert isinstance(frames, Frames)
    return frames


def candidates(settings: ClassicalSettings) -> list[Candidate]:
    """Every combination of what ``settings.search`` tries and the system takes.

    >>> len(candidates(ClassicalSettings()))
    18
    >>> candidates(ClassicalSettings(system="gmm", mixture={"adapt": "none", "sizes": (16, 32)}))
    [{'size': 16, 'covariance': 'diag'}, {'size': 32, 'covariance': 'diag'}]
    """
    if settings.system == "gmm":
        own = settings.mixture.adapt == "none"
        choices = {"size": settings.mixture.sizes, "covariance": settings.mixture.covariances} if own else {}
    else:
        search = settings.search
        choices = {name: getattr(search, name) for name in ("kernel", "width", "cost", "keep", "pca", "nuisance")}
    every = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    # a linear kernel has no width: one of them is enough
    return [one for one in every if one.get("kernel") != "linear" or one["width"] == choices["width"][0]]


def groups(every: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates that differ in their cost alone, up to ``TOGETHER`` of them together.

    >>> [len(group) for group in groups(candidates(ClassicalSettings()))]
    [3, 3, 3, 3, 3, 3]
    >>> many = [{"width": 1.0, "cost": float(cost)} for cost in range(1, 8)]
    >>> [len(group) for group in groups(many)]
    [3, 3, 1]
    """
    by_kernel: dict[str, list[Candidate]] = {}
    for one in every:
        by_kernel.setdefault(repr({name: value for name, value in one.items() if name != "cost"}), []).append(one)
    return [own[start : start + TOGETHER] for own in by_kernel.values() for start in range(0, len(own), TOGETHER)]


def scored(
    settings: ClassicalSettings,
    group: Sequence[Candidate],
    sample: Sample,
    labels: np.ndarray,
    classes: int,
    tested: Sequence[Sample],
    versions: int = 1,
    background: Any = None,
) -> Iterator[np.ndarray]:
    """The mean of the scores of ``tested``, recordings and their copies, by candidates that differ in their cost alone,
    fitted to ``sample`` and its ``labels``."""
    system = build(settings, group[0], versions, background)
    if isinstance(system, KernelSystem):
        yield from system.at_costs([one["cost"] for one in group], sample, labels, classes, tested)
    else:
        assert len(group) == 1
        yield system.fit(sample, labels, classes).scores(*tested)


def build(settings: ClassicalSettings, candidate: Candidate, versions: int = 1, background: Any = None) -> System:
    """The system of a candidate, not fitted.

    Args:
        settings: which system.
        candidate: what was tried.
        versions: training rows that each recording has: itself and its copies.
        background: that a mixture system adapts.
    """
    if settings.system == "gmm":
        return MixtureSystem(background, relevance=settings.mixture.relevance, seed=settings.seed, **candidate)
    if settings.system in get_args(Learner):
        return KernelSystem(
            settings.views, settings.system, **candidate, self_training=settings.self_training, versions=versions
        )
    raise AssertionError(f"nothing is built for classical.system={settings.system}")
