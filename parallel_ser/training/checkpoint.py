"""Checkpoints: where a fold stands, and the model that it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from parallel_ser.errors import UserError
from parallel_ser.system.digests import DamagedError, seal, sealed
from parallel_ser.system.files import write_atomic

FORMAT = 3


def save(path: Path, content: Mapping[str, Any], signature: Mapping[str, list[int]]) -> None:
    """Write ``content`` (tensors, numbers, texts, lists and dicts of them) whole or not at all."""
    whole = {"format": FORMAT, "signature": dict(signature), **content}

    def write(file: BinaryIO) -> None:
        torch.save(whole, file)
        seal(file)

    write_atomic(path, write)


def load(path: Path) -> dict[str, Any]:
    """What was saved; nothing in the file is executed.

    Raises:
        UserError: there is no such file, or one of its bytes has changed.
    """
    with sealed(path) as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch's reader raises of what another program has written
            raise DamagedError(path, "torch cannot load it") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "signature" not in content:
        raise UserError(f"{path} is not a checkpoint of format {FORMAT}; train again with this version.")
    return content


def fits(path: Path, content: Mapping[str, Any], signature: Mapping[str, list[int]]) -> None:
    """Refuse the content of a checkpoint for a model with other parameters.

    Raises:
        UserError: names the first parameter that differs.
    """
    if content["signature"] != dict(signature):
        raise UserError(f"{path} is a checkpoint of another model: {_difference(content['signature'], signature)}.")


def _difference(theirs: Mapping[str, list[int]], ours: Mapping[str, list[int]]) -> str:
    """The first parameter in which two models differ."""
    name = first_difference(theirs, ours)
    if name not in theirs:
        return f"it has no {name}"
    if name not in ours:
        return f"its {name} is not in the model of these settings"
    return f"its {name} is {theirs[name]}, not {ours[name]}"


def first_difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first name, in our order, that two mappings do not both have with the same value; they must differ."""
    return next(name for name in (*ours, *theirs) if name not in theirs or theirs[name] != ours.get(name))
