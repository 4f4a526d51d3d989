"""A strategy at work: a chain placed on ranks and stepped, composed as its descriptor says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from parallel_ser.models.batch import Activations, Inputs, each, example, fill, tensors
from parallel_ser.models.chain import Chain, stored
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.comm.dims import ParallelDims
from parallel_ser.parallel.compatibility import behaviours, shared_parameters, validate
from parallel_ser.parallel.engine.parallelize import local_inputs, parallelize
from parallel_ser.parallel.engine.pieces import Labels, MakeOptimizer
from parallel_ser.parallel.engine.stages import Stages
from parallel_ser.parallel.engine.state import ShardedState
from parallel_ser.parallel.settings import StrategySettings, layout
from parallel_ser.parallel.strategies.registry import strategies
from parallel_ser.parallel.tensor.placement import placements
from parallel_ser.parallel.tracing.stats import CommStats

Loss = Callable[[Any, Any], Tensor]
"""Outputs and targets to the loss of each utterance ``(batch,)``, or to their mean ``()``."""


class Strategy:
    """Trains a chain to the same weights as every other strategy.

    Call ``setup`` once, then the rest in any order, on every rank alike.

    Args:
        settings: which strategy, and its settings.
        clip_norm: the most that the norm of all gradients may be.
        ema: decay of a moving average of the weights; 0 for none.
        bf16: whether to compute in bfloat16.

    Attributes:
        stages: where blocks are computed.
        dims: the ranks by data, pipeline and tensor.
        modules: the stages of this rank.
        parameters: of this rank, by their names in the chain; of some it may hold a part, see ``placements``.
        buffers: stored beside them, such as running statistics.
        placements: how parameters lie over the ranks.
        state: weights, their moving average and the optimizer's state.
        stats: what was sent, and when.
        signature: names and shapes of all that is stored of the chain.
    """

    stages: Stages
    dims: ParallelDims
    state: ShardedState

    def __init__(self, settings: StrategySettings, clip_norm: float, ema: float = 0.0, bf16: bool = False) -> None:
        self.settings = settings
        self.clip_norm = clip_norm
        self.ema = ema
        self.bf16 = bf16
        self.stats = CommStats()
        self.count = 1

    def setup(
        self,
        chain: Chain,
        loss: Loss,
        optimizer: MakeOptimizer,
        context: ProcessContext,
        inputs: Inputs | tuple[int, ...],
        dims: ParallelDims | None = None,
    ) -> None:
        """Keep this rank's part of the chain.

        Args:
            chain: the whole, the same on every rank.
            loss: of outputs and targets.
            optimizer: makes the optimizer of the named parameters that this rank keeps.
            context: this rank among the others.
            inputs: typical ones, by which the work is divided, or the shape of images.
            dims: those of a strategy of the same mesh, whose groups and ``stats`` this one goes on with.

        Raises:
            UserError: a block cannot be split so, or would be trained to other weights than one process trains it.
        """
        self.context, self.loss = context, loss
        self.signature = chain.signature()
        self.dtype = next(chain.parameters()).dtype
        inputs = example(inputs, self.dtype)
        if dims:
            self.stats = dims.data.stats
        if context.device.type == "cuda":
            self.stats.synchronize = lambda: torch.cuda.current_stream().synchronize()
        self.pieces = pieces = strategies()[self.settings.name].compose(self.settings)
        tried = context.rank0_first(lambda: behaviours(chain, inputs), share=True)
        self.dims = dims or ParallelDims.make(context.device, layout(self.settings, context.size), self.stats)
        self.stages = Stages(
            chain, inputs, self.settings, context, self.dims.pipeline, self.bf16, pieces.every_edge_differentiable
        )
        validate(
            tried,
            ranks=context.size,
            pieces=self.settings.microbatches * self.dims.data.size * self.dims.tensor.size,
            zero_bubble=pieces.splits_backward,
            recomputes=self.settings.checkpointing != "none",
            shared=self._apart(shared_parameters(chain)),
        )
        local_inputs(inputs, self.settings, self.dims.tensor)  # refuses what cannot be split
        self.modules = parallelize(chain, self.settings, context, self.dims, self.stages, pieces, self.bf16)
        self.parameters = {name: p for module in self.modules for name, p in module.part.named_parameters()}
        own = {name: tensor for module in self.modules for name, tensor in stored(module.part).items()}
        self.buffers = {name: tensor for name, tensor in own.items() if name not in self.parameters}
        self.placements = {name: one for module in self.modules for name, one in placements(module.part).items()}
        self.gradients = pieces.gradients(self)
        self.gradients.wrap()
        self.passes = pieces.passes(self)
        self.optimizer = pieces.optimizer(self, optimizer)
        self.state = ShardedState(self)
        self.passes.ready()

    def _apart(self, shared: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Of parameters that two blocks share those that would not stay one."""
        descriptor, place = strategies()[self.settings.name], layout(self.settings, self.context.size)
        if self.dims.tensor.size > 1 or descriptor.shards(self.settings, place).weights > 1:
            return shared
        return self.stages.divided(shared)

    @property
    def reads_inputs(self) -> bool:
        """Whether this rank reads ``Inputs.x``; one that does not may be given a meta tensor of its shape."""
        return self.stages.first

    def mean_loss(self, outputs: Activations, labels: Labels) -> Tensor:
        """A micro-batch's share of the batch's mean loss."""
        targets, weight = labels
        real = int(weight.sum())
        if real < len(weight):
            outputs, targets = each(lambda y: y[:real], outputs), each(lambda y: y[:real], targets)
        if not real:  # the whole micro-batch fills up: it has a gradient, of zero
            return torch.stack([0.0 * y.sum() for y in tensors(outputs)]).sum()
        loss = self.loss(outputs, targets)
        total = loss * real if not loss.ndim else loss.sum()
        return total * (self.gradients.scale / self.count)

    def train_step(self, inputs: Inputs, targets: Activations) -> float:
        """One optimizer step on a batch of any size; returns the mean loss, the same on every rank.

        A batch that the micro-batches do not divide is filled up with rows that have no loss, under every strategy: so
        all compute micro-batches of the same shapes, and round alike.
        """
        with self.stats.span("step"):
            return self._train_step(inputs, targets)

    def _train_step(self, inputs: Inputs, targets: Activations) -> float:
        for module in self.modules:
            module.train()
        self.gradients.clear()
        self.count = len(inputs)
        data = self.dims.data
        whole = inputs.padded(self.settings.microbatches * data.size)
        missing = len(whole) - self.count
        mine = len(whole) // data.size
        own = slice(data.rank * mine, (data.rank + 1) * mine)
        wanted = each(lambda one: fill(one, missing, copy=False)[own].to(self.context.device), targets)
        weight = fill(torch.ones(self.count), missing, copy=False)[own]
        loss = self.passes.gradients(self._local(whole[own]), (wanted, weight))
        data.sum(loss)
        self.gradients.reduce()
        self.optimizer.step()
        self.state.updated()
        return float(loss)

    def predict(self, inputs: Inputs) -> Any:
        """The chain's outputs on every rank, in evaluation mode; a batch of any size."""
        for module in self.modules:
            module.eval()
        with self.pieces.without_gradients():
            outputs = self.stages.forward(self.modules, self._local(inputs))
        return each(lambda y: y.float().cpu() if y.is_floating_point() else y.cpu(), outputs)

    def _local(self, inputs: Inputs) -> Inputs:
        return local_inputs(inputs, self.settings, self.dims.tensor).to(self.context.device)

    def set_learning_rate(self, rate: float) -> None:
        """For the steps that follow; a group with a ``factor`` has so many times the rate."""
        for group in self.optimizer.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
