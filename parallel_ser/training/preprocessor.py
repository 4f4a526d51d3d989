"""From utterances with features to what a network reads: standardised frames, and what stands beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from parallel_ser.audio.functionals import Functionals
from parallel_ser.audio.settings import FunctionalSettings
from parallel_ser.errors import UserError
from parallel_ser.models.settings import ModelSettings
from parallel_ser.training.encoder_view import extractor_of
from parallel_ser.training.extras import Extras
from parallel_ser.training.normalise import Normaliser

if TYPE_CHECKING:
    from parallel_ser.config import Config
    from parallel_ser.training.data import Dataset

_LEAST = 1e-6  # deviation of a functional that varies


@dataclass(frozen=True)
class NetworkInputs:
    """What a network reads of utterances.

    Attributes:
        frames: of each utterance ``(rows, frames)`` float32, standardised.
        extras: what it reads beside them, ``(utterances, ...)`` each.
    """

    frames: list[np.ndarray]
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """Utterances."""
        return len(self.frames)

    def take(self, places: Sequence[int]) -> NetworkInputs:
        """The utterances at ``places`` alone."""
        extras = {name: rows[list(places)] for name, rows in self.extras.items()}
        return NetworkInputs([self.frames[place] for place in places], extras)

    def row(self, place: int) -> dict[str, Tensor]:
        """What is read beside the frames of the utterance at ``place``."""
        return {name: rows[place] for name, rows in self.extras.items()}


def functionals_of(data: Dataset, settings: FunctionalSettings, hop: float) -> np.ndarray:
    """The functionals ``(utterances, values)`` float32 of utterances."""
    functionals = Functionals(data.rows, settings, hop)
    return np.stack([functionals(*pair) for pair in zip(data.frames, data.measures, strict=True)])


@dataclass(frozen=True)
class Vectors:
    """Functionals, standardised as the frames are: by the training side, or by the speaker's utterances at hand.

    Attributes:
        settings: which functionals.
        hop: seconds between frames.
        normaliser: of functionals ``(values, 1)``.
    """

    settings: FunctionalSettings
    hop: float
    normaliser: Normaliser

    @staticmethod
    def fit(config: Config, data: Dataset) -> Vectors:
        """By the utterances of a training side."""
        rows = functionals_of(data, config.functionals, config.features.hop)[:, :, None]
        normaliser = Normaliser.fit(config.train.normalise, list(rows), _LEAST)
        return Vectors(config.functionals, config.features.hop, normaliser)

    def __call__(self, data: Dataset) -> Tensor:
        """``(utterances, values)`` float32."""
        rows = functionals_of(data, self.settings, self.hop)[:, :, None]
        standardised = self.normaliser(list(rows), [one.speaker for one in data.utterances])
        return torch.from_numpy(np.stack(standardised)[:, :, 0])


@dataclass(frozen=True)
class Preprocessor:
    """Makes a network's inputs, by what one training side has.

    Attributes:
        normaliser: of the frames.
        extras: reads the words that are said, and speaker embeddings.
        vectors: makes functionals, of a network that reads them.
    """

    normaliser: Normaliser
    extras: Extras
    vectors: Vectors | None = None

    @staticmethod
    def fit(config: Config, data: Dataset) -> Preprocessor:
        """By the utterances of a training side."""
        return Preprocessor(
            Normaliser.fit(config.train.normalise, data.frames),
            Extras.fit(config.model, data.utterances),
            Vectors.fit(config, data) if config.model.beside.functionals else None,
        )

    def __call__(self, data: Dataset) -> NetworkInputs:
        """The inputs of utterances with features as extracted; under ``speaker`` those of one share statistics.

        Raises:
            UserError: the network reads what an utterance does not have, such as words.
        """
        if not data.utterances:
            return NetworkInputs([])
        extras = self.extras(data.utterances)
        if self.vectors:
            extras["functionals"] = self.vectors(data)
        return NetworkInputs(self.normaliser(data.frames, [one.speaker for one in data.utterances]), extras)

    @property
    def state(self) -> dict[str, Any]:
        """What is kept with a model."""
        state = {"normaliser": self.normaliser.state(), **self.extras.state}
        if self.vectors:
            settings, hop, normaliser = self.vectors.settings, self.vectors.hop, self.vectors.normaliser
            state["functionals"] = {
                "settings": settings.model_dump(mode="json"),
                "hop": hop,
                "normaliser": normaliser.state(),
            }
        return state

    @staticmethod
    def from_state(model: ModelSettings, state: Mapping[str, Any]) -> Preprocessor:
        """As ``state`` was given."""
        vectors = None
        if "functionals" in state:
            said = state["functionals"]
            settings = FunctionalSettings.model_validate(said["settings"])
            vectors = Vectors(settings, said["hop"], Normaliser.from_state(said["normaliser"], _LEAST))
        return Preprocessor(Normaliser.from_state(state["normaliser"]), Extras.from_state(model, state), vectors)


def require_functionals(config: Config) -> None:
    """Refuse a number of functionals that is not that of the settings.

    Raises:
        UserError: it is another.
    """
    asked = config.model.beside.functionals
    if not asked:
        return
    count = len(Functionals(extractor_of(config.audio, config.features).names, config.functionals, 1.0).names)
    if count != asked:
        raise UserError(
            f"model.options.functionals={asked}, and features and functionals make {count} of an utterance: say "
            f"model.options.functionals={count}."
        )
