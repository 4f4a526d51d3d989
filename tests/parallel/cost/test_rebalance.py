"""Moves between stages, on machines that are made of arithmetic: how fast each rank is, what blocks truly cost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations

import pytest

from parallel_ser.parallel.cost.rebalance import MARGIN, Cost, Left, Move, Pipeline, decide, described, halfway
from parallel_ser.parallel.schedule.registry import actions, schedule_of

MICROBATCHES = 8


def pipeline(costs: Sequence[float], ranks: int = 2, schedule: str = "1f1b") -> Pipeline:
    places = tuple(schedule_of(schedule).placement(ranks))
    orders = actions(schedule, ranks, MICROBATCHES)
    return Pipeline(tuple(Cost(one, 2 * one, one, one) for one in costs), places, orders)


def work(costs: Sequence[float], places: Sequence[int], cuts: Sequence[int], speeds: Sequence[float]) -> list[float]:
    """Seconds of each rank's passes, counted by hand."""
    found = [0.0] * len(speeds)
    for place, start, stop in zip(places, (0, *cuts), (*cuts, len(costs)), strict=True):
        found[place] += MICROBATCHES * 3 * sum(costs[start:stop]) * speeds[place]
    return found


def step(costs: Sequence[float], cuts: Sequence[int], speeds: Sequence[float]) -> float:
    """Of 1F1B on two ranks: the slower is never idle but while the other fills and empties the pipeline."""
    micro = [one / MICROBATCHES for one in work(costs, range(len(speeds)), cuts, speeds)]
    return MICROBATCHES * max(micro) + sum(micro) - max(micro)


def test_equal_ranks_with_equal_stages_keep_what_they_have() -> None:
    costs = [1.0] * 8
    assert decide(pipeline(costs), (4,), work(costs, range(2), (4,), (1, 1)), 1.0, 10**6, 0.0) is None


def test_a_rank_twice_as_slow_gives_away_half_of_what_it_has_too_much_and_then_the_rest() -> None:
    costs, speeds = [1.0] * 12, (1.0, 2.0)
    now = step(costs, (6,), speeds)
    first = decide(pipeline(costs), (6,), work(costs, range(2), (6,), speeds), now, 100, 0.0)
    assert first is not None
    assert (first.cuts, first.before) == ((7,), now)
    assert first.after == pytest.approx(step(costs, (7,), speeds))
    assert first.slowness == pytest.approx(speeds)
    then = decide(pipeline(costs), (7,), work(costs, range(2), (7,), speeds), first.after, 100, 0.0)
    assert then is not None
    assert then.cuts == (8,)
    assert decide(pipeline(costs), (8,), work(costs, range(2), (8,), speeds), then.after, 100, 0.0) is None


@pytest.mark.parametrize("steps", [9, 11])
def test_a_move_must_save_more_than_it_takes(steps: int) -> None:
    costs, speeds = [1.0] * 12, (1.0, 2.0)
    now, then = step(costs, (6,), speeds), step(costs, (8,), speeds)  # the best that there is
    moved = decide(pipeline(costs), (6,), work(costs, range(2), (6,), speeds), now, steps, 10 * (now - then))
    assert (moved is not None) == (steps > 10)


def test_a_gain_within_the_margin_moves_nothing() -> None:
    costs = [1.0] * 101
    for slower in (1.01, 1.3):
        now = step(costs, (50,), (1.0, slower))
        found = decide(pipeline(costs), (50,), work(costs, range(2), (50,), (1.0, slower)), now, 10**9, 0.0)
        assert (found is None) == (slower == 1.01)
        assert found is None or found.before - found.after >= MARGIN * now


