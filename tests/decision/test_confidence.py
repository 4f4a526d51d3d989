from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel_ser.decision.confidence import Decision, decide
from parallel_ser.errors import UserError

CLASSES = ("sad", "joy", "anger")


def test_the_highest_probability_is_decided_with_its_confidence() -> None:
    first, second = decide(np.array([[0.2, 0.7, 0.1], [0.1, 0.3, 0.6]]), CLASSES)
    assert first == Decision("joy", 0.7, (("joy", 0.7), ("sad", 0.2), ("anger", 0.1)))
    assert (second.emotion, second.confidence) == ("anger", 0.6)


def test_a_tie_takes_the_order_of_the_classes() -> None:
    (decision,) = decide(np.full((1, 3), 1 / 3), CLASSES)
    assert [name for name, _ in decision.ranked] == list(CLASSES)
    (decision,) = decide(np.array([[0.2, 0.4, 0.4]]), CLASSES)
    assert [name for name, _ in decision.ranked] == ["joy", "anger", "sad"]


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5).filter(any), max_size=4))
def test_ranked_is_a_sorted_permutation(weights: list[list[int]]) -> None:
    table = np.array(weights, dtype=float).reshape(-1, 5)
    classes = tuple("edcba")
    decisions = decide(table / np.maximum(table.sum(axis=1, keepdims=True), 1), classes)
    assert len(decisions) == len(weights)
    for decision, row in zip(decisions, weights):
        expected = sorted(range(5), key=lambda index: (-row[index], index))
        assert [name for name, _ in decision.ranked] == [classes[index] for index in expected]
        assert decision.ranked[0] == (decision.emotion, decision.confidence)
        assert decision.confidence == pytest.approx(max(row) / sum(row))


def test_float32_scores_are_taken() -> None:
    assert decide(np.array([[0.5, 0.25, 0.25]], dtype=np.float32), CLASSES)[0].confidence == 0.5


def test_no_decision_without_a_number() -> None:
    with pytest.raises(UserError, match="utterance 2 has a probability that is not finite"):
        decide(np.array([[1, 0, 0], [np.nan, 0.5, 0.5]]), CLASSES)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 2)])
def test_columns_and_classes_must_agree(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit 3 classes"):
        decide(np.zeros(shape), CLASSES)
