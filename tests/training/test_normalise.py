"""Standardised features against their definition."""

from __future__ import annotations

import numpy as np
import pytest

from parallel_ser.training.normalise import FLOOR, Normaliser


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    scale, shift = np.array([[1.0], [9.0], [0.1]]), np.array([[0.0], [-70.0], [1000.0]])
    return [(rng.standard_normal((3, count)) * scale + shift).astype(np.float32) for count in (30, 80, 5, 44)]


SPEAKERS = ["a", "b", "a", "b"]


def standard(parts: list[np.ndarray]) -> None:
    joined = np.concatenate(parts, axis=1).astype(np.float64)
    np.testing.assert_allclose(joined.mean(1), 0, atol=2e-3)
    np.testing.assert_allclose(joined.std(1), 1, rtol=2e-3)


def test_none_changes_nothing(frames: list[np.ndarray]) -> None:
    out = Normaliser.fit("none", frames)(frames, SPEAKERS)
    assert all(np.array_equal(one, other) for one, other in zip(out, frames))


def test_train_uses_the_training_sides_statistics_alone(frames: list[np.ndarray]) -> None:
    normaliser = Normaliser.fit("train", frames[:2])
    joined = np.concatenate(frames[:2], axis=1).astype(np.float64)
    mean, deviation = joined.mean(1, keepdims=True), joined.std(1, keepdims=True)
    for one, other in zip(normaliser(frames, SPEAKERS), frames):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, (other - mean) / deviation, rtol=1e-3, atol=2e-3)
    standard(normaliser(frames[:2], SPEAKERS[:2]))


def test_each_utterance_or_speaker_becomes_standard(frames: list[np.ndarray]) -> None:
    for one in Normaliser.fit("utterance", frames[:1])(frames, SPEAKERS):
        standard([one])
    by_speaker = Normaliser.fit("speaker", frames[:1])(frames, SPEAKERS)
    standard([by_speaker[0], by_speaker[2]])
    standard([by_speaker[1], by_speaker[3]])


def test_a_speakers_features_do_not_depend_on_other_speakers(frames: list[np.ndarray]) -> None:
    normaliser = Normaliser.fit("speaker", frames[:1])
    alone = normaliser([frames[0], frames[2]], ["a", "a"])
    together = normaliser(frames, SPEAKERS)
    assert np.array_equal(alone[0], together[0])
    assert np.array_equal(alone[1], together[2])


@pytest.mark.parametrize("mode", ["utterance", "train", "speaker"])
def test_a_row_that_never_varies_stays_finite(mode: str) -> None:
    flat = [np.full((2, 9), 7.0, dtype=np.float32)]
    out = Normaliser.fit(mode, flat)(flat, ["a"])[0]
    np.testing.assert_allclose(out, 0, atol=1e-5 / FLOOR)


def test_the_statistics_survive_a_checkpoint_to_the_bit(frames: list[np.ndarray]) -> None:
    normaliser = Normaliser.fit("train", frames)
    again = Normaliser.from_state(normaliser.state())
    for one, other in zip(normaliser(frames, SPEAKERS), again(frames, SPEAKERS)):
        assert np.array_equal(one, other)
    assert again.mode == "train"
