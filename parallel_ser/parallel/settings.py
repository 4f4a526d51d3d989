"""Settings of the strategies."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from parallel_ser.settings import Settings

Schedule = Literal["gpipe", "1f1b", "interleaved1f1b", "loopedbfs", "interleavedzb", "zbv", "dualpipev"]
Name = Literal["single", "layer_split", "tensor_split", "pipeline", "deepspeed", "ddp", "fsdp", "auto"]


class StrategySettings(Settings):
    """How the chain is placed on ranks and stepped.

    ``name``: ``auto`` is what the planner expects to be the fastest.
    ``schedule``: the order of a pipeline's work; all but ``gpipe`` and ``1f1b`` put several stages on a rank.
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
        if self.name == "deepspeed" and self.schedule not in ("1f1b", "dualpipev"):
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
        if self.name == "pipeline" and self.schedule == "1f1b" and self.microbatches < count:
            raise ValueError(
                f"strategy.schedule=1f1b over {count} stages needs strategy.microbatches of {count} or more, "
                f"not {self.microbatches}"
            )
        return self


def stages_per_rank(settings: StrategySettings) -> int:
    """Stages that a rank of the strategy holds."""
    several = settings.name in ("pipeline", "deepspeed") and settings.schedule not in ("gpipe", "1f1b")
    return 2 if several else 1


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
