"""What strategies share that put stages of consecutive blocks on ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from parallel_ser.models.chain import Chain
from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.messages import Posted
from parallel_ser.parallel.partition import block_costs, bounds, cut
from parallel_ser.parallel.profile import profile
from parallel_ser.parallel.settings import stage_ranks
from parallel_ser.parallel.strategy import Strategy


class Staged(Strategy):
    """Each rank holds one or more stages of the chain."""

    def place(self, chain: Chain, shape: tuple[int, ...]) -> list[Chain]:
        """The blocks of this rank's stages, cut by hand or by cost."""
        axis = self.grid.pipeline
        self.ranks = stage_ranks(self.settings, axis.size)
        cuts = self.settings.stages or cut(self.costs(chain, shape), self.ranks)
        self.bounds = bounds(cuts, self.blocks)
        self.own = [number for number, rank in enumerate(self.ranks) if rank == axis.rank]
        self.reads_inputs = 0 in self.own
        self.last = self.own[-1] == len(self.ranks) - 1
        self._whole = chain.skeleton()  # asked for the shapes between stages
        self._shapes: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        return [chain.part(*self.bounds[number]) for number in self.own]

    def divided(self, shared: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those whose blocks are on different ranks or in different stages."""
        names = [name for name, _ in self._whole.named_children()]
        stages = {name: number for number, (start, stop) in enumerate(self.bounds) for name in names[start:stop]}
        apart = [pair for pair in shared if len({stages[one.partition(".")[0]] for one in pair}) > 1]
        return list(dict.fromkeys([*apart, *super().divided(shared)]))

    def costs(self, chain: Chain, shape: tuple[int, ...]) -> list[float]:
        """What each block costs, the same on every rank: times are those that the first rank measured."""
        if self.settings.cut == "arithmetic" or len(self.ranks) == 1:
            return block_costs(chain, shape)
        if self.settings.cut == "parameters":
            return [float(sum(p.numel() for p in block.parameters())) for block in chain]

        def measured() -> list[float]:
            return [block.forward + block.backward for block in profile(chain, shape, self.bf16).blocks]

        return self.mesh.together(measured, share=True)

    def shapes(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """What enters each stage, and the logits, when the chain is given an input of ``shape``."""
        if shape not in self._shapes:
            every = self._whole.shapes(shape)
            self._shapes[shape] = [every[start] for start, _ in self.bounds] + [every[-1]]
        return self._shapes[shape]

    def passes(self, boundary: int) -> torch.dtype:
        """What passes before a stage, or behind the last: between stages bfloat16 where they compute in it."""
        return torch.bfloat16 if self.bf16 and 0 < boundary < len(self.ranks) else self.dtype

    def trains(self, boundary: int) -> bool:
        """Whether anything that is trained lies before a stage, so that its input has a gradient."""
        blocks = list(self._whole)[: self.bounds[boundary][0] if boundary < len(self.bounds) else self.blocks]
        return any(p.requires_grad for block in blocks for p in block.parameters())

    def leaves(self, place: int) -> torch.dtype:
        """See ``Strategy``."""
        return self.passes(self.own[place] + 1)

    def entering(self, inputs: Inputs, number: int | None = None) -> Tensor:
        """Room for what enters a stage, by default this rank's only one."""
        number = self.own[0] if number is None else number
        shape = self.shapes(tuple(inputs.x.shape))[number]
        return torch.empty(shape, dtype=self.passes(number), device=self.mesh.device)

    def logits(self, inputs: Inputs) -> Tensor:
        """See the contract. A forward pass of our own: torch's ``eval`` disturbs training and wants even batches."""
        axis = self.grid.pipeline
        parts = list(inputs.split(self.settings.microbatches))
        sends: list[tuple[Posted, Tensor]] = []  # a tensor is kept until it is sent
        kept: list[Tensor] = []
        for module, number in zip(self.modules, self.own):
            before, after = self.ranks[number - 1], self.ranks[(number + 1) % len(self.ranks)]
            outputs = []
            for place, part in enumerate(parts):
                if not number:
                    x = part.x
                elif before == axis.rank:
                    x = kept[place]
                else:
                    x = axis.receive(self.entering(part, number), before)
                y = module(x, part.valid, part.seed)
                outputs.append(y)
                if number + 1 < len(self.ranks) and after != axis.rank:
                    sends.append((axis.send(y, after), y))
            kept = outputs
        for work, _ in sends:
            work.wait()
        if not self.last:
            classes = self.shapes(tuple(inputs.x.shape))[-1][1]
            kept = [torch.empty(len(inputs), classes, dtype=self.dtype, device=self.mesh.device)]
        return axis.broadcast(torch.cat(kept), self.ranks[-1])
