"""Clipping, the optimizer's step and its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from parallel_ser.parallel.engine.state import local

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.pieces import MakeOptimizer
    from parallel_ser.parallel.engine.strategy import Strategy


class OptimizerStep:
    """Each rank steps all parameters that it holds.

    Attributes:
        optimizer: torch's.
    """

    def __init__(self, strategy: Strategy, make: MakeOptimizer) -> None:
        self.strategy = strategy
        self.optimizer: Any = make(strategy.parameters)

    def clip(self) -> None:
        """Scale the gradients so that their norm over the whole chain is at most ``clip_norm``."""
        strategy = self.strategy
        square = torch.zeros((), dtype=torch.float64, device=strategy.context.device)
        grads = {name: local(p.grad) for name, p in strategy.parameters.items() if p.grad is not None}
        for name, grad in grads.items():
            square += torch.linalg.vector_norm(grad).double().square() / strategy.state.copies(name)
        if strategy.context.size > 1:
            messages = strategy.stats.message(range(strategy.context.size))
            with strategy.stats.span("all-reduce", square, messages=messages):
                dist.all_reduce(square)
        scale = (strategy.clip_norm / (square.sqrt() + 1e-6)).clamp(max=1.0)
        for grad in grads.values():
            grad.mul_(scale.to(grad.dtype))

    def step(self) -> None:
        """Clip the gradients and step the optimizer."""
        self.clip()
        with self.strategy.stats.span("optimizer"):
            self.optimizer.step()

    def owner(self, name: str) -> int:
        """Every copy has the state of every parameter; the first gives it."""
        return 0

    def holds(self, name: str) -> bool:
        """Likewise."""
        return True

    def state(self) -> dict[str, Tensor]:
        """This rank's part of the optimizer's state, by ``parameter/field``."""
        return {
            f"{name}/{key}": local(value)
            for name, parameter in self.strategy.parameters.items()
            for key, value in self.optimizer.state[parameter].items()
        }

    def load(self, parts: Mapping[str, Tensor]) -> None:
        """Take this rank's part of the optimizer's state, by ``parameter/field``."""
        self.optimizer.state.clear()
        for key, part in parts.items():
            name, _, field = key.rpartition("/")
            parameter = self.strategy.parameters[name]
            self.optimizer.state[parameter][field] = self._kept(name, parameter, part) if part.ndim else part.clone()

    def _kept(self, name: str, parameter: Any, part: Tensor) -> Tensor:
        """A tensor as the optimizer keeps it: distributed where the parameter is."""
        own = part.to(self.strategy.context.device, copy=True)
        return self.strategy.state.as_dtensor(name, own) if hasattr(parameter, "to_local") else own

    def wrote(self) -> None:
        """See ``Optimizer``."""
