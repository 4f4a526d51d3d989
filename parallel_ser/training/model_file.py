"""A trained model as one file: weights, classes, normaliser, and what it was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parallel_ser.corpora.base import Utterance
from parallel_ser.errors import UserError
from parallel_ser.models.batch import Inputs, tensors
from parallel_ser.models.registry import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.engine.stage_module import StageModule
from parallel_ser.training import checkpoint
from parallel_ser.training.data import Views, probabilities
from parallel_ser.training.extras import Extras
from parallel_ser.training.normalise import Normaliser


@dataclass(frozen=True)
class Model:
    """One fold's model, ready to recognise in this process.

    Attributes:
        module: the chain in evaluation mode and the precision of the training.
        classes: in the order of the logits.
        normaliser: of the features.
        views: of an utterance that an answer is the mean of.
        extras: reads what the network is given beside the features.
    """

    module: StageModule
    classes: tuple[str, ...]
    normaliser: Normaliser
    views: Views
    extras: Extras

    def probabilities(self, frames: list[np.ndarray], utterances: Sequence[Utterance], batch: int = 32) -> np.ndarray:
        """Class probabilities ``(utterances, classes)`` of features as extracted, and of what stands beside them.

        Raises:
            UserError: the network reads what an utterance does not have, such as words.
        """
        beside = self.extras(utterances)
        return self.views.mean(
            lambda views: probabilities(self._logits, views, batch, beside),
            self.normaliser(frames, [one.speaker for one in utterances]),
        )

    def _logits(self, inputs: Inputs) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self.module(*tensors(inputs.x), **inputs.beside)
            return logits.clone()


def save(
    path: Path,
    signature: Mapping[str, list[int]],
    weights: dict[str, Tensor],
    classes: tuple[str, ...],
    normaliser: Normaliser,
    seen: Mapping[str, Mapping[str, list[str]]],
    extras: Extras,
) -> None:
    """Write a model whole or not at all; ``seen`` is what it was trained and selected on, see ``transfer.sides``."""
    content = {"weights": weights, "classes": list(classes), "normaliser": normaliser.state(), "seen": seen}
    content |= extras.state
    checkpoint.save(path, content, signature)


def read(path: Path) -> dict[str, Any]:
    """What ``save`` wrote.

    Raises:
        UserError: no such file, a damaged one, or one that holds no model.
    """
    content = checkpoint.load(path)
    if "normaliser" not in content:
        raise UserError(f"{path} holds no model: give a file such as fold-0/model.pt.")
    return content


def load(path: Path, settings: ModelSettings, views: Views, bf16: bool = False) -> Model:
    """The model of a file, to compute in bfloat16 where it was trained so.

    Raises:
        UserError: no such file, a damaged one, or one of another model than the settings describe.
    """
    content = read(path)
    normaliser, classes = Normaliser.from_state(content["normaliser"]), tuple(content["classes"])
    chain = build(settings, len(normaliser.mean), len(classes), seed=0)
    checkpoint.fits(path, content, chain.signature())
    chain.load(content["weights"])
    module = StageModule(chain, torch.device("cpu"), bf16).eval()
    module.to(memory_format=torch.channels_last)
    return Model(module, classes, normaliser, views, Extras.from_state(settings, content))
