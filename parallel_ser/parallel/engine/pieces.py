"""The pieces that a strategy is composed of: what each must do, and which are taken where nothing else is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from parallel_ser.models.batch import Activations, Inputs
from parallel_ser.parallel.engine.gradients import SummedGradients
from parallel_ser.parallel.engine.one_by_one import OneByOne
from parallel_ser.parallel.engine.optimizer import OptimizerStep

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.strategy import Strategy

Labels = tuple[Activations, Tensor]
"""Targets, and ``(batch,)`` 1 for each row that counts: rows that fill up a batch are 0 and stand at its end."""
MakeOptimizer = Callable[[dict[str, nn.Parameter]], torch.optim.Optimizer]


class Passes(Protocol):
    """Forward and backward passes of a batch."""

    def ready(self) -> None:
        """Do what needs the optimizer."""

    def gradients(self, inputs: Inputs, labels: Labels) -> Tensor:
        """Add to ``.grad`` this rank's gradients of the batch's loss; return that loss ``()``, alike in a copy.

        ``inputs`` is this copy's share of the batch, which the micro-batches divide.
        """


class Gradients(Protocol):
    """How copies of the model complete their gradients.

    Attributes:
        scale: of the loss, for what averages gradients where a sum is asked for.
    """

    scale: float

    def wrap(self) -> None:
        """Make the modules ready; may put other ``parameters`` in place of the same."""

    def compute(self, module: nn.Module, inputs: Inputs, x: tuple[Tensor, ...], last: bool) -> Activations:
        """A stage's output for a micro-batch, the last of its batch or not."""

    def passed(self) -> None:
        """The last micro-batch has gone backward."""

    def clear(self) -> None:
        """Forget the gradients of the step before."""

    def reduce(self) -> None:
        """Complete the gradients."""


class Optimizer(Protocol):
    """Clips the gradients and steps the optimizer, and keeps its state."""

    optimizer: Any

    def step(self) -> None:
        """Clip and step."""

    def owner(self, name: str) -> int:
        """Which of the copies has the optimizer's state of a parameter, where not all have it; else 0."""

    def holds(self, name: str) -> bool:
        """Whether this rank has it."""

    def state(self) -> dict[str, Tensor]:
        """This rank's part of it, by ``parameter/field``."""

    def load(self, parts: Mapping[str, Tensor]) -> None:
        """Take this rank's part of it, by ``parameter/field``."""

    def wrote(self) -> None:
        """Weights have been written."""


@dataclass(frozen=True)
class Pieces:
    """What a strategy is composed of.

    Attributes:
        passes: forward and backward passes of a batch; one micro-batch after another.
        gradients: how copies complete their gradients; summed after the passes.
        optimizer: how the optimizer steps; each rank steps all that it holds.
        splits_backward: whether backward passes are computed in two halves.
        every_edge_differentiable: whether what passes between stages has a gradient also where nothing before it is
            trained.
        without_gradients: the context in which ``predict`` computes.
    """

    passes: Callable[[Strategy], Passes] = OneByOne
    gradients: Callable[[Strategy], Gradients] = SummedGradients
    optimizer: Callable[[Strategy, MakeOptimizer], Optimizer] = OptimizerStep
    splits_backward: bool = False
    every_edge_differentiable: bool = False
    without_gradients: Callable[[], AbstractContextManager[Any]] = torch.inference_mode
