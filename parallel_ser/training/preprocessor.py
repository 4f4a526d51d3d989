"""From utterances with features to what a network reads: standardised frames, and what stands beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from parallel_ser.classical.front import Front, front_of
from parallel_ser.classical.recogniser import dumps, loads
from parallel_ser.classical.sample import Sample
from parallel_ser.config import Config
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
        config: of the run, see ``_of_views``.
        front: makes the views ready, by ``train.normalise``.
        scale: of the values ``(values, 1)`` that come of it.
    """

    config: Config
    front: Front
    scale: Normaliser

    @staticmethod
    def fit(config: Config, data: Dataset) -> Vectors:
        """By the utterances of a training side."""
        config = _of_views(config)
        front = front_of(config.classical)
        rows = _joined(front.fit(sample_of(data, config)[0]), config)
        return Vectors(config, front, Normaliser.fit("train", list(rows[:, :, None]), _LEAST))

    def __call__(self, data: Dataset) -> Tensor:
        """``(utterances, values)`` float32."""
        rows = _joined(self.front(sample_of(data, self.config)[0]), self.config)
        return torch.from_numpy(np.stack(self.scale(list(rows[:, :, None]), ()))[:, :, 0])


def _of_views(config: Config) -> Config:
    """The settings for a kernel system that is standardised as the network's frames are."""
    settings = config.classical.model_copy(update={"system": "svm", "normalise": config.train.normalise})
    return config.model_copy(update={"classical": settings})


def _joined(sample: Sample, config: Config) -> np.ndarray:
    return np.concatenate([np.asarray(sample.views[name]) for name in config.classical.views], axis=1)


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
        with threadpool_limits(1):  # sums in the same order, so the same values to the bit
            vectors = Vectors.fit(config, data) if config.model.beside.vectors else None
        normaliser = Normaliser.fit(config.train.normalise, data.frames)
        return Preprocessor(normaliser, Extras.fit(config.model, data.utterances), vectors)

    def __call__(self, data: Dataset) -> NetworkInputs:
        """The inputs of utterances with features as extracted; under ``speaker`` those of one share statistics.

        Raises:
            UserError: the network reads what an utterance does not have, such as words.
        """
        if not data.utterances:
            return NetworkInputs([])
        extras = self.extras(data.utterances)
        if self.vectors:
            with threadpool_limits(1):
                extras["vectors"] = self.vectors(data)
        return NetworkInputs(self.normaliser(data.frames, [one.speaker for one in data.utterances]), extras)

    @property
    def state(self) -> dict[str, Any]:
        """What is kept with a model."""
        state = {"normaliser": self.normaliser.state(), **self.extras.state}
        if self.vectors:
            front = torch.frombuffer(bytearray(dumps(self.vectors.front)), dtype=torch.uint8)
            state["vectors"] = {"front": front, "scale": self.vectors.scale.state()}
        return state

    @staticmethod
    def from_state(config: Config, state: Mapping[str, Any], path: Path) -> Preprocessor:
        """As ``state`` was given by a run of ``config``; ``path`` is the file that it comes from."""
        vectors = None
        if "vectors" in state:
            front = loads(state["vectors"]["front"].numpy().tobytes(), Front, path)
            vectors = Vectors(_of_views(config), front, Normaliser.from_state(state["vectors"]["scale"], _LEAST))
        return Preprocessor(Normaliser.from_state(state["normaliser"]), Extras.from_state(config.model, state), vectors)