def test_all_the_way_where_half_of_it_gains_nothing() -> None:
    # the middle stage is as slow with block 2 as with block 5: it must lose one at both ends, and the outer ranks take
    # them; half of each way is the same cut
    costs = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    speeds = (1.0, 4.0, 1.0)
    now = step(costs, (3, 6), speeds)
    found = decide(pipeline(costs, 3), (3, 6), work(costs, range(3), (3, 6), speeds), now, 10**6, 0.0)
    best = min(combinations(range(1, 9), 2), key=lambda cut: step(costs, cut, speeds))
    assert found is not None
    assert step(costs, found.cuts, speeds) < now
    assert step(costs, best, speeds) == step(costs, (4, 5), speeds)
    assert found.cuts == (4, 5)


@pytest.mark.parametrize("seed", range(20))
def test_a_machine_that_stays_as_it_is_comes_to_rest_and_sees_no_cut_twice(seed: int) -> None:
    """Profiles that err by a quarter, measurements by a tenth."""
    draw = random.Random(seed)
    costs = [draw.uniform(0.5, 2.0) for _ in range(14)]
    profiled = pipeline([one * draw.uniform(0.8, 1.25) for one in costs], 3)
    speeds = [draw.uniform(1.0, 2.5) for _ in range(3)]
    cuts: tuple[int, ...] = (5, 10)
    left: list[Left] = []
    begun = step(costs, cuts, speeds)
    for _ in range(40):
        measured = [one * draw.uniform(0.95, 1.05) for one in work(costs, range(3), cuts, speeds)]
        move = decide(profiled, cuts, measured, step(costs, cuts, speeds), 10**6, 0.0, left)
        quiet = move is None
        if move is not None:
            left.append(Left(cuts, move.slowness))
            cuts = move.cuts
    visited = [one.cuts for one in left]
    assert quiet
    assert len({*visited, cuts}) == len(visited) + 1 <= 10
    best = min(step(costs, cut, speeds) for cut in combinations(range(1, 14), 2))
    assert step(costs, cuts, speeds) <= max(begun, 1.25 * best)


def test_a_cut_that_was_left_is_taken_again_when_a_rank_has_changed() -> None:
    costs = [1.0] * 12
    slow, alike = (1.0, 2.0), (1.0, 1.0)
    left = [Left((6,), slow), Left((7,), slow)]
    now = step(costs, (8,), alike)
    back = decide(pipeline(costs), (8,), work(costs, range(2), (8,), alike), now, 100, 0.0, left)
    assert back is not None
    assert back.cuts == (7,)
    # all ranks twice as slow is no change between them, and where nothing has changed nothing goes back
    twice = [Left((6,), (0.5, 0.5)), Left((7,), (0.5, 0.5))]
    assert decide(pipeline(costs), (8,), work(costs, range(2), (8,), alike), now, 100, 0.0, twice) is None


def test_ranks_with_two_stages() -> None:
    costs, speeds = [1.0] * 16, (1.0, 3.0)
    there_and_back = pipeline(costs, 2, "zbv")
    assert there_and_back.ranks == (0, 1, 1, 0)
    cuts = (4, 8, 12)
    for _ in range(5):
        found = decide(there_and_back, cuts, work(costs, (0, 1, 1, 0), cuts, speeds), 1.0, 10**6, 0.0)
        if found is None:
            break
        assert found.after < found.before
        cuts = found.cuts
    assert cuts[2] - cuts[0] == 4  # of 16 blocks the rank three times as slow has a quarter


def test_half_the_way() -> None:
    assert halfway((4,), (4,)) == (4,)
    assert halfway((4,), (5,)) == (5,)
    assert halfway((5,), (2,)) == (3,)
    for now in combinations(range(1, 8), 3):
        for then in combinations(range(1, 8), 3):
            cut = halfway(now, then)
            assert list(cut) == sorted(set(cut))
            assert all(min(a, b) <= c <= max(a, b) for a, b, c in zip(now, then, cut, strict=True))


def test_a_move_is_told_with_its_blocks_and_stages() -> None:
    move = Move((3, 8), 0.4124, 0.3496, (1.0, 1.0, 1.0))
    told = described(move, (5, 7), 10)
    assert told == ("moved blocks 3-4 from stage 0 to 1 and block 7 from stage 2 to 1: 412 → 350 ms a step predicted")
