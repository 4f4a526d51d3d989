"""From utterances with features to what a network reads: standardised frames, and what stands beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from parallel_ser.classical import kernel
from parallel_ser.classical.front import Front, front_of
from parallel_ser.classical.sample import Sample
from parallel_ser.config import Config
from parallel_ser.errors import UserError
from parallel_ser.training.data import Dataset
from parallel_ser.training.extras import Extras
from parallel_ser.training.network_inputs import NetworkInputs
from parallel_ser.training.normalise import Normaliser
from parallel_ser.training.sample import sample_of

_LEAST = 1e-6  # deviation of a value that varies


@dataclass(frozen=True)
class Vectors:
    """The views that ``classical.views`` names as one vector an utterance, standardised by the training side.

    Attributes:
        config: of the run, with the classical settings of ``_of_views``.
        front: makes the views ready, by ``train.normalise``.
        chosen: places of each view's values that stay; a view that is not named keeps all.
        scale: standardises those, ``(values, 1)``.
        names: of the functionals and correlations.
    """

    config: Config
    front: Front
    chosen: dict[str, np.ndarray]
    scale: Normaliser
    names: tuple[str, ...]

    @staticmethod
    @threadpool_limits.wrap(limits=1)  # sums in the same order, so the same values to the bit
    def fit(config: Config, data: Dataset) -> Vectors:
        """By the utterances of a training side."""
        config = _of_views(config)
        front = front_of(config.classical)
        sample, names = sample_of(data, config)
        ready = front.fit(sample)
        chosen = _chosen(ready, data, config) if config.model.beside.keep else {}
        scale = Normaliser.fit("train", list(_joined(ready, config, chosen)[:, :, None]), _LEAST)
        return Vectors(config, front, chosen, scale, _flat(names))

    @threadpool_limits.wrap(limits=1)
    def __call__(self, data: Dataset) -> Tensor:
        """``(utterances, values)`` float32.

        Raises:
            UserError: other values are made now than were when this was fitted.
        """
        sample, names = sample_of(data, self.config)
        if _flat(names) != self.names:
            raise UserError("the network was trained on other values than this version makes: train it again.")
        rows = _joined(self.front(sample), self.config, self.chosen)
        return torch.from_numpy(np.stack(self.scale(list(rows[:, :, None]), ()))[:, :, 0])


def _flat(names: Mapping[str, list[str]]) -> tuple[str, ...]:
    return tuple(name for view in names.values() for name in view)


def _mapped(work: Callable[[Any], Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same names with ``work`` done to each value."""
    return {name: _mapped(work, one) if isinstance(one, Mapping) else work(one) for name, one in tree.items()}


def _of_views(config: Config) -> Config:
    """The settings for a kernel system that is standardised as the network's frames are."""
    settings = config.classical.model_copy(update={"system": "svm", "normalise": config.train.normalise})
    return config.model_copy(update={"classical": settings})


def _chosen(ready: Sample, data: Dataset, config: Config) -> dict[str, np.ndarray]:
    """Places of each view's values that tell the classes of a training side apart best."""
    labels = np.array([data.label(place) for place in range(len(data.utterances))])
    chosen: dict[str, np.ndarray] = {}
    for view in config.classical.views:
        selection = kernel.Vectors(config.model.beside.keep)
        selection.fit(np.asarray(ready.views[view]), labels, ready.speakers)
        chosen[view] = selection.chosen_
    return chosen


def _joined(sample: Sample, config: Config, chosen: Mapping[str, np.ndarray]) -> np.ndarray:
    """The views side by side, the values that stay, (utterances, values)."""
    views = {name: np.asarray(sample.views[name]) for name in config.classical.views}
    return np.concatenate([rows[:, chosen[name]] if name in chosen else rows for name, rows in views.items()], axis=1)


@dataclass(frozen=True)
class Preprocessor:
    """Makes a network's inputs, by what one training side has.

    Attributes:
        normaliser: of the frames.
        extras: reads the words that are said, and speaker embeddings.
        vectors: makes those that the network reads; None where it reads none.
    """

    normaliser: Normaliser
    extras: Extras
    vectors: Vectors | None = None

    @staticmethod
    def fit(config: Config, data: Dataset) -> Preprocessor:
        """By the utterances of a training side."""
        vectors = Vectors.fit(config, data) if config.model.beside.vectors else None
        normaliser = Normaliser.fit(config.train.normalise, data.frames)
        return Preprocessor(normaliser, Extras.fit(config.model, data.utterances), vectors)

    def __call__(self, data: Dataset) -> NetworkInputs:
        """The inputs of utterances with features as extracted; under ``speaker`` those of one share statistics.

        Raises:
            UserError: the network reads what an utterance does not have, such as words.
        """
        extras = self.extras(data.utterances)
        if self.vectors:
            extras["vectors"] = self.vectors(data)
        frames = data.frames if self.extras.beside.frames else [one[:, :1] for one in data.frames]
        return NetworkInputs(self.normaliser(frames, [one.speaker for one in data.utterances]), extras)

    @property
    def state(self) -> dict[str, Any]:
        """What is kept with a model."""
        state = {"normaliser": self.normaliser.state(), **self.extras.state}
        if self.vectors:
            front = _mapped(torch.from_numpy, self.vectors.front.state())
            chosen = _mapped(torch.from_numpy, self.vectors.chosen)
            scale, names = self.vectors.scale.state(), list(self.vectors.names)
            state["vectors"] = {"front": front, "chosen": chosen, "scale": scale, "names": names}
        return state

    @staticmethod
    def from_state(config: Config, state: Mapping[str, Any], path: Path) -> Preprocessor:
        """As ``state`` was given by a run of ``config``; ``path`` is the file that it comes from.

        Raises:
            UserError: it has no vectors though the network reads them, or the other way round.
        """
        vectors, stored = None, state.get("vectors")
        if bool(stored) != bool(config.model.beside.vectors):
            raise UserError(
                f"{path} is the model of another run: model.options.vectors is not what it was trained with."
            )
        if stored:
            config = _of_views(config)
            front = front_of(config.classical).restore(_mapped(Tensor.numpy, stored["front"]))
            chosen = _mapped(Tensor.numpy, stored.get("chosen", {}))
            scale, names = Normaliser.from_state(stored["scale"]), tuple(stored["names"])
            vectors = Vectors(config, front, chosen, scale, names)
        return Preprocessor(Normaliser.from_state(state["normaliser"]), Extras.from_state(config.model, state), vectors)
