"""Orders against those that torch computes, and against their definitions."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starting import run
from torch.distributed.pipelining import schedules as torch_schedules

from parallel_ser.errors import UserError
from parallel_ser.parallel.requirements import validate
from parallel_ser.parallel.schedule.actions import Action
from parallel_ser.parallel.schedule.registry import actions, schedule_of, schedules
from parallel_ser.parallel.schedule.simulate import simulate
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.report.timeline import text_timeline

SEVERAL = {
    "interleaved1f1b": torch_schedules.ScheduleInterleaved1F1B,
    "loopedbfs": torch_schedules.ScheduleLoopedBFS,
    "interleavedzb": torch_schedules.ScheduleInterleavedZeroBubble,
    "zbv": torch_schedules.ScheduleZBVZeroBubble,
    "dualpipev": torch_schedules.ScheduleDualPipeV,
}
SIZES = [(ranks, micro) for ranks in (2, 3, 4, 8) for micro in (1, 2, 3, 4, 6, 8, 10, 12, 15, 16)]


class FakeStage(SimpleNamespace):
    """What torch asks of a stage to order its work."""

    def __init__(self, number: int, stages: int, ranks: int, rank: int) -> None:
        edges = {"is_first": number == 0, "is_last": number == stages - 1}
        super().__init__(stage_index=number, num_stages=stages, group_size=ranks, group_rank=rank, **edges)
        self.submod = self.device = None


def ordered_by_torch(order: dict[int, list[Any]]) -> list[list[Action]]:
    """Torch's orders without its idle steps and collectives, the two of an overlapped pair one after the other."""
    return [
        [
            Action(one.computation_type.value, one.stage_index, one.microbatch_index)
            for action in order[rank]
            if action is not None
            for one in action.sub_actions or (action,)
            if one.computation_type.value in "FBIW"
        ]
        for rank in sorted(order)
    ]


@pytest.mark.parametrize("name", SEVERAL)
def test_several_stages_a_rank_are_ordered_as_torch_orders_them(name: str) -> None:
    compared = 0
    for ranks, micro in SIZES:
        own = [number for number, rank in enumerate(schedule_of(name).placement(ranks)) if rank == 0]
        try:
            made = SEVERAL[name]([FakeStage(number, 2 * ranks, ranks, 0) for number in own], micro)
        except ValueError:
            with pytest.raises(ValueError, match="micro-batches"):
                actions(name, ranks, micro)
            continue
        assert actions(name, ranks, micro) == ordered_by_torch(made.pipeline_order), (ranks, micro)
        compared += 1
    assert compared >= 15


@pytest.mark.parametrize(("ranks", "micro"), SIZES)
def test_gpipe_by_its_definition(ranks: int, micro: int) -> None:
    for rank, order in enumerate(actions("gpipe", ranks, micro)):
        assert order[:micro] == [Action("F", rank, part) for part in range(micro)]
        assert order[micro:] == [Action("B", rank, part) for part in range(micro)]


@given(ranks=st.integers(1, 9), micro=st.integers(1, 30))
def test_1f1b_by_its_definition(ranks: int, micro: int) -> None:
    """Rank r runs min(m, p - r) micro-batches ahead; then each backward pass makes room for a forward pass."""
    for rank, order in enumerate(actions("1f1b", ranks, micro)):
        full = min(micro, ranks - rank)
        kinds = "F" * full + "BF" * (micro - full) + "B" * full
        assert "".join(action.kind for action in order) == kinds
        for kind in "FB":
            assert [action.microbatch for action in order if action.kind == kind] == list(range(micro))


def test_layer_split_by_its_definition() -> None:
    assert actions("layer_split", 2, 2) == [
        [Action("F", rank, 0), Action("B", rank, 0), Action("F", rank, 1), Action("B", rank, 1)] for rank in (0, 1)
    ]


@given(name=st.sampled_from(sorted(schedules())), ranks=st.integers(1, 8), micro=st.integers(1, 30))
def test_whatever_a_run_may_ask_for_is_whole_and_on_the_right_ranks(name: str, ranks: int, micro: int) -> None:
    strategy = {"name": name} if name == "layer_split" else {"name": "pipeline", "schedule": name}
    try:
        validate(StrategySettings.model_validate({**strategy, "microbatches": micro}), ranks, blocks=64)
    except UserError:
        return
    orders = actions(name, ranks, micro)
    places = schedule_of(name).placement(ranks)
    assert all(places[action.stage] == rank for rank, order in enumerate(orders) for action in order)
    counts = Counter(action for order in orders for action in order)
    assert set(counts.values()) == {1}
    for stage in range(len(places)):
        for part in range(micro):
            kinds = [kind for kind in "FBIW" if Action(kind, stage, part) in counts]  # type: ignore[arg-type]
            assert kinds in (["F", "B"], ["F", "I", "W"])
    simulate(orders)  # and no rank waits for ever


@pytest.mark.parametrize("name", schedules())
def test_the_diagrams_in_the_docstrings_are_true(name: str) -> None:
    lines = [
        line.strip()
        for line in (schedule_of(name).orders.__doc__ or "").splitlines()
        if line.strip().startswith("rank ")
    ]
    drawn = []
    for micro in range(2, 8):
        try:
            text = text_timeline(simulate(actions(name, len(lines), micro)).record()["actions"])
        except ValueError:
            continue
        assert text is not None
        drawn.append([line.rstrip() for line in text.plain.splitlines()])
    assert len(lines) == 3
    assert lines in drawn


def test_an_unknown_schedule_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="2f2b"):
        actions("2f2b", 2, 2)


def test_neither_orders_nor_their_simulation_load_torch(tmp_path: Path) -> None:
    code = "import sys, parallel_ser.parallel.settings; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
