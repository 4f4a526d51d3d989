"""Settings of the strategies."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from parallel_ser.parallel.schedule.csv_file import SUFFIX
from parallel_ser.parallel.schedule.registry import from_file, names, schedule_of
from parallel_ser.settings import Settings

DEEPSPEED_SCHEDULES = ("1f1b", "dualpipev")
SCHEDULED = ("pipeline", "deepspeed")
"""Strategies that follow ``strategy.schedule``."""


def _known(value: object) -> str:
    """A schedule's name, or the whole path of a file that holds one."""
    if isinstance(value, str) and value.endswith(SUFFIX):
        from_file(Path(value))
        return str(Path(value).resolve())
    if value not in (known := names()):
        near = get_close_matches(str(value).lower(), known, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        choices = f"{', '.join(known)} or a {SUFFIX} file"
        raise ValueError(f"strategy.schedule must be one of {choices}, not {value!r}{guess}")
    return str(value)


Schedule = Annotated[str, BeforeValidator(_known)]
Name = Literal["single", "layer_split", "tensor_split", "pipeline", "deepspeed", "ddp", "fsdp", "auto"]


class StrategySettings(Settings):
    """How the chain is placed on ranks and stepped.

    ``name``: ``auto`` is what the planner expects to be the fastest.
    ``schedule``: the order of a pipeline's work, by name or as a CSV file; ``parallel-ser schedule`` lists the names.
    ``microbatches``: the parts of a rank's batch that follow each other.
    ``stages``: cut points by hand, each the index of the block that opens the next stage; empty means by cost.
    ``cut``: the cost of a block: its measured ``time``, its ``arithmetic`` or its ``parameters``.
    ``axis``: what the ranks of a tensor split share: ``channel`` or ``time``.
    ``tensor_parallel``: ranks that share each stage of a pipeline along ``axis``.
    ``zero``: 1 spreads the optimizer's state over the copies of a ``deepspeed`` run.
    ``data_parallel``: how many times the whole is there, each copy with its share of the batch.
    ``checkpointing``: what keeps only its input and is computed again backward: nothing, each stage or each block.
    ``replicate_unsplittable``: compute a block whole on each rank where its type has no rule to split it.
    """

    name: Name = "pipeline"
    schedule: Schedule = "1f1b"
    microbatches: int = Field(4, ge=1, le=1024)
    stages: tuple[int, ...] = ()
    cut: Literal["time", "arithmetic", "parameters"] = "time"
    axis: Literal["channel", "time"] = "time"
    tensor_parallel: int = Field(1, ge=1, le=4096)
    zero: Literal[0, 1] = 0
    data_parallel: int = Field(1, ge=1, le=4096)
    checkpointing: Literal["none", "stage", "block"] = "none"
    replicate_unsplittable: bool = False

    @model_validator(mode="after")
    def _combination(self) -> StrategySettings:
        if self.tensor_parallel > 1 and self.name != "pipeline":
            raise ValueError(
                f"strategy.tensor_parallel={self.tensor_parallel} belongs to strategy.name=pipeline; "
                f"tensor_split takes all processes of a copy by itself"
            )
        if self.data_parallel > 1 and self.name in ("single", "ddp", "fsdp"):
            raise ValueError(
                f"strategy.data_parallel={self.data_parallel} is for strategies that split the model; "
                f"ddp and fsdp take all processes by themselves"
            )
        if self.name == "deepspeed" and self.schedule not in DEEPSPEED_SCHEDULES:
            raise ValueError(f"strategy.schedule={self.schedule} is not DeepSpeed's, which has 1f1b and dualpipev")
        if self.zero and self.name != "deepspeed":
            raise ValueError("strategy.zero=1 belongs to strategy.name=deepspeed; fsdp spreads all of a model's state")
        if not self.stages:
            return self
        if self.name not in ("pipeline", "deepspeed", "layer_split"):
            raise ValueError(f"strategy.stages belongs to strategy.name=pipeline; leave it empty for {self.name}")
        if self.stages[0] < 1 or any(later <= earlier for earlier, later in pairwise(self.stages)):
            raise ValueError(f"strategy.stages={list(self.stages)} must rise from 1 or more, such as [2, 4]")
        count = len(self.stages) + 1
        plan = schedule_of(self.schedule)
        if self.name == "pipeline" and plan.per_rank == 1 and self.microbatches < (least := plan.least(count)):
            raise ValueError(
                f"strategy.schedule={self.schedule} over {count} stages needs strategy.microbatches of {least} "
                f"or more, not {self.microbatches}"
            )
        return self


def schedule_name(settings: StrategySettings) -> str:
    """The schedule that a strategy follows; where it has none that of the layer split, one micro-batch at a time."""
    return settings.schedule if settings.name in SCHEDULED else "layer_split"


def stages_per_rank(settings: StrategySettings) -> int:
    """Stages that a rank of the strategy holds."""
    return schedule_of(schedule_name(settings)).per_rank


def stage_ranks(settings: StrategySettings, ranks: int) -> list[int]:
    """The rank of each stage of a strategy whose pipeline has so many ranks.

    >>> stage_ranks(StrategySettings(name="pipeline", schedule="zbv"), 2)
    [0, 1, 1, 0]
    >>> stage_ranks(StrategySettings(name="layer_split", schedule="zbv"), 2)  # it has no schedule
    [0, 1]
    """
    return schedule_of(schedule_name(settings)).placement(ranks)


def layout(settings: StrategySettings, ranks: int) -> tuple[int, int, int]:
    """The grid (data, pipeline, tensor) of ``ranks`` processes; its product is smaller where they do not divide."""
    if settings.name in ("single", "ddp", "fsdp"):
        return ranks, 1, 1
    copy = ranks // settings.data_parallel
    if settings.name == "tensor_split":
        return settings.data_parallel, 1, copy
    return settings.data_parallel, copy // settings.tensor_parallel, settings.tensor_parallel


def microbatch(settings: StrategySettings, ranks: int, batch: int) -> int:
    """Utterances of a micro-batch: of the share that one copy of the model has of a batch.

    >>> microbatch(StrategySettings(microbatches=4, data_parallel=2), 4, 32)
    4
    """
    return -(-batch // (settings.microbatches * layout(settings, ranks)[0]))
