"""A model of a user's own, in a Python file that the settings name."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from parallel_ser.errors import UserError, did_you_mean
from parallel_ser.models.registry import ModelDescriptor

if TYPE_CHECKING:
    from parallel_ser.models.chain import Chain
    from parallel_ser.models.settings import ModelSettings


ROWS, CLASSES = 64, 7


@cache
def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"parallel_ser_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"model.file={path} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"model.file={path} cannot be run: {type(error).__name__}: {error}.") from error
    if not callable(getattr(module, "build", None)):
        raise UserError(f"model.file={path} has no build(rows, classes, **options) that gives an nn.Sequential.")
    return module


def _build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    import torch

    from parallel_ser.models.chain import chain_of

    assert settings.file is not None
    module: Any = _module(settings.file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            made = module.build(rows, classes, **settings.options)
        except TypeError as error:
            takes = list(inspect.signature(module.build).parameters)[2:]
            near = "".join(did_you_mean(name, takes) for name in settings.options if name not in takes)
            raise UserError(
                f"build of model.file={settings.file} with model.options={settings.options}: {error}{near}."
            ) from error
    if not isinstance(made, torch.nn.Sequential) or not len(made):
        raise UserError(
            f"build of model.file={settings.file} gives {type(made).__name__}, and no nn.Sequential of blocks."
        )
    chain = chain_of(made)
    chain.rules = getattr(module, "RULES", {})
    return chain


def _blocks(settings: ModelSettings) -> int:
    """It must be built to be counted; how many features and classes there are makes no difference to that."""
    import torch

    with torch.device("meta"):
        return len(_build(settings, ROWS, CLASSES, 0))


@cache
def descriptor(path: Path) -> ModelDescriptor:
    """The model of a file.

    The file may have ``RULES``, by axis (``channel``, ``time``) a rule for each type of block that can be split, see
    ``parallel.tensor``, and ``PARTS``, into how many parts the channels of these divide.

    Raises:
        UserError: the file cannot be run, or has no ``build``.
    """
    return ModelDescriptor(
        name=path.name,
        summary="of a file",
        build=_build,
        blocks=_blocks,
        parts=lambda settings: int(getattr(_module(path), "PARTS", 0)),
    )
