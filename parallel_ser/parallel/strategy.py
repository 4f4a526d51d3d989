"""The contract of a strategy, and what all strategies share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parallel_ser.errors import UserError
from parallel_ser.models.chain import Block, Chain, stored
from parallel_ser.parallel import split_channel, split_time
from parallel_ser.parallel.batch import Inputs, fill
from parallel_ser.parallel.compatibility import behaviours, shared_parameters, validate
from parallel_ser.parallel.grid import Axis, Grid
from parallel_ser.parallel.meter import Meter
from parallel_ser.parallel.placed import Placed
from parallel_ser.parallel.processes import Mesh
from parallel_ser.parallel.settings import StrategySettings, layout
from parallel_ser.parallel.split import lays, split
from parallel_ser.parallel.state import Kept, local

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits ``(batch, classes)`` and targets ``(batch, classes)`` to the loss of each utterance ``(batch,)``.

An utterance whose targets are all zero has no loss and no gradient: so a batch is filled up to an even size.
"""
MakeOptimizer = Callable[[dict[str, nn.Parameter]], torch.optim.Optimizer]

TIME_STRIDE = 8
"""A time split gives each rank a multiple of so many frames, which the strides of the models divide."""


BUCKET = 32 * 2**20
"""Bytes of gradients that are summed in one message."""


class Strategy(Kept, ABC):
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
            UserError: a block cannot be split so, or would be trained to other weights than one process trains it.
        """
        self.mesh = mesh
        self.loss = loss
        self.blocks = len(chain)
        self.signature = chain.signature()
        self.dtype = next(chain.parameters()).dtype
        self.behaviours = mesh.together(lambda: behaviours(chain, shape), share=True)
        if mesh.device.type == "cuda":
            self.meter.settle = lambda: torch.cuda.current_stream().synchronize()
        self.grid = Grid.make(mesh.device, layout(self.settings, mesh.size), self.meter)
        parts = self.place(chain, shape)
        validate(
            self.behaviours,
            ranks=mesh.size,
            pieces=self.settings.microbatches * self.grid.data.size * self.grid.tensor.size,
            zero_bubble=self.splits_backward,
            recomputes=self.settings.checkpointing != "none",
            shared=self.divided(shared_parameters(chain)),
        )
        kept = self.settings.checkpointing
        self.modules = [
            Placed(self.split(part), mesh.device, self.bf16, kept, self.leaves(place), self.dtype)
            for place, part in enumerate(parts)
        ]
        self.parameters = {name: p for module in self.modules for name, p in module.part.named_parameters()}
        self.buffers = {
            name: tensor
            for module in self.modules
            for name, tensor in stored(module.part).items()
            if name not in self.parameters
        }
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

    without_gradients: Callable[[], AbstractContextManager[Any]] = torch.inference_mode
    """The context in which ``predict`` computes."""
    splits_backward = False
    """Whether backward passes are computed in two halves."""

    def divided(self, shared: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Of parameters that two blocks share those that would not stay one."""
        return shared if self.grid.tensor.size > 1 else []

    def leaves(self, place: int) -> torch.dtype | None:
        """What this rank's stage at ``place`` sends its output as; None as it was computed."""
        return None

    def wrap(self) -> None:
        """Make the modules ready; may put other ``parameters`` in place of the same."""
        for module in self.modules:
            module.to(memory_format=torch.channels_last)

    def ready(self) -> None:
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
        self.clear()
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
        with self.without_gradients():
            return self.logits(self.local(inputs)).float().cpu()

    def local(self, inputs: Inputs) -> Inputs:
        """What this rank of the tensor axis computes with: all of it, or its frames."""
        axis = self.grid.tensor
        if axis.size > 1 and self.settings.axis == "time":
            inputs = inputs.widened(TIME_STRIDE * axis.size)
            inputs = Inputs(axis.slice(inputs.x, -1), split_time.local_shares(inputs.valid, axis), inputs.seed)
        return inputs.to(self.mesh.device)

    def clear(self) -> None:
        """Forget the gradients of the step before."""
        self.optimizer.zero_grad(set_to_none=True)

    def reduce(self) -> None:
        """Complete the gradients: of a time split over the slices, and over the copies of the model."""
        self._sum_together([name for name, lay in self.lays.items() if lay.partial], self.grid.tensor)
        self._sum_together(list(self.parameters), self.grid.data)

    def _sum_together(self, names: list[str], axis: Axis) -> None:
        """Sum gradients over an axis, many in one message; a bucket's copy is all the memory that it takes."""
        grads = [p.grad for name in names if (p := self.parameters[name]).grad is not None]
        while axis.size > 1 and grads:
            sizes = accumulate(grad.numel() * grad.element_size() for grad in grads)
            count = max(1, sum(size <= BUCKET for size in sizes))
            bucket, grads = grads[:count], grads[count:]
            flat = axis.sum(torch.cat([grad.flatten() for grad in bucket]))
            for grad, piece in zip(bucket, flat.split([grad.numel() for grad in bucket])):
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
