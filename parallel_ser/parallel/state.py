"""What a strategy keeps of a chain, by canonical names: weights, their moving average, the optimizer's state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parallel_ser.parallel.grid import Grid
from parallel_ser.parallel.processes import Mesh
from parallel_ser.parallel.split import WHOLE, Lay


def local(tensor: Any) -> Tensor:
    """This rank's values of a tensor that torch may have spread over ranks."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


class Kept:
    """This rank's part of a chain's state, of which it can give and take the whole.

    Attributes:
        parameters: of this rank, by their names in the chain; of some it may hold a part, see ``lays``.
        lays: how each lies over the ranks of the tensor axis.
        buffers: stored beside them, such as running statistics, by their names; each rank holds the whole of one.
        average: the moving average of the weights, where one is kept.
        optimizer: of the parameters.
        updates: steps that it has done.
    """

    mesh: Mesh
    grid: Grid
    parameters: dict[str, nn.Parameter]
    buffers: dict[str, Tensor]
    lays: dict[str, Lay]
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    updates: int

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the weights are their moving average, where one is kept."""
        own = {name: local(self.parameters[name]).detach().clone() for name in self.average}
        try:
            self._write(self.average)
            yield
        finally:
            self._write(own)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take this rank's part of the weights of a whole chain."""
        self._write({name: self.part_of(name, weights[name]) for name in self.stored})

    def _write(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                local(self.stored[name]).copy_(value)

    @property
    def stored(self) -> dict[str, Tensor]:
        """Parameters and buffers."""
        return {**self.parameters, **self.buffers}

    def part_of(self, name: str, whole: Tensor) -> Tensor:
        """This rank's part of a tensor of a parameter's whole shape."""
        dim = self.lays.get(name, WHOLE).dim
        return whole if dim is None else self.grid.tensor.slice(whole, dim)

    def whole_of(self, name: str, part: Tensor) -> Tensor:
        """The tensor of the whole shape, from the parts of this rank and its neighbours on the tensor axis."""
        dim = self.lays.get(name, WHOLE).dim
        return part if dim is None else self.grid.tensor.gather(part, dim)

    def weights(self) -> dict[str, Tensor]:
        """All weights of the chain on the first rank (nothing on the others), under their canonical names."""
        return self._gather({name: local(p).detach() for name, p in self.stored.items()})

    def full_state(self) -> dict[str, Any]:
        """Weights, moving average and optimizer state of the whole chain on the first rank, by parameter name."""
        return {
            "weights": self.weights(),
            "average": self._gather(self.average),
            "optimizer": self._gather(self.moments()),
            "updates": self.updates,
        }

    def state(self) -> dict[str, Tensor]:
        """This rank's part of the weights, their average and the optimizer's state, for torch.distributed.checkpoint.

        The names are the chain's, so that any strategy reads what any other wrote: ``weights.NAME``, ``average.NAME``
        and ``optimizer.NAME.FIELD``. A tensor of which ranks hold parts is a distributed tensor.
        """
        state = {f"weights.{name}": self.spread(name, local(p).detach()) for name, p in self.stored.items()}
        state |= {f"average.{name}": self.spread(name, value) for name, value in self.average.items()}
        for key, value in self.moments().items():
            name, _, field = key.rpartition("/")
            state[f"optimizer.{name}.{field}"] = self.spread(name, value) if value.ndim else value
        return state

    def room(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """Empty tensors for this rank's part of a checkpoint that holds tensors of these shapes."""
        empty: dict[str, Tensor] = {}
        for key, shape in shapes.items():
            group, _, name = key.partition(".")
            name = name.rpartition(".")[0] if group == "optimizer" else name
            if name in self.stored:
                part = torch.empty_like(local(self.stored[name]), memory_format=torch.contiguous_format)
                # a count of steps is a number, and stays on the CPU
                empty[key] = self.spread(name, part) if len(shape) or group == "weights" else torch.zeros(())
        return empty

    def load_state(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Take this rank's part of a state, as ``room`` and a checkpoint gave it, after so many updates."""
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "optimizer": {}}
        for key, value in state.items():
            group, _, name = key.partition(".")
            groups[group]["/".join(name.rsplit(".", 1)) if group == "optimizer" else name] = local(value)
        self._write(groups["weights"])
        for name, kept in self.average.items():
            kept.copy_(groups["average"].get(name, groups["weights"][name]))
        self.load_moments(groups["optimizer"])
        self.updates = updates

    def spread(self, name: str, part: Tensor) -> Tensor:
        """A dense tensor, distributed where other ranks hold other parts of it."""
        part = part.contiguous()
        dim = self.lays.get(name, WHOLE).dim
        if dim is None or self.grid.devices is None:
            return part
        from torch.distributed.tensor import DTensor, Shard  # half a second, for those who need it

        return DTensor.from_local(part, self.grid.devices["tensor"], [Shard(dim)], run_check=False)

    def moments(self) -> dict[str, Tensor]:
        """This rank's part of the optimizer's state, by ``parameter/field``."""
        return {
            f"{name}/{key}": local(value)
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state[parameter].items()
        }

    def load_moments(self, parts: Mapping[str, Tensor]) -> None:
        """Take this rank's part of the optimizer's state, by ``parameter/field``."""
        self.optimizer.state.clear()
        for key, part in parts.items():
            name, _, field = key.rpartition("/")
            self.optimizer.state[self.parameters[name]][field] = self.moment(name, part) if part.ndim else part.clone()

    def moment(self, name: str, part: Tensor) -> Tensor:
        """A tensor of the optimizer's state as the optimizer keeps it, from this rank's part."""
        return part.to(self.mesh.device, copy=True)

    def _gather(self, part: dict[str, Tensor]) -> dict[str, Tensor]:
        own = {}
        for key, value in part.items():
            name = key.partition("/")[0]
            whole = self.whole_of(name, value.detach()) if value.ndim else value
            if not self.grid.data.rank and not self.grid.tensor.rank:
                own[key] = whole.to("cpu", copy=True)
        if self.mesh.size == 1:
            return own
        parts: list[Any] | None = [None] * self.mesh.size if self.mesh.first else None
        dist.gather_object(own, parts)
        return {name: value for part in parts or [] for name, value in part.items()}
