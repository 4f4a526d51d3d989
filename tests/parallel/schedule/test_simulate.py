"""The clock against timings made by hand, closed forms of the literature, and what must hold for any schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel_ser.parallel.schedule.actions import Action, Orders, ranks_of
from parallel_ser.parallel.schedule.registry import actions, schedule_of, schedules
from parallel_ser.parallel.schedule.simulate import (
    Simulation,
    Times,
    in_flight_by_stage,
    simulate,
    slowest_stage_step,
)

INTERLEAVED = ("interleaved1f1b", "interleavedzb")
ZERO_BUBBLE = ("interleavedzb", "zbv", "dualpipev")


def sizes(name: str) -> Iterator[tuple[int, int, Orders]]:
    """Sizes that the schedule can run."""
    for ranks in (2, 3, 4, 5, 8):
        for micro in (*range(1, 13), 15, 16, 24):
            try:
                yield ranks, micro, actions(name, ranks, micro)
            except ValueError:
                continue


def spans(played: Simulation) -> list[tuple[int, str, int, int, float, float]]:
    return [(a.rank, a.kind, a.stage, a.microbatch, a.start, a.end) for a in played.actions]


# By hand


def test_two_ranks_by_hand() -> None:
    played = simulate(actions("gpipe", 2, 1), Times(forward=1, input=1, weight=2), transfer=0.5)
    assert spans(played) == [
        (0, "F", 0, 0, 0.0, 1.0),
        (0, "B", 0, 0, 6.0, 9.0),
        (1, "F", 1, 0, 1.5, 2.5),
        (1, "B", 1, 0, 2.5, 5.5),
    ]
    assert (played.step, played.busy, played.idle) == (9.0, (4.0, 4.0), (5.0, 5.0))
    assert played.bubbles == (5 / 9, 5 / 9)
    assert played.bubble == 5 / 9


def test_how_many_are_at_work_by_hand() -> None:
    assert simulate(actions("1f1b", 2, 2), Times()).at_work() == {0: 0, 1: 6, 2: 3}
    waits = simulate(actions("gpipe", 2, 1), Times(), transfer=0.5).at_work()
    assert waits == {0: 1, 1: 6}


def test_stages_of_a_rank_hold_different_numbers() -> None:
    """Rank 0 of ZBV has stages 0 and 7: many micro-batches are in the early one before the first is in the late one."""
    counts = in_flight_by_stage(actions("zbv", 4, 8))
    assert (counts[0].activations, counts[7].activations) == (7, 1)
    assert counts[3].activations + counts[4].activations == 8
    assert in_flight_by_stage(actions("1f1b", 4, 8)) == {0: (4, 0), 1: (3, 0), 2: (2, 0), 3: (1, 0)}
    order = [("F", 0, 0), ("F", 0, 1), ("I", 0, 0), ("F", 0, 2), ("W", 0, 0), ("I", 0, 1), ("I", 0, 2)]
    assert in_flight_by_stage([[Action(*one) for one in order]]) == {0: (3, 1)}  # before the first W
    for name in schedules():
        for ranks, _, orders in sizes(name):
            where, counts = ranks_of(orders), in_flight_by_stage(orders)
            for rank, most in enumerate(simulate(orders).in_flight):
                own = [counts[stage].activations for stage in counts if where[stage] == rank]
                assert sum(own) / len(own) == pytest.approx(most), (name, ranks)


def test_split_backward_by_hand() -> None:
    """The neighbour starts after the input's gradient; the weights' is done while it works."""
    orders = [
        [Action("F", 0, 0), Action("I", 0, 0), Action("W", 0, 0)],
        [Action("F", 1, 0), Action("I", 1, 0), Action("W", 1, 0)],
    ]
    played = simulate(orders, Times(1, 2, 4))
    assert [(start, end) for *_, start, end in spans(played)] == [(0, 1), (4, 6), (6, 10), (1, 2), (2, 4), (4, 8)]


def test_what_fills_the_wire_is_sent_one_after_another() -> None:
    """Four micro-batches of a second, which the wire takes three seconds for: the second rank gets one each 3 s."""
    orders = actions("gpipe", 2, 4)
    free = simulate(orders, transfer=4.0)
    assert [one.start for one in free.actions if (one.rank, one.kind) == (1, "F")] == [5, 6, 7, 8]
    filled = simulate(orders, transfer=4.0, wire=lambda boundary: 3.0)
    assert [one.start for one in filled.actions if (one.rank, one.kind) == (1, "F")] == [5, 8, 11, 14]
    # backward the other way: the last two of F and the first of B do not meet
    backward = [one for one in filled.actions if one.kind == "B"]
    assert [one.start for one in backward if one.rank == 1] == [15, 17, 19, 21]
    assert [one.start for one in backward if one.rank == 0] == [21, 24, 27, 30]
    # the rank in the middle sends activations on and gradients back, one after another where both take one wire
    for ranks, longer in ((2, 0), (3, 1)):  # of two ranks each sends to one
        apart, shared = (
            simulate(actions("1f1b", ranks, 8), transfer=3.0, wire=lambda boundary: 3.0, wire_of=by).step
            for by in (lambda here, there: (here, there), lambda here, there: here)
        )
        assert (shared > apart) == longer
    # within a rank there is no wire
    assert simulate(actions("gpipe", 1, 4), wire=lambda boundary: 3.0).step == 12


def test_no_transfer_within_a_rank_and_each_boundary_its_own() -> None:
    """Stages 0 and 3 are on rank 0, 1 and 2 on rank 1: boundary 1 is within a rank and costs nothing."""
    orders = [
        [Action("F", 0, 0), Action("F", 3, 0), Action("B", 3, 0), Action("B", 0, 0)],
        [Action("F", 1, 0), Action("F", 2, 0), Action("B", 2, 0), Action("B", 1, 0)],
    ]
    asked = []

    def transfer(boundary: int) -> float:
        asked.append(boundary)
        return {0: 10.0, 2: 100.0}[boundary]

    assert simulate(orders, transfer=transfer).step == 4 * 1 + 4 * 2 + 2 * (10 + 100)
    assert sorted(asked) == [0, 2]
    assert simulate(orders, transfer=1.0).step == 12 + 4


def test_times_of_each_stage() -> None:
    times = Times(forward=[1, 2], input=[3, 4], weight=5.0, backward=[7.0, 8.0])
    assert [times.of(kind, 1) for kind in ("F", "B", "I", "W")] == [2, 8, 4, 5]
    assert Times(forward=1, input=[3, 4], weight=5.0).of("B", 1) == 9
    assert simulate(actions("gpipe", 2, 1), times).step == 1 + 2 + 8 + 7


def test_nothing_to_do() -> None:
    played = simulate([[], []])
    assert (played.step, played.busy, played.bubble, played.actions) == (0.0, (0, 0), 0.0, ())
    assert simulate(actions("gpipe", 1, 2), Times(0, 0, 0)).bubble == 0.0


def test_a_record_is_plain() -> None:
    record = simulate(actions("1f1b", 2, 2)).record()
    assert record["step"] == 9.0
    assert record["actions"][0] == {"rank": 0, "kind": "F", "stage": 0, "microbatch": 0, "start": 0.0, "end": 1.0}


def test_a_deadlock_names_what_is_stuck() -> None:
    orders = [
        [Action("F", 0, 0), Action("B", 0, 0), Action("F", 0, 1), Action("B", 0, 1)],
        [Action("F", 1, 0), Action("F", 1, 1), Action("B", 1, 0), Action("B", 1, 1)],
    ]
    with pytest.raises(ValueError, match="stuck") as caught:
        simulate(orders)
    assert "rank 0 at B of micro-batch 0 in stage 0" in str(caught.value)
    assert "rank 1 at F of micro-batch 1 in stage 1" in str(caught.value)


@pytest.mark.parametrize("order", ["BF", "F", "FW", "FBW", "WFI"])
def test_what_waits_for_something_that_never_comes_is_stuck(order: str) -> None:
    """The second stage does the kinds of ``order``, where the first does all; ``F`` alone leaves the first waiting."""
    second = [Action(kind, 1, 0) for kind in order]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stuck"):
        simulate([[Action("F", 0, 0), Action("B", 0, 0)], second])


def test_an_action_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 0 has F of micro-batch 0 in stage 0 twice"):
        simulate([[Action("F", 0, 0), Action("F", 0, 0)]])


# The literature


@pytest.mark.parametrize(
    ("name", "ranks", "micro", "bubble"),
    [
        ("layer_split", 4, 8, 3 / 4),
        ("gpipe", 4, 8, 3 / 11),
        ("1f1b", 4, 8, 3 / 11),
        ("interleaved1f1b", 4, 8, 3 / 19),
        ("loopedbfs", 4, 8, 3 / 19),
        ("interleavedzb", 4, 8, 3 / 51),
        ("zbv", 4, 8, 3 / 51),
        ("dualpipev", 4, 8, 3 / 51),
        ("1f1b", 1, 5, 0.0),
    ],
)
def test_bubbles_of_the_literature(name: str, ranks: int, micro: int, bubble: float) -> None:
    assert schedule_of(name).theory_bubble(ranks, micro) == pytest.approx(bubble)
    assert simulate(actions(name, ranks, micro)).bubble == pytest.approx(bubble)


def idle(name: str, ranks: int, micro: int) -> float:
    """Units of time that each rank is idle with F = I = W = 1, whatever the number of micro-batches.

    From p micro-batches on (zbv: from (3 p - 1) / 2) it is what the literature says; below, the truth of these orders.
    Of a schedule that is not in this table it is what its descriptor says.
    """
    p, m, schedule = ranks, micro, schedule_of(name)
    known = {
        "layer_split": 3 * m * (p - 1),
        "gpipe": 3 * (p - 1),
        "1f1b": 3 * (p - 1),
        "interleaved1f1b": 3 * (p - 1) + 3 * max(0, p - m),
        "loopedbfs": 3 * (p - 1) + 3 * max(0, p - m),
        "interleavedzb": max(p - 1, 3 * p - 1 - 2 * m, 4 * p - 1 - 4 * m),
        "zbv": max(p - 1, 4 * p - 2 - 2 * m),
        "dualpipev": p - 1,
    }
    if name in known:
        return known[name]
    assert schedule.overhead, f"say what {name} costs: its descriptor's overhead, or a line above"
    return 3 * schedule.per_rank * m * schedule.overhead(p, m)


@pytest.mark.parametrize("name", schedules())
def test_idle_time_and_bubble_in_every_size(name: str) -> None:
    stages = schedule_of(name).per_rank
    for ranks, micro, orders in sizes(name):
        played = simulate(orders)
        assert played.idle == (idle(name, ranks, micro),) * ranks, (ranks, micro)
        least = {"zbv": (3 * ranks - 1) / 2}.get(name, 1 if stages == 1 else ranks)
        theory, true = schedule_of(name).theory_bubble(ranks, micro), played.bubble
        assert true == pytest.approx(played.idle[0] / (3 * stages * micro + played.idle[0]))
        assert true == pytest.approx(theory) if micro >= least else true > theory + 1e-9, (ranks, micro)


@pytest.mark.parametrize("name", ["gpipe", "1f1b", "interleaved1f1b", "loopedbfs"])
@pytest.mark.parametrize("times", [Times(1, 0.5, 0.5), Times(2, 1, 4), Times(1, 3, 3, backward=5)])
def test_bubbles_of_whole_backward_passes_do_not_depend_on_their_length(name: str, times: Times) -> None:
    for ranks, micro in [(2, 4), (3, 6), (4, 4), (4, 8), (8, 16)]:
        assert simulate(actions(name, ranks, micro), times).bubble == pytest.approx(
            schedule_of(name).theory_bubble(ranks, micro)
        )


def test_unlike_times_leave_zero_bubble_schedules_more_idle_than_the_formula() -> None:
    """Input and weight gradients of unlike length: as the authors of ZB-V say, then it has bubbles in its middle."""
    for name in ZERO_BUBBLE:
        unlike = simulate(actions(name, 4, 16), Times(1, 1.5, 0.5))
        assert unlike.bubble > schedule_of(name).theory_bubble(4, 16) + 0.01


@pytest.mark.parametrize("name", schedules())
def test_most_in_flight_is_that_of_the_literature(name: str) -> None:
    for ranks, micro, orders in sizes(name):
        held = simulate(orders).in_flight
        assert max(held) <= micro
        theory = tuple(schedule_of(name).theory_in_flight(ranks, micro, rank) for rank in range(ranks))
        if name in INTERLEAVED and micro % ranks:
            continue
        if name == "zbv" and micro < 2 * ranks - 1:
            assert held[-1] == theory[-1], (ranks, micro)
            assert held[0] == (micro + 1) / 2 <= theory[0]
            continue
        assert held == theory, (ranks, micro)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("layer_split", (1, 1, 1, 1)),
        ("gpipe", (8, 8, 8, 8)),
        ("1f1b", (4, 3, 2, 1)),
        ("interleaved1f1b", (5.5, 4.5, 3.5, 2.5)),
        ("loopedbfs", (8, 8, 8, 8)),
        ("interleavedzb", (4, 4, 4, 4)),
        ("zbv", (4, 4, 4, 4)),
        ("dualpipev", (4.5, 4.5, 4.5, 4.5)),
    ],
)
def test_in_flight_by_the_table(name: str, held: tuple[float, ...]) -> None:
    assert simulate(actions(name, 4, 8)).in_flight == held


def test_in_flight_of_interleaved_schedules_with_rounds_of_any_length() -> None:
    """With L micro-batches a round: ((v - 1) L + 2 (p - 1 - r) + 1) / v, or p instead of the ranks behind it."""
    for name in INTERLEAVED:
        for ranks, micro, orders in sizes(name):
            length = micro // max(1, micro // ranks)
            for rank, held in enumerate(simulate(orders).in_flight):
                behind = 2 * (ranks - 1 - rank) + 1 if name == "interleaved1f1b" else ranks
                assert held == min(micro, (length + behind) / 2), (name, ranks, micro, rank)


def test_the_table_in_the_documentation_is_what_is_simulated() -> None:
    lines = (Path(__file__).parents[3] / "docs" / "schedules.md").read_text(encoding="utf-8").splitlines()
    table = lines[next(place for place, line in enumerate(lines) if line.startswith("| schedule | bubble")) + 2 :]
    for name, line in zip(schedules(), table, strict=False):
        orders = actions(name, 4, 8)
        played = simulate(orders)
        slow = simulate(orders, transfer=0.25 * schedule_of(name).per_rank)
        held = ", ".join(f"{number:g}" for number in played.in_flight)
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:4] == [f"`{name}`", f"{played.bubble:.1%}", f"{schedule_of(name).theory_bubble(4, 8):.1%}", held]
        assert cells[5] == f"{slow.bubble:.1%}"


# Stages that differ


@given(
    data=st.data(),
    ranks=st.integers(1, 6),
    micro=st.integers(1, 12),
)
def test_gpipe_with_unlike_stages_is_a_flow_shop(data: st.DataObject, ranks: int, micro: int) -> None:
    """Forward and backward each: the sum over stages, and the slowest again for each further micro-batch."""
    several = st.lists(st.integers(0, 20), min_size=ranks, max_size=ranks)
    forward, backward = data.draw(several), data.draw(several)
    step = sum(forward) + sum(backward) + (micro - 1) * (max(forward) + max(backward))
    assert simulate(actions("gpipe", ranks, micro), Times(forward, backward, 0)).step == step


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    ratio=st.sampled_from([0.5, 1, 2, 3]),
    micro=st.integers(1, 12),
    name=st.sampled_from(["gpipe", "1f1b"]),
)
def test_unlike_stages_take_about_as_long_as_if_all_were_the_slowest(
    lengths: list[int], ratio: float, micro: int, name: str
) -> None:
    times = Times(lengths, [ratio * length for length in lengths], 0)
    slowest = max(lengths) * (1 + ratio)
    bound = slowest_stage_step(times, len(lengths), micro)
    assert bound == (micro + len(lengths) - 1) * slowest
    step = simulate(actions(name, len(lengths), micro), times).step
    assert max(micro * slowest, sum(lengths) * (1 + ratio)) <= step <= bound


def test_the_slowest_stage_is_no_bound_where_stages_differ_in_their_ratio() -> None:
    times = Times(forward=[9, 1], input=[1, 9], weight=0)
    assert simulate(actions("gpipe", 2, 8), times).step > slowest_stage_step(times, 2, 8)


# What must hold for any schedule


@st.composite
def plays(draw: st.DrawFn) -> tuple[str, int, Orders, Times, list[float], Simulation]:
    name = draw(st.sampled_from(sorted(schedules())))
    ranks = draw(st.integers(2, 5))
    rounds = draw(st.integers(1, 4))
    orders = actions(name, ranks, ranks * max(2, rounds))
    stages = len(schedule_of(name).placement(ranks))
    lengths = st.lists(st.integers(0, 8).map(lambda n: n / 4), min_size=stages, max_size=stages)
    times = Times(draw(lengths), draw(lengths), draw(lengths), draw(st.none() | lengths))
    transfers = draw(lengths)
    return name, ranks, orders, times, transfers, simulate(orders, times, transfers.__getitem__)


@settings(max_examples=50)
@given(plays())
def test_a_play_keeps_the_rules(play: tuple[str, int, Orders, Times, list[float], Simulation]) -> None:
    name, ranks, orders, times, transfers, played = play
    places = schedule_of(name).placement(ranks)
    # everything is done once, in order, one thing at a time, and as long as it takes
    for rank, order in enumerate(orders):
        own = [action for action in played.actions if action.rank == rank]
        assert [(a.kind, a.stage, a.microbatch) for a in own] == order
        assert all(before.end <= after.start for before, after in pairwise(own))
        assert all(math.isclose(a.end - a.start, times.of(a.kind, a.stage)) for a in own)
        assert played.busy[rank] == pytest.approx(sum(times.of(kind, stage) for kind, stage, _ in order))
        assert played.busy[rank] + played.idle[rank] == pytest.approx(played.step)
    # nothing is done before its inputs are there
    done = {(a.kind, a.stage, a.microbatch): a for a in played.actions}
    back = {(stage, micro): a for (kind, stage, micro), a in done.items() if kind in "BI"}

    def way(boundary: int) -> float:
        return transfers[boundary] if places[boundary] != places[boundary + 1] else 0.0

    for (kind, stage, micro), action in done.items():
        if kind == "F" and stage:
            assert action.start >= done["F", stage - 1, micro].end + way(stage - 1)
        elif kind == "W":
            assert action.start >= done["I", stage, micro].end
        elif kind != "F":
            assert action.start >= done["F", stage, micro].end
            if stage + 1 < len(places):
                assert action.start >= back[stage + 1, micro].end + way(stage)
    # the step is no shorter than the busiest rank's work, nor than any micro-batch's way there and back
    assert played.step == max(action.end for action in played.actions)
    assert played.step >= max(played.busy) - 1e-9
    along = 2 * sum(way(boundary) for boundary in range(len(places) - 1))
    for micro in {action.microbatch for action in played.actions}:
        passes = [a for a in played.actions if a.microbatch == micro and a.kind != "W"]
        assert played.step >= sum(a.end - a.start for a in passes) + along - 1e-9
    assert 0 <= played.bubble <= 1


@settings(max_examples=30)
@given(plays(), st.data())
def test_nothing_that_takes_longer_makes_a_step_shorter(
    play: tuple[str, int, Orders, Times, list[float], Simulation], data: st.DataObject
) -> None:
    _, _, orders, times, transfers, played = play
    more = data.draw(st.integers(1, 4))
    slower = Times([one + more for one in times.forward], times.input, times.weight, times.backward)  # type: ignore[union-attr]
    assert simulate(orders, slower, transfers.__getitem__).step >= played.step
    assert simulate(orders, times, lambda boundary: transfers[boundary] + more).step >= played.step


@settings(max_examples=50)
@given(plays())
def test_every_start_has_its_reason(play: tuple[str, int, Orders, Times, list[float], Simulation]) -> None:
    """No rank waits longer than it must: an action starts when its rank is free or when an input comes."""
    name, ranks, _, _, transfers, played = play
    places = schedule_of(name).placement(ranks)
    arrivals = {0.0}
    for action in played.actions:
        arrivals.add(action.end)
        for boundary in (action.stage - 1, action.stage):
            if 0 <= boundary < len(places) - 1 and places[boundary] != places[boundary + 1]:
                arrivals.add(action.end + transfers[boundary])
    assert {action.start for action in played.actions} <= arrivals
