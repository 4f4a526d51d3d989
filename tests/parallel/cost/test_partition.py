"""Cuts against trying all of them; costs against counting by hand."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parallel_ser.models.batch import example, tensors
from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.cost.partition import Memory, block_costs, partition, stage_slices


def places_of(placement: str, ranks: int) -> list[int]:
    there = list(range(ranks))
    return {"one": there, "loop": there * 2, "v": there + there[::-1]}[placement]


def costliest(costs: list[float], places: list[int], cuts: tuple[int, ...]) -> tuple[float, float]:
    """Rank and stage, counted by hand."""
    loads = [0.0] * len(places)
    stages = [sum(costs[start:stop]) for start, stop in zip((0, *cuts), (*cuts, len(costs)))]
    for place, cost in zip(places, stages):
        loads[place] += cost
    return max(loads), max(stages)


@given(
    costs=st.lists(st.floats(0, 1e6) | st.integers(0, 5).map(float), min_size=1, max_size=9),
    ranks=st.integers(1, 9),
    placement=st.sampled_from(["one", "loop", "v"]),
)
def test_cut_is_as_good_as_the_best_of_all_cuts(costs: list[float], ranks: int, placement: str) -> None:
    places = places_of(placement, ranks)[: len(costs)]
    cuts = partition(costs, places)
    assert len(cuts) == len(places) - 1
    assert list(cuts) == sorted(set(cuts))
    assert all(0 < place < len(costs) for place in cuts)
    best = min(sum(costliest(costs, places, every)) for every in combinations(range(1, len(costs)), len(places) - 1))
    assert sum(costliest(costs, places, cuts)) <= best * (1 + 1e-9) + 1e-9
    assert partition(costs, places) == cuts


@given(
    costs=st.lists(st.integers(0, 9).map(float), min_size=4, max_size=8),
    slowness=st.lists(st.sampled_from([0.5, 1.0, 1.5, 4.0]), min_size=2, max_size=4),
    placement=st.sampled_from(["one", "v"]),
)
def test_slow_ranks_count_so_many_times(costs: list[float], slowness: list[float], placement: str) -> None:
    places = places_of(placement, len(slowness))[: len(costs)]

    def judge(cuts: tuple[int, ...]) -> float:
        stages = [sum(costs[start:stop]) for start, stop in zip((0, *cuts), (*cuts, len(costs)))]
        times = [slowness[place] * cost for place, cost in zip(places, stages)]
        loads = [sum(time for place, time in zip(places, times) if place == rank) for rank in range(len(slowness))]
        return max(loads) + max(times)

    best = min(judge(every) for every in combinations(range(1, len(costs)), len(places) - 1))
    assert judge(partition(costs, places, slowness=slowness)) <= best * (1 + 1e-9)


@given(data=st.data(), ranks=st.integers(1, 3), placement=st.sampled_from(["one", "loop", "v"]))
def test_a_cut_within_memory_is_as_good_as_the_best_of_all_that_fit(
    data: st.DataObject, ranks: int, placement: str
) -> None:
    places = places_of(placement, ranks)
    count = data.draw(st.integers(len(places), 8))
    costs = data.draw(st.lists(st.integers(0, 9).map(float), min_size=count, max_size=count))
    sizes = data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    limit = data.draw(st.integers(0, sum(sizes)))

    def bytes_of(stage: int, start: int, stop: int) -> float:
        return sum(sizes[start:stop]) * (1 + stage % 2)  # a stage's activations depend on its place

    def judge(cuts: tuple[int, ...]) -> tuple[bool, float]:
        held = [0.0] * ranks
        for stage, (start, stop) in enumerate(zip((0, *cuts), (*cuts, count))):
            held[places[stage]] += bytes_of(stage, start, stop)
        return max(held) <= limit, sum(costliest(costs, places, cuts))

    every = [judge(cuts) for cuts in combinations(range(1, count), len(places) - 1)]
    fitting = [cost for fits, cost in every if fits]
    memory = Memory(limit, bytes_of)
    if not fitting:
        with pytest.raises(ValueError, match="no cut"):
            partition(costs, places, memory)
    else:
        assert judge(partition(costs, places, memory)) == (True, min(fitting))


def test_known_cuts() -> None:
    assert partition([1, 1, 1, 1], range(2)) == (2,)
    assert partition([9, 1, 1, 1], range(2)) == (1,)
    assert partition([1, 2, 3], range(3)) == (1, 2)
    assert partition([5], range(1)) == ()


def test_stages_of_one_rank_make_up_for_each_other() -> None:
    costs, places = [4.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0], places_of("v", 2)
    even = partition(costs, range(4))
    assert costliest(costs, places, even) == (8, 4)  # stages of 4, 2, 2 and 4
    assert costliest(costs, places, partition(costs, places)) == (6, 4)


@pytest.mark.parametrize("stages", [0, 4])
def test_cut_needs_a_block_for_every_stage(stages: int) -> None:
    with pytest.raises(ValueError, match="3 blocks"):
        partition([1, 1, 1], range(stages))


def test_bounds_cover_every_block_once() -> None:
    assert stage_slices((2, 5), 7) == [(0, 2), (2, 5), (5, 7)]
    assert stage_slices((), 3) == [(0, 3)]


def test_costs_are_positive_and_the_stems_is_that_of_its_convolution() -> None:
    chain = build(ModelSettings(size="s"), rows=16, classes=4, seed=0)
    costs = block_costs(chain, (2, 1, 16, 32))
    assert len(costs) == len(chain)
    assert all(cost > 0 for cost in costs)
    outputs = tensors(chain.edges(example((2, 1, 16, 32)))[1])[0].numel()
    assert costs[0] == 2 * 9 * outputs + outputs  # a product and a sum for each of 3 x 3 x 1 weights; its activations
    assert not any(p.is_meta for p in chain.parameters())
    double = block_costs(chain, (4, 1, 16, 32))
    assert double == pytest.approx([2 * cost for cost in costs])


def test_costs_do_not_depend_on_the_weights() -> None:
    one, two = (build(ModelSettings(size="s"), rows=16, classes=4, seed=seed) for seed in (0, 1))
    torch.nn.init.zeros_(next(two.parameters()))
    assert block_costs(one, (1, 1, 16, 32)) == block_costs(two, (1, 1, 16, 32))
