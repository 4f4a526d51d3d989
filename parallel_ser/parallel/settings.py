"""Settings of the strategies."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from parallel_ser.settings import Settings


class StrategySettings(Settings):
    """How the chain is placed on ranks and stepped.

    ``microbatches``: the parts of a batch that follow each other through the pipeline.
    ``stages``: cut points by hand, each the index of the block that opens the next stage; empty means by cost.
    """

    name: Literal["single", "pipeline"] = "pipeline"
    schedule: Literal["gpipe", "1f1b"] = "1f1b"
    microbatches: int = Field(4, ge=1, le=1024)
    stages: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _combination(self) -> StrategySettings:
        if not self.stages:
            return self
        if self.name == "single":
            raise ValueError("strategy.stages belongs to strategy.name=pipeline; leave it empty for single")
        if self.stages[0] < 1 or any(later <= earlier for earlier, later in pairwise(self.stages)):
            raise ValueError(f"strategy.stages={list(self.stages)} must rise from 1 or more, such as [2, 4]")
        count = len(self.stages) + 1
        if self.schedule == "1f1b" and self.microbatches < count:
            raise ValueError(
                f"strategy.schedule=1f1b over {count} stages needs strategy.microbatches of {count} or more, "
                f"not {self.microbatches}"
            )
        return self
