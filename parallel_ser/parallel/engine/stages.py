"""The stages of a chain over the ranks of a pipeline; without one, a single stage."""

from __future__ import annotations

import torch
from torch import Tensor

from parallel_ser.errors import UserError
from parallel_ser.models.batch import Activations, Inputs, each, joined, tensors
from parallel_ser.models.chain import Chain
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.comm.dims import Axis
from parallel_ser.parallel.comm.messages import TimedWork
from parallel_ser.parallel.cost.block_profile import BlockProfile, profile
from parallel_ser.parallel.cost.partition import block_costs, partition, stage_slices
from parallel_ser.parallel.engine.stage_module import StageModule
from parallel_ser.parallel.settings import StrategySettings, stage_ranks


class Stages:
    """Where each block is computed, and what passes between.

    A *boundary* is a place between stages, by the stage behind it: 0 is before the first, and the number of stages is
    behind the last.

    Attributes:
        ranks: of the pipeline, by stage.
        cuts: the block that opens each stage but the first.
        slices: first block and one past the last block, by stage.
        profiles: of the blocks, where they may move between stages; else none.
        own: stages of this rank.
        first: whether this rank has the first stage, and so reads ``Inputs.x``.
        last: whether it has the last one.
    """

    def __init__(
        self,
        chain: Chain,
        inputs: Inputs,
        settings: StrategySettings,
        context: ProcessContext,
        axis: Axis,
        bf16: bool,
        every_edge_differentiable: bool = False,
    ) -> None:
        self.axis, self.bf16, self.parts = axis, bf16, settings.microbatches
        self.device, self.dtype = context.device, next(chain.parameters()).dtype
        self.ranks = stage_ranks(settings, axis.size)
        self.profiles: tuple[BlockProfile, ...] = ()
        if settings.rebalance and len(self.ranks) > 1:
            self.profiles = _profiles(chain, inputs, context, bf16)
        self.cuts = settings.stages or partition(
            _costs(chain, inputs, settings, context, len(self.ranks), bf16), self.ranks
        )
        self.slices = stage_slices(self.cuts, len(chain))
        self.own = [number for number, rank in enumerate(self.ranks) if rank == axis.rank]
        self.first = 0 in self.own
        self.last = len(self.ranks) - 1 in self.own
        self.blocks = [name for name, _ in chain.named_children()]
        self._every_edge = every_edge_differentiable
        self._whole = chain.skeleton()
        self._edges: dict[object, list[Activations]] = {}
        self.tuples = [isinstance(inputs.x, tuple)]  # whether a tuple enters a stage, by stage
        if len(self.ranks) == 1:
            return
        self.tuples = [isinstance(edge, tuple) for edge in self.edges(inputs)[:-1]]
        for boundary, edge in list(enumerate(self.edges(inputs)))[1:-1]:
            for tensor in tensors(edge):
                if not tensor.is_floating_point():
                    raise UserError(
                        f"block {self.blocks[self.slices[boundary][0] - 1]} gives a tensor of {tensor.dtype}, and only "
                        f"floating ones pass between stages: give it beside the activations (Inputs.extras), or cut "
                        f"the chain elsewhere (strategy.stages)."
                    )

    def parts_of(self, chain: Chain) -> list[Chain]:
        """The stages of this rank."""
        return [chain.part(*self.slices[number]) for number in self.own]

    def edges(self, inputs: Inputs) -> list[Activations]:
        """What passes each boundary for such inputs, on the meta device."""
        if inputs.key not in self._edges:
            every = self._whole.edges(inputs)
            at = [every[start] for start, _ in self.slices] + [every[-1]]

            def passing(boundary: int, edge: Activations) -> Activations:
                """Between stages bfloat16 where they compute in it."""
                between = self.bf16 and 0 < boundary < len(self.ranks)
                grads = self.trains(boundary)

                def one(tensor: Tensor) -> Tensor:
                    floats = tensor.is_floating_point()
                    dtype = torch.bfloat16 if between and floats else tensor.dtype
                    # contiguous, as stages give it: a block may give a view
                    return torch.empty(tensor.shape, dtype=dtype, device="meta", requires_grad=floats and grads)

                return each(one, edge)

            self._edges[inputs.key] = [passing(boundary, edge) for boundary, edge in enumerate(at)]
        return self._edges[inputs.key]

    def trains(self, boundary: int) -> bool:
        """Whether what passes a boundary has a gradient: something before it is trained, or every edge has one."""
        if self._every_edge:
            return boundary > 0
        before = list(self._whole)[: self.slices[boundary][0] if boundary < len(self.slices) else len(self._whole)]
        return any(p.requires_grad for block in before for p in block.parameters())

    def output_dtype(self, number: int) -> torch.dtype:
        """Of the floating tensors that a stage gives."""
        return torch.bfloat16 if self.bf16 and number + 1 < len(self.ranks) else self.dtype

    def divided(self, shared: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Of parameters that two blocks share those whose blocks are in different stages."""
        stage = {name: number for number, (a, b) in enumerate(self.slices) for name in self.blocks[a:b]}
        return [pair for pair in shared if len({stage[one.partition(".")[0]] for one in pair}) > 1]

    def receive(self, inputs: Inputs, number: int) -> tuple[Tensor, ...]:
        """What enters a stage for a micro-batch, from the rank of the stage before it."""
        edge = tensors(self.edges(inputs)[number])
        empty = (torch.empty_like(tensor, device=self.device, requires_grad=False) for tensor in edge)
        return tuple(self.axis.receive(tensor, self.ranks[number - 1]) for tensor in empty)

    def send(self, x: tuple[Tensor, ...], number: int) -> list[TimedWork]:
        """Begin to send tensors to the rank of a stage."""
        return [self.axis.send(tensor, self.ranks[number]) for tensor in x]

    def forward(self, modules: list[StageModule], inputs: Inputs) -> Activations:
        """The chain's output on every rank; a batch of any size.

        A forward pass of our own: torch's ``eval`` disturbs training and wants even batches.
        """
        parts = list(inputs.split(self.parts)) if len(self.ranks) > 1 else [inputs]
        sends: list[tuple[TimedWork, Tensor]] = []  # a tensor is kept until it is sent
        kept: list[Activations] = []
        for module, number in zip(modules, self.own, strict=True):
            outputs = []
            for place, part in enumerate(parts):
                if not number:
                    x = tensors(part.x)
                elif self.ranks[number - 1] == self.axis.rank:
                    x = tensors(kept[place])
                else:
                    x = self.receive(part, number)
                y = module(*x, **part.beside)
                outputs.append(y)
                if number + 1 < len(self.ranks) and self.ranks[number + 1] != self.axis.rank:
                    sends += zip(self.send(tensors(y), number + 1), tensors(y), strict=True)
            kept = outputs
        for work, _ in sends:
            work.wait()
        if self.last:
            whole = joined(kept)
        else:
            edge = self.edges(inputs)[-1]
            whole = each(lambda tensor: torch.empty_like(tensor, device=self.device, requires_grad=False), edge)
        return each(lambda tensor: self.axis.broadcast(tensor, self.ranks[-1]), whole)


def _costs(
    chain: Chain, inputs: Inputs, settings: StrategySettings, context: ProcessContext, stages: int, bf16: bool
) -> list[float]:
    """What each block costs, the same on every rank: times are those that the first rank measured."""
    if stages == 1:
        return [1.0] * len(chain)
    if settings.cut == "arithmetic":
        return block_costs(chain, inputs)
    if settings.cut == "parameters":
        return [float(sum(p.numel() for p in block.parameters())) for block in chain]
    return [block.forward + block.backward for block in _profiles(chain, inputs, context, bf16)]


def _profiles(chain: Chain, inputs: Inputs, context: ProcessContext, bf16: bool) -> tuple[BlockProfile, ...]:
    """What the first rank measured of each block, now or before, the same on every rank."""
    return context.rank0_first(lambda: profile(chain, inputs, bf16).blocks, share=True)
