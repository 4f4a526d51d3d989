"""Settings of the strategies."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from parallel_ser.parallel.schedule.csv_file import SUFFIX
from parallel_ser.parallel.schedule.registry import from_file, names, schedule_of
from parallel_ser.parallel.strategies.descriptor import Layout
from parallel_ser.parallel.strategies.registry import AUTO, descriptor_of, strategies, taking
from parallel_ser.settings import Settings, one_of


def _known(value: object) -> str:
    """A schedule's name, or the whole path of a file that holds one."""
    if isinstance(value, str) and value.endswith(SUFFIX):
        from_file(Path(value))
        return str(Path(value).resolve())
    return one_of("strategy.schedule", names(), value, f" or a {SUFFIX} file")


def _strategy(value: object) -> str:
    """A strategy's name."""
    return one_of("strategy.name", [*strategies(), AUTO.name], value)


Schedule = Annotated[str, BeforeValidator(_known)]
Name = Annotated[str, BeforeValidator(_strategy)]


class StrategySettings(Settings):
    """How the chain is placed on ranks and stepped.

    ``name``: of a strategy, which ``parallel-ser strategies`` lists; ``auto`` is what the planner expects to be the
    fastest.
    ``schedule``: the order of a pipeline's work, by name or as a CSV file; ``parallel-ser schedule`` lists the names.
    ``microbatches``: the parts of a rank's batch that follow each other.
    ``stages``: cut points by hand, each the index of the block that opens the next stage; empty means by cost.
    ``cut``: the cost of a block: its measured ``time``, its ``arithmetic`` or its ``parameters``.
    ``rebalance``: whether blocks move between stages at the end of an epoch, by the times that stages were measured at.
    ``axis``: what the ranks of a tensor split share: ``channel`` or ``time``.
    ``tensor_parallel``: ranks that share each stage of a pipeline along ``axis``.
    ``zero``: 1 spreads the optimizer's state over the copies of a pipeline under DeepSpeed.
    ``data_parallel``: how many times the whole is there, each copy with its share of the batch.
    ``checkpointing``: what keeps only its input and is computed again backward: nothing, each stage or each block.
    ``replicate_unsplittable``: compute a block whole on each rank where its type has no rule to split it.
    """

    name: Name = "pipeline"
    schedule: Schedule = "1f1b"
    microbatches: int = Field(4, ge=1, le=1024)
    stages: tuple[int, ...] = ()
    cut: Literal["time", "arithmetic", "parameters"] = "time"
    rebalance: bool = False
    axis: Literal["channel", "time"] = "time"
    tensor_parallel: int = Field(1, ge=1, le=4096)
    zero: Literal[0, 1] = 0
    data_parallel: int = Field(1, ge=1, le=4096)
    checkpointing: Literal["none", "stage", "block"] = "none"
    replicate_unsplittable: bool = False

    @model_validator(mode="after")
    def _combination(self) -> StrategySettings:
        strategy = descriptor_of(self.name)
        for setting in ("tensor_parallel", "data_parallel", "zero", "stages", "rebalance"):
            given = getattr(self, setting)
            if given != type(self).model_fields[setting].default and setting not in strategy.takes:
                value = list(given) if isinstance(given, tuple) else given
                value = str(value).lower() if isinstance(value, bool) else value
                others = " or ".join(taking(setting))
                raise ValueError(
                    f"strategy.{setting}={value} belongs to strategy.name={others}; {self.name} does without it"
                )
        if "schedule" in strategy.takes and strategy.schedules and self.schedule not in strategy.schedules:
            raise ValueError(
                f"strategy.schedule={self.schedule} is not of strategy.name={self.name}, which has "
                f"{' and '.join(strategy.schedules)}"
            )
        if not self.stages:
            return self
        if self.stages[0] < 1 or any(later <= earlier for earlier, later in pairwise(self.stages)):
            raise ValueError(f"strategy.stages={list(self.stages)} must rise from 1 or more, such as [2, 4]")
        count = len(self.stages) + 1
        plan = schedule_of(schedule_name(self))
        if not strategy.any_microbatches(self) and plan.per_rank == 1 and self.microbatches < plan.least(count):
            raise ValueError(
                f"strategy.schedule={self.schedule} over {count} stages needs strategy.microbatches of "
                f"{plan.least(count)} or more, not {self.microbatches}"
            )
        return self


def schedule_name(settings: StrategySettings) -> str:
    """The schedule that a strategy follows; where it has none one micro-batch at a time."""
    return descriptor_of(settings.name).schedule(settings)


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


def layout(settings: StrategySettings, ranks: int) -> Layout:
    """The mesh (data, pipeline, tensor) of ``ranks`` processes; its product is smaller where they do not divide."""
    return descriptor_of(settings.name).layout(settings, ranks)


def microbatch(settings: StrategySettings, ranks: int, batch: int) -> int:
    """Utterances of a micro-batch: of the share that one copy of the model has of a batch.

    >>> microbatch(StrategySettings(microbatches=4, data_parallel=2), 4, 32)
    4
    """
    return -(-batch // (settings.microbatches * layout(settings, ranks).data))
