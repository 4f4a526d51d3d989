"""ZeRO 1 (Rajbhandari et al. 2020): the whole model on each rank, each parameter's optimizer state on one alone.

Gradients are summed over the ranks; a rank steps the parameters that it owns and sends them to the others. That is an
all-reduce and a broadcast, as ``torch.distributed.optim.ZeroRedundancyOptimizer`` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from parallel_ser.parallel.strategies.descriptor import Layout, Shards, StrategyDescriptor, Traffic, summed

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from parallel_ser.parallel.engine.pieces import Pieces
    from parallel_ser.parallel.engine.strategy import Strategy
    from parallel_ser.parallel.settings import StrategySettings


class OwnedOptimizer:
    """An optimizer of the parameters that this rank owns; the next parameter goes to the rank that owns the least."""

    def __init__(self, strategy: Strategy, make: Callable[[dict[str, nn.Parameter]], torch.optim.Optimizer]) -> None:
        from parallel_ser.parallel.engine.optimizer import OptimizerStep

        self.data = strategy.dims.data
        self.parameters = strategy.parameters
        held = [0] * self.data.size
        self.owners = {}
        for name, parameter in self.parameters.items():
            if parameter.requires_grad:
                self.owners[name] = held.index(min(held))
                held[self.owners[name]] += parameter.numel()
        self.whole = OptimizerStep(strategy, make)
        self.optimizer = self.whole.optimizer  # torch's, from here on of this rank's parameters
        own = {id(parameter) for name, parameter in self.parameters.items() if self.holds(name)}
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) in own]

    def step(self) -> None:
        """Clip by the norm of all gradients, step this rank's parameters and take the others'."""
        self.whole.step()
        for owner in range(self.data.size):
            own = [self.parameters[name].detach() for name in self.owners if self.owners[name] == owner]
            if own:
                self.data.broadcast_together(own, owner)

    def owner(self, name: str) -> int:
        """The rank among the copies that has the state of a parameter."""
        return self.owners.get(name, 0)

    def state(self) -> dict[str, Tensor]:
        """See ``OptimizerStep``."""
        return self.whole.state()

    def holds(self, name: str) -> bool:
        """Whether that is this rank."""
        return self.owner(name) == self.data.rank

    def load(self, parts: Mapping[str, Tensor]) -> None:
        """See ``OptimizerStep``."""
        self.whole.load({key: part for key, part in parts.items() if self.holds(key.rpartition("/")[0])})

    def wrote(self) -> None:
        """See ``OptimizerStep``."""


def traffic(settings: StrategySettings, layout: Layout, size: float, blocks: int) -> Traffic:
    """The gradients' sum, and then each owner's parameters in one message."""
    if layout.data == 1:
        return Traffic(0.0, 0)
    base = summed(settings, layout, size, blocks)
    return Traffic(base.size + size / layout.data, base.calls + layout.data)


def compose(settings: StrategySettings) -> Pieces:
    """Gradients as for any copies of the model; an optimizer of a rank's own parameters."""
    from parallel_ser.parallel.engine.pieces import Pieces

    return Pieces(optimizer=OwnedOptimizer)


STRATEGY = StrategyDescriptor(
    name="zero1",
    holds="everything but most of the optimizer's state, a share of the batch",
    sends="gradients and weights once a step",
    rank=7,
    even=True,
    traffic=traffic,
    shards=lambda settings, layout: Shards(1, layout.data),
    compose=compose,
)
