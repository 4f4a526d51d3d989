"""Stages under DeepSpeed's pipeline engine.

The engine is given our stages, one layer each, so that the cut is ours and not its count of weights. What goes beside
the activations does not travel with them: each stage sees the micro-batches in order, and takes it from its own list.

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
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parallel_ser.models.batch import Activations, Inputs, tensors
from parallel_ser.parallel.engine.gradients import SummedGradients
from parallel_ser.parallel.engine.one_by_one import split_labels
from parallel_ser.parallel.engine.optimizer import OptimizerStep
from parallel_ser.parallel.engine.stage_module import StageModule
from parallel_ser.parallel.internals import deepspeed as internals

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.pieces import Labels
    from parallel_ser.parallel.engine.strategy import Strategy


class StageLayer(nn.Module):
    """A stage as a layer of DeepSpeed's; the rest of each micro-batch waits in line."""

    def __init__(self, module: StageModule) -> None:
        super().__init__()
        self.module = module
        self.line: deque[Inputs] = deque()

    def forward(self, x: Activations) -> Activations:
        """The next micro-batch's activations."""
        y: Activations = self.module(*tensors(x), **self.line.popleft().beside)
        return y


class DeepSpeedPasses:
    """``PipelineModule`` under ``strategy.schedule=1f1b``, ``DualPipeVModule`` under ``dualpipev``."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.layers = [StageLayer(module) for module in strategy.modules]
        self.key: object = None

    def ready(self) -> None:
        """Make the engine around the stages and the optimizer."""
        strategy = self.strategy
        if strategy.context.device.type == "cpu":
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        with redirect_stdout(StringIO()):  # it prints its topology and settings
            import deepspeed
            from deepspeed.pipe import DualPipeVModule, PipelineModule
            from deepspeed.runtime.pipe import schedule
            from deepspeed.runtime.pipe.topology import ProcessTopology

            internals.without_compiling()
            deepspeed.init_distributed(dist.get_backend(), verbose=False)
            settings, stages, dims = strategy.settings, strategy.stages, strategy.dims
            places: list[nn.Module] = [nn.Identity() for _ in stages.ranks]
            for number, layer in zip(stages.own, self.layers, strict=True):
                places[number] = layer
            kind = DualPipeVModule if settings.schedule == "dualpipev" else PipelineModule
            net = kind(
                layers=places,
                topology=ProcessTopology(["data", "pipe"], [dims.data.size, dims.pipeline.size]),
                loss_fn=lambda outputs, labels: strategy.mean_loss(outputs, _pair(labels)) * self.scale,
                partition_method="uniform",
            )
            parts = settings.microbatches
            self.engine, *_ = deepspeed.initialize(
                model=net,
                optimizer=strategy.optimizer.optimizer,
                config={
                    "train_batch_size": parts * dims.data.size,
                    "train_micro_batch_size_per_gpu": 1,
                    "gradient_accumulation_steps": parts,
                    "gradient_clipping": strategy.clip_norm if settings.zero else 0.0,
                    "zero_optimization": {"stage": settings.zero},
                    "zero_allow_untested_optimizer": True,
                    "steps_per_print": None,
                },
            )
        if isinstance(strategy.optimizer, SteppedByEngine):
            strategy.optimizer.engine_made(self.engine.optimizer)
        else:
            SummedGradients(strategy).wrap()  # the engine wants weights of the plain memory format, before it is made
            internals.schedule_alone(self.engine, schedule)
        internals.measure(self.engine, schedule, strategy.stats, dims)

    @property
    def scale(self) -> int:
        """DeepSpeed means over micro-batches, and under ZeRO over copies, where our loss is a sum."""
        settings = self.strategy.settings
        return settings.microbatches * (self.strategy.dims.data.size if settings.zero else 1)

    def gradients(self, inputs: Inputs, labels: Labels) -> Tensor:
        """See ``Passes``."""
        strategy, stages = self.strategy, self.strategy.stages
        parts = list(inputs.split(strategy.settings.microbatches))
        if parts[0].key != self.key:
            self.engine.reset_activation_shape()
            self.key = parts[0].key
        for layer in self.layers:
            layer.line.extend(parts)
        labelled = ((*tensors(targets), weight) for targets, weight in split_labels(labels, len(parts)))
        self.engine.train_batch(zip((part.x for part in parts), labelled, strict=True))
        total = torch.zeros((), dtype=strategy.dtype, device=strategy.context.device)
        if stages.last:
            total = self.engine.total_loss.detach().clone() / self.scale
        return stages.axis.broadcast(total, stages.ranks[-1])


def _pair(labels: tuple[Tensor, ...]) -> Labels:
    *targets, weight = labels
    return targets[0] if len(targets) == 1 else tuple(targets), weight


class PlainFormat(SummedGradients):
    """Weights stay in the plain memory format, in which the engine wants them, until it is made."""

    def wrap(self) -> None:
        """Nothing."""


class ReducedByEngine(PlainFormat):
    """Under ZeRO the engine reduces the gradients."""

    def clear(self) -> None:
        """The engine keeps more of them than the parameters do."""
        self.strategy.optimizer.optimizer.zero_grad(set_to_none=True)

    def reduce(self) -> None:
        """The engine has done it."""


class SteppedByEngine(OptimizerStep):
    """Under ZeRO the engine clips and steps, and each copy keeps a part of the optimizer's state."""

    def engine_made(self, zero: Any) -> None:
        """The engine's optimizer takes the place of the plain one."""
        self.optimizer = zero
        zero.scaled_global_norm = self._norm

    def step(self) -> None:
        """The engine has done it."""

    def state(self) -> dict[str, Tensor]:
        """Put together from the copies' parts."""
        from deepspeed.utils import safe_get_full_optimizer_state

        internals.link_state(self.optimizer)
        steps = internals.step_counts(self.optimizer)[0]
        return {
            f"{name}/{field}": steps.clone() if field == "step" else safe_get_full_optimizer_state(parameter, field)
            for name, parameter in self.strategy.parameters.items()
            for field in ("step", "exp_avg", "exp_avg_sq")
        }

    def load(self, parts: Mapping[str, Tensor]) -> None:
        """Each copy keeps its part."""
        from deepspeed.utils import safe_set_full_optimizer_state

        internals.make_state(self.optimizer)
        internals.link_state(self.optimizer)
        for key, value in parts.items():
            name, _, field = key.rpartition("/")
            if field == "step":
                for steps in internals.step_counts(self.optimizer):
                    steps.copy_(value)
            else:
                parameter = self.strategy.parameters[name]
                safe_set_full_optimizer_state(parameter, value.to(self.strategy.context.device), field)

    def wrote(self) -> None:
        """The engine steps copies of the weights."""
        self.optimizer.refresh_fp32_params()

    def _norm(self, norm_type: int = 2) -> Tensor:
        """The norm over all ranks' parts, in one sum.

        The engine's own sums each group of parameters by itself, and waits for ever where stages have unlike groups.
        """
        square, stats, size = internals.squared_norm(self.optimizer), self.strategy.stats, self.strategy.context.size
        with stats.span("all-reduce", square, messages=stats.message(range(size))):
            dist.all_reduce(square)
        return square.sqrt().float()
