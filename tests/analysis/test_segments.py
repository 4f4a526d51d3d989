"""Segments of made-up probabilities, whose borders are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel_ser.analysis.segments import LONGEST, MARGIN, Segmenter, Span

FRAME = 0.02


def made(*lengths: float) -> tuple[np.ndarray, np.ndarray]:
    """Silence and speech in turn, each so many seconds: probabilities, and levels of -80 and -20 dB."""
    speech = np.concatenate([np.full(round(one / FRAME), place % 2) for place, one in enumerate(lengths)])
    return speech.astype(float), -80.0 + 60.0 * speech


def segments(probabilities: np.ndarray, levels: np.ndarray, block: int = 10**9) -> list[Span]:
    segmenter, found = Segmenter(FRAME), []
    for start in range(0, len(levels), block):
        found += segmenter(probabilities[start : start + block], levels[start : start + block])
    return found + segmenter.flush()


def spans(found: list[Span]) -> list[tuple[float, float]]:
    return [(round(one.start + MARGIN, 6), round(one.end - MARGIN, 6)) for one in found]


def test_a_long_pause_ends_a_segment_and_a_short_one_does_not() -> None:
    found = segments(*made(1.0, 1.0, 0.3, 0.8, 0.7, 1.2, 1.0))
    assert spans(found) == [(1.0, 3.1), (3.8, 5.0)]
    assert [tuple(round(x, 6) for x in pair) for pair in found[0].regions] == [(1.0, 2.0), (2.3, 3.1)]
    assert found[0].speech == pytest.approx(1.8)


def test_once_it_is_long_enough_any_pause_ends_it() -> None:
    assert spans(segments(*made(0.5, 3.2, 0.26, 2.0, 1.0))) == [(0.5, 3.7), (3.96, 5.96)]


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    probabilities, levels = made(1.0, 8.0, 1.0)
    levels[round(5.0 / FRAME)] = -40.0
    assert spans(segments(probabilities, levels)) == [(1.0, 5.0), (5.0, 9.0)]


def test_borders_move_to_where_the_sound_ends() -> None:
    probabilities, levels = made(2.0, 2.0, 2.0)
    late = np.roll(probabilities, round(0.1 / FRAME))  # a network that hears late
    late[round(2.0 / FRAME) : round(3.0 / FRAME)] = 1.0
    assert spans(segments(late, levels)) == [(2.0, 4.0)]
    assert spans(segments(late, np.full(len(levels), -20.0))) == [(2.0, 4.1)]  # nothing to be told from the level


def test_a_pause_that_the_level_shows_to_be_long_ends_a_segment() -> None:
    probabilities, levels = made(2.0, 1.0, 0.6, 1.0, 1.0)
    early = probabilities.copy()
    early[round(3.0 / FRAME) : round(3.1 / FRAME)] = early[round(3.5 / FRAME) : round(3.6 / FRAME)] = 1.0
    assert spans(segments(early, levels)) == [(2.0, 3.0), (3.6, 4.6)]
    assert spans(segments(early, np.full(len(levels), -20.0))) == [(2.0, 4.6)]  # 0.4 s, as the network hears it


@pytest.mark.parametrize(("below", "expected"), [(24.0, (1.0, 4.0)), (26.0, (1.4, 3.4))])
def test_a_breath_before_or_behind_is_left_out(below: float, expected: tuple[float, float]) -> None:
    probabilities, levels = made(1.0, 0.2, 0.2, 0.8, 0.4, 0.8, 0.2, 0.4, 1.0)
    for start, end in ((1.0, 1.2), (3.6, 4.0)):
        levels[round(start / FRAME) : round(end / FRAME)] -= below
    assert spans(segments(probabilities, levels)) == [expected]
    levels[round(2.6 / FRAME) : round(3.4 / FRAME)] -= below  # nothing is left out between others
    levels[round(3.6 / FRAME) : round(4.0 / FRAME)] += below
    assert spans(segments(probabilities, levels)) == [(expected[0], 4.0)]


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=8),
    block=st.integers(1, 400),
    seed=st.integers(0, 2**16),
)
def test_blocks_change_nothing_and_no_segment_is_too_long(lengths: list[int], block: int, seed: int) -> None:
    probabilities, levels = made(*[one * FRAME for one in lengths])
    levels = levels + np.random.default_rng(seed).normal(0.0, 3.0, len(levels))
    whole = segments(probabilities, levels)
    assert segments(probabilities, levels, block) == whole
    edges = [edge for one in whole for pair in one.regions for edge in pair]
    assert edges == sorted(edges)
    assert all(one.regions[-1][1] - one.regions[0][0] <= LONGEST + 0.7 for one in whole)


def test_what_is_not_needed_any_more_is_told() -> None:
    segmenter = Segmenter(FRAME)
    segmenter(*made(100.0, 1.0, 1.0))
    assert 101.0 < segmenter.needed <= 102.0
    segmenter(*made(0.02, 1.0))
    assert 101.0 < segmenter.needed <= 102.02
