"""A trained model as one file: weights, classes, preprocessor, and what it was trained with.

Of an encoder that began with pretrained weights, and of which a part stayed as it was, the file holds the rest and
names the weights' file with its digest, unless ``train.store=whole``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parallel_ser.config import Config
from parallel_ser.errors import UserError
from parallel_ser.models.batch import Inputs, tensors
from parallel_ser.models.encoder.weights import from_torchaudio
from parallel_ser.models.registry import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.engine.stage_module import StageModule
from parallel_ser.system.digests import file_digest
from parallel_ser.training import checkpoint, pretrained
from parallel_ser.training.batches import Views, probabilities
from parallel_ser.training.data import Dataset
from parallel_ser.training.preprocessor import Preprocessor
from parallel_ser.weights_file import tensors as tensors_of


@dataclass(frozen=True)
class Model:
    """One fold's model, ready to recognise in this process.

    Attributes:
        module: the chain in evaluation mode and the precision of the training.
        classes: in the order of the logits.
        preprocessor: makes what the network reads of utterances with features.
        views: of an utterance that an answer is the mean of.
        seen: what it was trained and selected on, see ``transfer.sides``.
        encoder: digest of the weights that made the features, where an encoder did.
        tta_copies: altered copies of an utterance that an answer is the mean of.
    """

    module: StageModule
    classes: tuple[str, ...]
    preprocessor: Preprocessor
    views: Views
    seen: Mapping[str, Mapping[str, list[str]]]
    encoder: str = ""
    tta_copies: int = 0

    def probabilities(self, data: Dataset, batch: int = 32) -> np.ndarray:
        """Class probabilities ``(utterances, classes)`` of utterances with features as extracted.

        They are the mean over the ``tta_copies`` of ``data``, and of ``data`` itself.

        Raises:
            UserError: the network reads what an utterance does not have, such as words.
        """
        versions = map(self.preprocessor, data.answered(self.tta_copies))
        return self.views.mean(lambda inputs: probabilities(self._logits, inputs, batch), versions)

    def _logits(self, inputs: Inputs) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self.module(*tensors(inputs.x), **inputs.beside)
            return logits.clone()


@dataclass(frozen=True)
class Base:
    """Pretrained weights that a model file leaves out.

    Attributes:
        name: of the model, as in ``model.name``.
        size: likewise.
        weights: their file, or the bundle's name.
        digest: of the file.
    """

    name: str
    size: str
    weights: str
    digest: str


def save(
    path: Path,
    signature: Mapping[str, list[int]],
    weights: dict[str, Tensor],
    classes: tuple[str, ...],
    preprocessor: Preprocessor,
    seen: Mapping[str, Mapping[str, list[str]]],
    base: Base | None = None,
    encoder: str = "",
) -> None:
    """Write a model whole or not at all; ``seen`` is what it was trained and selected on, see ``transfer.sides``.

    ``weights`` may lack what ``base`` holds; ``encoder`` is the digest of the weights that made the features, where an
    encoder did.
    """
    content = {"weights": weights, "classes": list(classes), "seen": seen, **preprocessor.state}
    content |= {"base": asdict(base)} if base else {}
    content |= {"encoder": encoder} if encoder else {}
    checkpoint.save(path, content, signature)


def read(path: Path) -> dict[str, Any]:
    """What ``save`` wrote, with all weights.

    Raises:
        UserError: no such file, a damaged one, or one that holds no model; the pretrained weights that it leaves out
            are missing, or are others.
    """
    content = checkpoint.load(path)
    if "normaliser" not in content:
        raise UserError(f"{path} holds no model: give a file such as fold-0/model.pt.")
    if "base" in content:
        content["weights"] = {**_rest(path, Base(**content["base"]), content["signature"]), **content["weights"]}
    return content


def _rest(path: Path, base: Base, signature: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """The weights of a base by their names in the chain."""
    holds = f"{path} holds only what was trained beside the weights of {base.weights}"
    given = Path(base.weights)
    if given.suffix and not given.exists():
        raise UserError(f"{holds}, which is missing: put that file back (its digest is {base.digest}).")
    settings = ModelSettings.model_validate({"name": base.name, "size": base.size, "weights": given})
    try:
        file = pretrained.file_of(settings)
    except UserError as error:
        raise UserError(f"{holds}, and {error}") from error
    if file is None or file_digest(file) != base.digest:
        raise UserError(f"{holds}, and {file or given} is another file now: put back the one of digest {base.digest}.")
    try:
        return from_torchaudio(tensors_of(file), signature)
    except ValueError as error:
        raise UserError(f"{holds}, and {error}.") from error


def load(path: Path, config: Config, views: Views) -> Model:
    """The model of a file, to compute in bfloat16 where it was trained so; ``config`` is that of its run.

    Raises:
        UserError: no such file, a damaged one, or one of another model than the settings describe.
    """
    content = read(path)
    preprocessor, classes = Preprocessor.from_state(config, content, path), tuple(content["classes"])
    chain = build(config.model, len(preprocessor.normaliser.mean), len(classes), seed=0)
    checkpoint.fits(path, content, chain.signature())
    chain.load(content["weights"])
    module = StageModule(chain, torch.device("cpu"), config.train.precision == "bf16").eval()
    module.to(memory_format=torch.channels_last)
    encoder, copies = content.get("encoder", ""), config.train.tta_copies
    return Model(module, classes, preprocessor, views, content["seen"], encoder, copies)
