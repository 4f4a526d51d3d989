"""What a chain is given: activations, which are a tensor or a tuple of tensors, and what goes beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

Activations: TypeAlias = Tensor | tuple[Tensor, ...]
"""What a block takes and gives. The first dimension of every tensor is the batch's."""


def tensors(x: Activations) -> tuple[Tensor, ...]:
    """The tensors, in order."""
    return x if isinstance(x, tuple) else (x,)


def each(work: Callable[[Tensor], Tensor], x: Activations) -> Activations:
    """Activations of the same structure, with ``work`` done to each tensor."""
    return tuple(map(work, x)) if isinstance(x, tuple) else work(x)


def joined(parts: Sequence[Activations]) -> Activations:
    """Micro-batches of one structure, put together again."""
    if not isinstance(parts[0], tuple):
        return torch.cat([tensors(part)[0] for part in parts])
    return tuple(torch.cat(pieces) for pieces in zip(*map(tensors, parts), strict=True))


def nbytes(x: Activations) -> int:
    """Bytes of the tensors."""
    return sum(one.numel() * one.element_size() for one in tensors(x))


def leaf(x: Activations, trained: bool = True) -> Activations:
    """The same values without their history; the floating ones have a gradient where something before is trained."""
    return each(lambda one: one.detach().requires_grad_(trained and one.is_floating_point()), x)


def differentiable(x: Activations) -> list[Tensor]:
    """The tensors that have a gradient."""
    return [one for one in tensors(x) if one.requires_grad]


@dataclass(frozen=True)
class Inputs:
    """The inputs of a batch.

    Attributes:
        x: activations of the first block: for a speech model ``(batch, 1, rows, frames)``, zero where padded; on the
            meta device for a rank that does not read it.
        valid: ``(batch,)`` share of each utterance's frames that is real.
        seed: ``(batch,)`` int64, from which blocks draw their random numbers.
        extras: further tensors ``(batch, ...)`` by name, such as masks, lengths or ids of text. A block gets those that
            its ``forward`` names.
    """

    x: Any  # Activations: most callers know which
    valid: Tensor
    seed: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.seed)

    def __getitem__(self, rows: slice | Tensor) -> Inputs:
        return self.mapped(lambda tensor: tensor[rows])

    def mapped(self, work: Callable[[Tensor], Tensor]) -> Inputs:
        """The same with ``work`` done to each tensor."""
        extras = {name: work(tensor) for name, tensor in self.extras.items()}
        return Inputs(each(work, self.x), work(self.valid), work(self.seed), extras)

    @property
    def beside(self) -> dict[str, Tensor]:
        """What blocks may ask for beside the activations, by name."""
        return {"valid": self.valid, "seed": self.seed, **self.extras}

    @property
    def key(self) -> tuple[tuple[object, ...], ...]:
        """Shapes and types of all tensors: what blocks make of inputs with the same key has the same shapes."""
        every = (*tensors(self.x), *(self.extras[name] for name in sorted(self.extras)))
        return tuple((tuple(tensor.shape), str(tensor.dtype)) for tensor in every)

    @property
    def images(self) -> bool:
        """Whether ``x`` is one tensor ``(batch, channels, rows, frames)``, as speech models have it."""
        return not isinstance(self.x, tuple) and self.x.ndim == 4

    def widened(self, multiple: int) -> Inputs:
        """Images with empty frames behind the last until ``multiple`` divides their number."""
        (x,) = tensors(self.x)
        frames = x.shape[-1]
        missing = -frames % multiple
        if not missing:
            return self
        x = torch.nn.functional.pad(x, (0, missing))
        return Inputs(x, self.valid * (frames / (frames + missing)), self.seed, self.extras)

    def to(self, device: torch.device | str) -> Inputs:
        """The same on ``device``; a meta tensor stays one."""
        return self.mapped(lambda tensor: tensor if tensor.is_meta else tensor.to(device))

    def split(self, parts: int) -> Iterator[Inputs]:
        """At most ``parts`` pieces of equal size (the last may be shorter)."""
        size = -(-len(self) // parts)
        return (self[start : start + size] for start in range(0, len(self), size))

    def padded(self, multiple: int) -> Inputs:
        """Filled up with copies of the first utterance until ``multiple`` divides the length."""
        missing = -len(self) % multiple
        return self.mapped(lambda tensor: fill(tensor, missing, copy=True)) if missing else self

    def resized(self, count: int) -> Inputs:
        """With ``count`` rows: the first, or all of them again and again."""
        if count == len(self):
            return self
        rows = torch.arange(count) % len(self)
        return self.mapped(lambda tensor: tensor[rows.to(tensor.device)])


def fill(tensor: Tensor, missing: int, copy: bool) -> Tensor:
    """``tensor`` with ``missing`` further rows: copies of the first, or zeros."""
    if not missing:
        return tensor
    rows = tensor[:1].expand(missing, *tensor.shape[1:])
    return torch.cat([tensor, rows if copy else torch.zeros_like(rows)])


def example(
    given: Sequence[int] | Inputs, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Inputs:
    """A batch to measure or count with, on ``device``; on the meta device it takes no memory.

    Args:
        given: inputs, or the shape of images ``(batch, channels, rows, frames)``: then random ones of ``dtype``, of
            whole utterances, with seeds of 0.
    """
    if isinstance(given, Inputs):
        # not Inputs.to, which leaves a meta tensor where it is
        return given.mapped(lambda one: torch.empty_like(one, device=device) if one.is_meta else one.to(device))
    return Inputs(
        torch.randn(tuple(given), dtype=dtype, device=device),
        torch.ones(given[0], device=device),
        torch.zeros(given[0], dtype=torch.int64, device=device),
    )


def random_batch(shape: Sequence[int], classes: int, seed: int = 0) -> tuple[Inputs, Tensor]:
    """Random utterances ``(batch, 1, rows, frames)`` without padding, the same on every rank, and one-hot targets."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tuple(shape), generator=generator)
    targets = torch.eye(classes)[torch.randint(classes, (len(x),), generator=generator)]
    return Inputs(x, torch.ones(len(x)), torch.arange(len(x))), targets
