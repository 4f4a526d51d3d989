"""The contract of a strategy, and what all strategies share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from parallel_ser.errors import UserError
from parallel_ser.models.chain import Block, Chain
from parallel_ser.parallel import split_channel, split_time
from parallel_ser.parallel.batch import Inputs, fill
from parallel_ser.parallel.grid import Grid
from parallel_ser.parallel.meter import Meter
from parallel_ser.parallel.processes import Mesh
from parallel_ser.parallel.settings import StrategySettings, layout
from parallel_ser.parallel.split import WHOLE, Lay, lays, split

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits ``(batch, classes)`` and targets ``(batch, classes)`` to the loss of each utterance ``(batch,)``.

An utterance whose targets are all zero has no loss and no gradient: so a batch is filled up to an even size.
"""
MakeOptimizer = Callable[[dict[str, nn.Parameter]], torch.optim.Optimizer]

TIME_STRIDE = 8
"""A time split gives each rank a multiple of so many frames, which the strides of the models divide."""


class Placed(nn.Module):
    """The part of a chain that one rank computes, in one precision, memory format and way of keeping activations.

    Inside, images are channels-last, which made a step of the small CNN half as fast again on a CPU with AVX-512; what
    passes between ranks is float32 (float64 in a model of that) and contiguous, as torch's pipeline wants it.
    """

    def __init__(self, part: Chain, device: torch.device, bf16: bool, checkpointing: str = "none") -> None:
        super().__init__()
        self.part = part.to(device)
        self.device = device
        self.bf16 = bf16
        self.checkpointing = checkpointing

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """As the chain's."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            if x.ndim == 4:
                x = _ChannelsLast.apply(x)
            again = self.checkpointing if self.training and torch.is_grad_enabled() else "none"
            if again == "none":
                return self.part(x, valid, seed).contiguous()
            for piece in self.part if again == "block" else (self.part,):
                # blocks draw their random numbers from the seeds, so no generator's state must be kept
                x = checkpoint(piece, x, valid, seed, use_reentrant=False, preserve_rng_state=False)
            return x.contiguous()


class _ChannelsLast(torch.autograd.Function):
    """Another memory format inside, whose gradient goes out as the input came: gloo sends contiguous tensors only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


