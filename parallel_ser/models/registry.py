"""Models by name: one module each in ``known``; readable without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from parallel_ser.models import known

if TYPE_CHECKING:
    from parallel_ser.models.chain import Chain
    from parallel_ser.models.settings import ModelSettings


@dataclass(frozen=True)
class Beside:
    """What a network reads of an utterance beside its features.

    Attributes:
        vocabulary: how many words it knows; 0 reads no words.
        word_vectors: a file with the vectors of words to begin with; empty begins with random ones.
        table: the parameter ``(vocabulary + 2, width)`` that has them.
        xvectors: a file with a speaker embedding of each recording; empty reads none.
        vectors: how many values of the views that ``classical.views`` names; 0 reads none.
        keep: of each of those views, how many values stay; 0 keeps all.
        frames: whether it reads the features of frames, too.
    """

    vocabulary: int = 0
    word_vectors: str = ""
    table: str = ""
    xvectors: str = ""
    vectors: int = 0
    keep: int = 0
    frames: bool = True


@dataclass(frozen=True)
class ModelDescriptor:
    """A model.

    Attributes:
        name: as in ``model.name``.
        summary: a line for tables.
        build: the chain, of the settings, rows (features a frame), classes and a seed: for inputs
            ``(batch, 1, rows, frames)``, to logits ``(batch, classes)``. The same arguments give the same weights.
        blocks: of the chain.
        parts: into which the channels of every block divide: groups of normalisations and heads of attention.
        words: what its name in tables says beside ``model.name``.
        options: what ``model.options`` may set, with defaults.
        problem: why such options cannot be, as a clause; empty where they can.
        channels: which of the options count channels of convolutions over frames.
        files: which of the options are files; an empty one is none.
        beside: what it reads of an utterance beside the features.
        sizes: what ``model.size`` may be; the first where it is not said.
        defaults: of other settings, by their dotted names, where they are not said.
        waveform: samples of a frame where it takes the waveform, the stream of that name alone; 0 where it takes
            features.
    """

    name: str
    summary: str
    build: Callable[[ModelSettings, int, int, int], Chain]
    blocks: Callable[[ModelSettings], int]
    parts: Callable[[ModelSettings], int]
    words: Callable[[ModelSettings], str] = lambda settings: ""
    options: Mapping[str, Any] = field(default_factory=dict)
    problem: Callable[[Mapping[str, Any]], str] = lambda options: ""
    channels: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    beside: Callable[[ModelSettings], Beside] = lambda settings: Beside()
    sizes: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    waveform: int = 0


def divides(options: Mapping[str, Any], *widths: str, into: str = "heads") -> str:
    """The clause of options whose ``heads``, or other parts, do not divide the ``widths``."""
    for name in widths or ("width",):
        if options[name] % options[into]:
            return f"{name}={options[name]} does not divide into {into}={options[into]}"
    return ""


@cache
def models() -> dict[str, ModelDescriptor]:
    """Every model of the project, by name."""
    modules = (import_module(f"{known.__name__}.{module.name}") for module in iter_modules(known.__path__))
    found: list[ModelDescriptor] = sorted((one.MODEL for one in modules), key=lambda one: one.name)
    return {one.name: one for one in found}


def descriptor_of(settings: ModelSettings) -> ModelDescriptor:
    """The model of the settings: one of the project's, or that of a user's file."""
    if settings.file is None:
        return models()[settings.name]
    from parallel_ser.models.user_file import descriptor

    return descriptor(settings.file)


def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    """The chain of the settings, see ``ModelDescriptor.build``.

    Raises:
        UserError: a user's file cannot be run, or builds no chain.
    """
    return descriptor_of(settings).build(settings, rows, classes, seed)


def outline(settings: ModelSettings, rows: int, classes: int) -> Chain:
    """The chain on the meta device: names and shapes without numbers, for what only counts."""
    import torch

    with torch.device("meta"):
        return build(settings, rows, classes, 0)


def count_blocks(settings: ModelSettings) -> int:
    """Blocks of the chain."""
    return descriptor_of(settings).blocks(settings)


def count_parts(settings: ModelSettings) -> int:
    """Into how many parts the channels of every block divide."""
    return descriptor_of(settings).parts(settings)


def title(settings: ModelSettings) -> str:
    """Such as ``cnn m``."""
    model = descriptor_of(settings)
    return f"{model.name} {model.words(settings)}".rstrip()
