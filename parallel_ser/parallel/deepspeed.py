"""Stages on ranks under DeepSpeed's pipeline engine: its 1F1B with blocking sends, and its DualPipeV.

The engine is given our stages, one layer each, so that the cut is ours and not its count of weights. Lengths and seeds
do not travel with the activations: each stage sees the micro-batches in order, and takes them from its own list.

Without ZeRO the engine runs the schedule alone; clipping and the optimizer's step are those of all strategies. With
ZeRO 1 it reduces, clips and steps, for each rank then has a part of the optimizer's state; of its sending then the
gradients' reduction is timed, none is counted, and gathering the weights again is part of the optimizer's time.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.internals import deepspeed as internals
from parallel_ser.parallel.placed import Placed
from parallel_ser.parallel.stages import Staged


class StageLayer(nn.Module):
    """A stage as a layer of DeepSpeed's: one tensor to one; the rest of each micro-batch waits in line."""

    def __init__(self, placed: Placed) -> None:
        super().__init__()
        self.placed = placed
        self.line: deque[Inputs] = deque()

    def forward(self, x: Tensor) -> Tensor:
        """The next micro-batch's activations."""
        one = self.line.popleft()
        y: Tensor = self.placed(x, one.valid, one.seed)
        return y


class DeepSpeed(Staged):
    """``PipelineModule`` under ``strategy.schedule=1f1b``, ``DualPipeVModule`` under ``dualpipev``."""

    def wrap(self) -> None:
        """Nothing yet: the engine is made with the optimizer, and wants weights of the plain memory format."""
        for module in self.modules:
            module.differentiable = True
        self.layers = [StageLayer(module) for module in self.modules]

    def ready(self) -> None:
        """Make the engine around the stages and the optimizer."""
        if self.mesh.device.type == "cpu":
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        with redirect_stdout(StringIO()):  # it prints its topology and settings
            import deepspeed
            from deepspeed.pipe import DualPipeVModule, PipelineModule
            from deepspeed.runtime.pipe import schedule
            from deepspeed.runtime.pipe.topology import ProcessTopology

            internals.without_compiling()
            deepspeed.init_distributed(dist.get_backend(), verbose=False)
            data, pipeline = self.grid.data.size, self.grid.pipeline.size
            places: list[nn.Module] = [nn.Identity() for _ in self.ranks]
            for number, layer in zip(self.own, self.layers):
                places[number] = layer
            kind = DualPipeVModule if self.settings.schedule == "dualpipev" else PipelineModule
            net = kind(
                layers=places,
                topology=ProcessTopology(["data", "pipe"], [data, pipeline]),
                loss_fn=lambda logits, targets: self.mean_loss(logits, targets) * self.scale,
                partition_method="uniform",
            )
            parts = self.settings.microbatches
            self.engine, *_ = deepspeed.initialize(
                model=net,
                optimizer=self.optimizer,
                config={
                    "train_batch_size": parts * data,
                    "train_micro_batch_size_per_gpu": 1,
                    "gradient_accumulation_steps": parts,
                    "gradient_clipping": self.clip_norm if self.settings.zero else 0.0,
                    "zero_optimization": {"stage": self.settings.zero},
                    "zero_allow_untested_optimizer": True,
                    "steps_per_print": None,
                },
            )
        self.shape: tuple[int, ...] = ()
        if self.settings.zero:
            self.zero: Any = self.engine.optimizer
            self.optimizer = self.zero
            self.zero.scaled_global_norm = self._norm
        else:
            super().wrap()
            internals.schedule_alone(self.engine, schedule)
        internals.measure(self.engine, schedule, self.meter, self.grid)

    @property
    def scale(self) -> int:
        """DeepSpeed means over micro-batches, and under ZeRO over copies, where our loss is a sum."""
        return self.settings.microbatches * (self.grid.data.size if self.settings.zero else 1)

    def gradients(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """See the contract."""
        parts = list(inputs.split(self.settings.microbatches))
        shape = tuple(parts[0].x.shape)
        if shape != self.shape:
            self.engine.reset_activation_shape()
            self.shape = shape
        for layer in self.layers:
            layer.line.extend(parts)
        self.engine.train_batch(zip((part.x for part in parts), targets.chunk(len(parts))))
        total = torch.zeros((), dtype=self.dtype, device=self.mesh.device)
        if self.last:
            total = self.engine.total_loss.detach().clone() / self.scale
        return self.grid.pipeline.broadcast(total, self.ranks[-1])

    def reduce(self) -> None:
        """Under ZeRO the engine has done it."""
        if not self.settings.zero:
            super().reduce()

    def update(self) -> None:
        """Under ZeRO the engine has done it."""
        if not self.settings.zero:
            super().update()

    def _write(self, weights: Mapping[str, Tensor]) -> None:
        super()._write(weights)
        if self.settings.zero:
            self.zero.refresh_fp32_params()

    def moments(self) -> dict[str, Tensor]:
        """Under ZeRO put together from the copies' parts."""
        if not self.settings.zero:
            return super().moments()
        from deepspeed.utils import safe_get_full_optimizer_state

        internals.link_state(self.zero)
        steps = internals.step_counts(self.zero)[0]
        return {
            f"{name}/{field}": steps.clone() if field == "step" else safe_get_full_optimizer_state(parameter, field)
            for name, parameter in self.parameters.items()
            for field in ("step", "exp_avg", "exp_avg_sq")
        }

    def load_moments(self, parts: Mapping[str, Tensor]) -> None:
        """Under ZeRO each copy keeps its part."""
        if not self.settings.zero:
            return super().load_moments(parts)
        from deepspeed.utils import safe_set_full_optimizer_state

        internals.make_state(self.zero)
        internals.link_state(self.zero)
        for key, value in parts.items():
            name, _, field = key.rpartition("/")
            if field == "step":
                for steps in internals.step_counts(self.zero):
                    steps.copy_(value)
            else:
                safe_set_full_optimizer_state(self.parameters[name], value.to(self.mesh.device), field)
        return None

    def _norm(self, norm_type: int = 2) -> Tensor:
        """The norm over all ranks' parts, in one sum.

        The engine's own sums each group of parameters by itself, and waits for ever where stages have unlike groups.
        """
        square = internals.squared_norm(self.zero)
        with self.meter.span("all-reduce", square, messages=self.meter.message(range(self.mesh.size))):
            dist.all_reduce(square)
        return square.sqrt().float()
