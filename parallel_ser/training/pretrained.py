"""Pretrained weights of an encoder in torchaudio's format: from a file, or from where torchaudio keeps its bundles'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parallel_ser.errors import UserError
from parallel_ser.models.chain import Chain
from parallel_ser.models.encoder.weights import from_torchaudio
from parallel_ser.models.registry import descriptor_of
from parallel_ser.models.settings import ModelSettings
from parallel_ser.weights_file import tensors

HOST = "https://download.pytorch.org/torchaudio/models/"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def file_of(settings: ModelSettings) -> Path | None:
    """The file that ``model.weights`` names; None where it is a run of ours.

    Raises:
        UserError: there is no such file; it says what to fetch.
    """
    given = settings.weights
    if given is None or not descriptor_of(settings).waveform or given.is_dir():
        return None
    if not given.suffix and len(given.parts) == 1:
        return _of_bundle(given.name, settings)
    if given.suffix not in SUFFIXES or (given.parent.parent / "config.yaml").exists():
        return None
    if not given.exists():
        raise UserError(
            f"model.weights={given} does not exist: give a state dict of torchaudio's {settings.name} (.pth, .pt or "
            f".safetensors), or the name of a bundle such as {_bundles(settings.name)[0]}."
        )
    return given


def _bundles(name: str) -> list[str]:
    """The bundles of torchaudio for a model that is not trained to transcribe."""
    import torchaudio

    return [one for one in dir(torchaudio.pipelines) if one.startswith(name.upper()) and "ASR" not in one]


def _of_bundle(name: str, settings: ModelSettings) -> Path:
    import torchaudio

    bundle: Any = getattr(torchaudio.pipelines, name, None)
    if not hasattr(bundle, "_path"):
        raise UserError(
            f"model.weights={name} is neither a file nor a folder of a run nor a bundle of torchaudio; those of "
            f"{settings.name} are {', '.join(_bundles(settings.name))}."
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / bundle._path
    if not path.exists():
        raise UserError(
            f"model.weights={name} is not on this machine: fetch {HOST}{bundle._path} to {path}, which "
            f"torchaudio.pipelines.{name}.get_model() does where there is a network."
        )
    return path


def read(path: Path, chain: Chain, settings: ModelSettings) -> dict[str, Tensor]:
    """The weights of a file by their names in the chain; nothing in it is executed, and it is mapped, not copied.

    Raises:
        UserError: it is no state dict, or that of another model.
    """
    signature = chain.signature()
    what = f"{settings.name} of model.size={settings.size}"
    try:
        found = from_torchaudio(tensors(path), signature)
    except ValueError as error:
        raise UserError(f"{path} does not hold the weights of {what}: {error}.") from error
    for name, value in found.items():
        if list(value.shape) != signature[name]:
            raise UserError(
                f"{path} does not hold the weights of {what}: its {name} is {list(value.shape)}, not {signature[name]}."
            )
    return found
