"""What ranks keep of a chain, by canonical names: weights, their moving average, the optimizer's state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from parallel_ser.parallel.comm.dims import Axis
from parallel_ser.parallel.tensor.placement import REPLICATE, Placement

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.strategy import Strategy


def local(tensor: Any) -> Tensor:
    """This rank's values of a tensor that torch may have spread over ranks."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


class ShardedState:
    """This rank's part of a chain's state, of which it can give and take the whole.

    Attributes:
        ema: the exponential moving average of the weights, where one is kept.
        updates: steps that the optimizer has done.
    """

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        kept = strategy.parameters if strategy.ema else {}
        self.ema = {name: local(p).detach().clone() for name, p in kept.items()}
        self.updates = 0

    @property
    def stored(self) -> dict[str, Tensor]:
        """Parameters and buffers."""
        return {**self.strategy.parameters, **self.strategy.buffers}

    def updated(self) -> None:
        """The optimizer has done a step: the average follows. Early on its decay is smaller, to forget the start."""
        self.updates += 1
        decay = min(self.strategy.ema, self.updates / (self.updates + 10))
        with torch.no_grad():
            for name, average in self.ema.items():
                average.lerp_(local(self.strategy.parameters[name]), 1.0 - decay)

    @contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Within it the weights are their moving average, where one is kept."""
        own = {name: local(self.strategy.parameters[name]).detach().clone() for name in self.ema}
        try:
            self._write(self.ema)
            yield
        finally:
            self._write(own)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take this rank's part of weights by their names in the chain; those that are not given stay."""
        self._write({name: self.shard(name, weights[name]) for name in self.stored if name in weights})

    def _write(self, weights: Mapping[str, Tensor]) -> None:
        stored = self.stored
        with torch.no_grad():
            for name, value in weights.items():
                local(stored[name]).copy_(value)
        self.strategy.optimizer.wrote()

    def _placement(self, name: str) -> tuple[int | None, Axis]:
        placement: Placement = self.strategy.placements.get(name, REPLICATE)
        axis: Axis = getattr(self.strategy.dims, placement.over)
        return placement.dim, axis

    def copies(self, name: str) -> int:
        """How many ranks hold the same values of a parameter."""
        dims, (dim, axis) = self.strategy.dims, self._placement(name)
        return dims.data.size * dims.tensor.size // (1 if dim is None else axis.size)

    def shard(self, name: str, whole: Tensor) -> Tensor:
        """This rank's part of a tensor of a parameter's whole shape."""
        dim, axis = self._placement(name)
        if dim is None:
            return whole
        parts = whole.chunk(axis.size, dim)
        return parts[axis.rank] if axis.rank < len(parts) else whole.narrow(dim, 0, 0)

    def unshard(self, name: str, part: Tensor) -> Tensor:
        """The tensor of the whole shape, from the parts of the ranks that share it."""
        dim, axis = self._placement(name)
        if dim is None:
            return part
        length = self.strategy.signature[name][dim]
        shape = list(part.shape)
        shape[dim] = -(-length // axis.size)
        padded = part.new_zeros(shape)
        padded.narrow(dim, 0, part.shape[dim]).copy_(part)
        return axis.gather(padded, dim).narrow(dim, 0, length)

    def as_dtensor(self, name: str, part: Tensor) -> Tensor:
        """A dense tensor, distributed where other ranks hold other parts of it."""
        part, devices = part.contiguous(), self.strategy.dims.devices
        dim, _ = self._placement(name)
        if dim is None or devices is None:
            return part
        from torch.distributed.tensor import DTensor, Shard  # half a second, for those who need it

        shape = torch.Size(self.strategy.signature[name])
        stride = torch.empty(shape, device="meta").stride()
        mesh = devices[self.strategy.placements[name].over]
        return DTensor.from_local(part, mesh, [Shard(dim)], run_check=False, shape=shape, stride=stride)

    def weights(self) -> dict[str, Tensor]:
        """All weights of the chain on the first rank (nothing on the others), under their canonical names."""
        return self._gather({name: local(p).detach() for name, p in self.stored.items()})

    def full(self) -> dict[str, Any]:
        """Weights, moving average and optimizer state of the whole chain on the first rank, by parameter name."""
        return {
            "weights": self.weights(),
            "ema": self._gather(self.ema),
            "optimizer": self._gather(self.strategy.optimizer.state(), self.strategy.optimizer.owner),
            "updates": self.updates,
        }

    def shards(self) -> dict[str, Tensor]:
        """This rank's part of the weights, their average and the optimizer's state, for torch.distributed.checkpoint.

        The names are the chain's, so that any strategy reads what any other wrote: ``weights.NAME``, ``ema.NAME``
        and ``optimizer.NAME.FIELD``. A tensor of which ranks hold parts is a distributed tensor.
        """
        state = {f"weights.{name}": self.as_dtensor(name, local(p).detach()) for name, p in self.stored.items()}
        state |= {f"ema.{name}": self.as_dtensor(name, value) for name, value in self.ema.items()}
        for key, value in self.strategy.optimizer.state().items():
            name, _, field = key.rpartition("/")
            state[f"optimizer.{name}.{field}"] = self.as_dtensor(name, value) if value.ndim else value
        return state

    def empty_shards(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """Empty tensors for this rank's part of a checkpoint that holds tensors of these shapes."""
        empty: dict[str, Tensor] = {}
        stored = self.stored
        for key, shape in shapes.items():
            group, _, name = key.partition(".")
            name = name.rpartition(".")[0] if group == "optimizer" else name
            if name in stored and (group != "optimizer" or self.strategy.optimizer.holds(name)):
                part = torch.empty_like(local(stored[name]), memory_format=torch.contiguous_format)
                # a count of steps is a number, and stays on the CPU
                empty[key] = self.as_dtensor(name, part) if len(shape) or group == "weights" else torch.zeros(())
        return empty

    def load_shards(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Take this rank's part of a state, as ``empty_shards`` and a checkpoint gave it, after so many updates."""
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "ema": {}, "optimizer": {}}
        for key, value in state.items():
            group, _, name = key.partition(".")
            groups[group]["/".join(name.rsplit(".", 1)) if group == "optimizer" else name] = local(value)
        self._write(groups["weights"])
        for name, kept in self.ema.items():
            kept.copy_(groups["ema"].get(name, groups["weights"][name]))
        self.strategy.optimizer.load(groups["optimizer"])
        self.updates = updates

    def _gather(self, part: Mapping[str, Tensor], owner: Any = lambda name: 0) -> dict[str, Tensor]:
        """The whole of each tensor on the first rank; ``owner`` is the copy that gives it."""
        dims, context = self.strategy.dims, self.strategy.context
        own = {}
        for key, value in part.items():
            name = key.partition("/")[0]
            whole = self.unshard(name, value.detach()) if value.ndim else value
            if dims.data.rank == owner(name) and not dims.tensor.rank:
                own[key] = whole.to("cpu", copy=True)
        if context.size == 1:
            return own
        parts: list[Any] | None = [None] * context.size if context.first else None
        dist.gather_object(own, parts)
        return {name: value for part in parts or [] for name, value in part.items()}