class Strategy(ABC):
    """Places a chain on ranks and steps it; every strategy trains the same chain to the same weights.

    Call ``setup`` once, then the rest in any order, on every rank alike.

    Attributes:
        reads_inputs: whether this rank reads ``Inputs.x``; one that does not may be given a meta tensor of its shape.
        grid: the ranks by data, pipeline and tensor.
        modules: the stages of this rank.
        parameters: of this rank, by their names in the chain; of some it may hold a part, see ``lays``.
        meter: what was sent, and when.
        signature: names and shapes of all of the chain's parameters.
    """

    reads_inputs: bool

    def __init__(self, settings: StrategySettings, clip_norm: float, ema: float = 0.0, bf16: bool = False) -> None:
        self.settings = settings
        self.clip_norm = clip_norm
        self.ema = ema
        self.bf16 = bf16
        self.meter = Meter()

    def setup(self, chain: Chain, loss: Loss, optimizer: MakeOptimizer, mesh: Mesh, shape: tuple[int, ...]) -> None:
        """Keep this rank's part of the chain.

        Args:
            chain: the whole, the same on every rank.
            loss: of each utterance.
            optimizer: makes the optimizer of the named parameters that this rank keeps.
            mesh: the ranks.
            shape: of a typical input, by which the work is divided.

        Raises:
            UserError: a block cannot be split so.
        """
        self.mesh = mesh
        self.loss = loss
        self.blocks = len(chain)
        self.signature = chain.signature()
        self.dtype = next(chain.parameters()).dtype
        if mesh.device.type == "cuda":
            self.meter.settle = lambda: torch.cuda.current_stream().synchronize()
        self.grid = Grid.make(mesh.device, layout(self.settings, mesh.size), self.meter)
        self.modules = [
            Placed(self.split(part), mesh.device, self.bf16, self.settings.checkpointing)
            for part in self.place(chain, shape)
        ]
        self.parameters = {name: p for module in self.modules for name, p in module.part.named_parameters()}
        self.lays = {name: lay for module in self.modules for name, lay in lays(module.part).items()}
        self.wrap()
        self.optimizer = optimizer(self.parameters)
        self.average = {name: local(p).detach().clone() for name, p in self.parameters.items()} if self.ema else {}
        self.updates = 0
        self.count = 1
        self.ready()

    @abstractmethod
    def place(self, chain: Chain, shape: tuple[int, ...]) -> list[Chain]:
        """The stages that this rank of the pipeline axis holds; sets ``reads_inputs``."""

    def wrap(self) -> None:
        """Make the modules ready; may put other ``parameters`` in place of the same."""
        for module in self.modules:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def ready(self) -> None:  # noqa: B027 most strategies are
        """Do what needs the optimizer."""

    @abstractmethod
    def gradients(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """Add to ``.grad`` this rank's gradients of the batch's loss; return that loss ``()``, alike in a copy.

        ``inputs`` is this copy's share of the batch, which the micro-batches divide.
        """

    @abstractmethod
    def logits(self, inputs: Inputs) -> Tensor:
        """Logits ``(batch, classes)`` on every rank, without gradients."""

    def split(self, part: Chain) -> Chain:
        """A stage as this rank of the tensor axis holds it."""
        axis = self.grid.tensor
        if axis.size == 1:
            return part
        rules = split_channel if self.settings.axis == "channel" else split_time

        def unknown(block: Block, axis: Any) -> Block:
            if not self.settings.replicate_unsplittable:
                raise UserError(
                    f"nobody has taught {type(block).__name__} to split over {self.settings.axis}: use another "
                    f"strategy, or strategy.replicate_unsplittable=true to compute it whole on each rank."
                )
            return rules.whole(block, axis)

        return split(part, rules.RULES, axis, unknown)

    def mean_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A micro-batch's share of the batch's mean loss."""
        return self.loss(logits, targets).sum() / self.count

    def train_step(self, inputs: Inputs, targets: Tensor) -> float:
        """One optimizer step on a batch of any size; returns the mean loss, the same on every rank.

        A batch that the micro-batches do not divide is filled up with utterances that have no loss, under every
        strategy: so all compute micro-batches of the same shapes, and round alike.
        """
        with self.meter.span("step"):
            return self._train_step(inputs, targets)

    def _train_step(self, inputs: Inputs, targets: Tensor) -> float:
        for module in self.modules:
            module.train()
        self.optimizer.zero_grad(set_to_none=True)
        self.count = len(inputs)
        data = self.grid.data
        whole = inputs.padded(self.settings.microbatches * data.size)
        targets = fill(targets, len(whole) - self.count, copy=False)
        mine = len(whole) // data.size
        own = slice(data.rank * mine, (data.rank + 1) * mine)
        loss = self.gradients(self.local(whole[own]), targets[own].to(self.mesh.device))
        data.sum(loss)
        self.reduce()
        self.update()
        self.updates += 1
        if self.ema:
            # early on the decay is smaller, so that the random start is forgotten
            decay = min(self.ema, self.updates / (self.updates + 10))
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    self.average[name].lerp_(local(parameter), 1.0 - decay)
        return float(loss)

    def predict(self, inputs: Inputs) -> Tensor:
        """Logits ``(batch, classes)`` on every rank, in evaluation mode; a batch of any size."""
        for module in self.modules:
            module.eval()
        with torch.no_grad():
            return self.logits(self.local(inputs)).float().cpu()

    def local(self, inputs: Inputs) -> Inputs:
        """What this rank of the tensor axis computes with: all of it, or its frames."""
        axis = self.grid.tensor
        if axis.size > 1 and self.settings.axis == "time":
            inputs = inputs.widened(TIME_STRIDE * axis.size)
            inputs = Inputs(axis.slice(inputs.x, -1), split_time.local_shares(inputs.valid, axis), inputs.seed)
        return inputs.to(self.mesh.device)

    def reduce(self) -> None:
        """Complete the gradients: of a time split over the slices, and over the copies of the model."""
        self._sum_together([name for name, lay in self.lays.items() if lay.partial], self.grid.tensor)
        self._sum_together(list(self.parameters), self.grid.data)

    def _sum_together(self, names: list[str], axis: Any) -> None:
        """Sum gradients over an axis, all of them in one message."""
        grads = [p.grad for name in names if (p := self.parameters[name]).grad is not None]
        if axis.size == 1 or not grads:
            return
        flat = axis.sum(torch.cat([grad.flatten() for grad in grads]))
        for grad, piece in zip(grads, flat.split([grad.numel() for grad in grads])):
            grad.copy_(piece.view(grad.shape))

    def copies(self, name: str) -> int:
        """How many ranks hold the same values of a parameter."""
        return self.grid.data.size * (self.grid.tensor.size if self.lays[name].dim is None else 1)

    def clip(self) -> None:
        """Scale the gradients so that their norm over the whole chain is at most ``clip_norm``."""
        square = torch.zeros((), dtype=torch.float64, device=self.mesh.device)
        grads = {name: local(p.grad) for name, p in self.parameters.items() if p.grad is not None}
        for name, grad in grads.items():
            square += torch.linalg.vector_norm(grad).double().square() / self.copies(name)
        if self.mesh.size > 1:
            with self.meter.span("all-reduce", square, messages=self.meter.message(range(self.mesh.size))):
                dist.all_reduce(square)
        scale = (self.clip_norm / (square.sqrt() + 1e-6)).clamp(max=1.0)
        for grad in grads.values():
            grad.mul_(scale.to(grad.dtype))

    def update(self) -> None:
        """Clip the gradients and step the optimizer."""
        self.clip()
        with self.meter.span("optimizer"):
            self.optimizer.step()

    def set_learning_rate(self, rate: float) -> None:
        """For the steps that follow; a group with a ``factor`` has so many times the rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)

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
        self._write({name: self.part_of(name, weights[name]) for name in self.parameters})

    def _write(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                local(self.parameters[name]).copy_(value)

    def part_of(self, name: str, whole: Tensor) -> Tensor:
        """This rank's part of a tensor of a parameter's whole shape."""
        dim = self.lays[name].dim
        return whole if dim is None else self.grid.tensor.slice(whole, dim)

    def whole_of(self, name: str, part: Tensor) -> Tensor:
        """The tensor of the whole shape, from the parts of this rank and its neighbours on the tensor axis."""
        dim = self.lays[name].dim
        return part if dim is None else self.grid.tensor.gather(part, dim)

    def weights(self) -> dict[str, Tensor]:
        """All weights of the chain on the first rank (nothing on the others), under their canonical names."""
        return self._gather({name: local(p).detach() for name, p in self.parameters.items()})

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
        state = {f"weights.{name}": self.spread(name, local(p).detach()) for name, p in self.parameters.items()}
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
            if name in self.parameters:
                part = torch.empty_like(local(self.parameters[name]), memory_format=torch.contiguous_format)
                # a count of steps is a number, and stays on the CPU
                empty[key] = self.spread(name, part) if len(shape) else torch.zeros((), dtype=torch.float32)
        return empty

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take this rank's part of a state, as ``room`` and a checkpoint gave it."""
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "optimizer": {}}
        for key, value in state.items():
            group, _, name = key.partition(".")
            groups[group]["/".join(name.rsplit(".", 1)) if group == "optimizer" else name] = local(value)
        self._write(groups["weights"])
        for name, kept in self.average.items():
            kept.copy_(groups["average"].get(name, groups["weights"][name]))
        self.load_moments(groups["optimizer"])

    def spread(self, name: str, part: Tensor) -> Tensor:
        """A dense tensor, distributed where other ranks hold other parts of it."""
        part = part.contiguous()
        dim = self.lays[name].dim
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


def local(tensor: Any) -> Tensor:
    """This rank's values of a tensor that torch may have spread over ranks."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


__all__ = ["WHOLE", "Lay", "Loss", "MakeOptimizer", "Placed", "Strategy", "local"]
