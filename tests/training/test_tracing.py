from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.schedule.registry import actions
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.tracing.stats import CommStats
from parallel_ser.training.tracing import Tracer, name_of, schedule_of

ALONE = ProcessContext(0, 1, torch.device("cpu"))


@pytest.mark.parametrize(
    ("steps", "traced"), [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [2, 3, 4]), (9, [3, 4, 5])]
)
def test_a_few_steps_are_traced_and_nothing_between_them(tmp_path: Path, steps: int, traced: list[int]) -> None:
    path = tmp_path / "trace.json"
    stats = CommStats()
    tracer = Tracer(stats, StrategySettings(name="single"), ALONE, path, steps)
    for number in range(steps):
        with tracer.batch():
            pass
        with stats.span("step"), stats.span("forward", detail=f"{number + 1}"):
            time.sleep(1e-4)
        tracer.done()
        with stats.span("selection"):
            pass
    assert path.exists() == bool(traced)
    assert not stats.spans
    if traced:
        content = json.loads(path.read_text())
        events = [event for event in content["traceEvents"] if event["ph"] == "X"]
        assert [event["args"]["detail"] for event in events if event["name"] == "forward"] == list(map(str, traced))
        assert {event["name"] for event in events} == {"batch", "wait", "step", "forward"}
        assert tracer.record == content["otherData"] | {"file": str(path)}
        assert tracer.record["steps"] == traced
        (row,) = tracer.record["ranks"]
        assert row["step"] == row["compute"] > 0


def test_ranks_of_a_grid_know_their_place_in_the_pipeline() -> None:
    settings = StrategySettings(schedule="zbv", microbatches=4, tensor_parallel=2, data_parallel=2)
    assert schedule_of(settings, 8) == (actions("zbv", 2, 4), [0, 0, 1, 1, 0, 0, 1, 1])
    assert schedule_of(StrategySettings(name="layer_split", microbatches=3), 2)[0] == actions("layer_split", 2, 3)
    for name in ("single", "tensor_split", "ddp", "fsdp"):
        assert schedule_of(StrategySettings(name=name), 1 if name == "single" else 4)[0] == []


def test_a_strategy_is_named_with_what_tells_it_apart() -> None:
    assert name_of(StrategySettings(name="tensor_split", axis="channel")) == "tensor_split channel"
    assert name_of(StrategySettings(name="deepspeed", schedule="dualpipev", microbatches=8)) == "deepspeed dualpipev"
    assert name_of(StrategySettings(name="ddp")) == "ddp"
