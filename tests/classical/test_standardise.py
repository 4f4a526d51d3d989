"""Speaker normalisation: whose statistics standardise whom."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel_ser.classical.sample import Frames
from parallel_ser.classical.standardise import Mode, Standardiser, references

SPEAKERS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=40).map(np.array)


def vectors(count: int, values: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(5.0, 3.0, (count, values))


def frames_of(lengths: list[int], values: int = 2) -> Frames:
    rng = np.random.default_rng(1)
    return Frames.join(
        [rng.normal(place, 1 + place, (n, values)).astype(np.float32) for place, n in enumerate(lengths)]
    )


@given(SPEAKERS, st.integers(0, 12), st.integers(0, 5))
def test_every_utterance_is_standardised_once_by_its_own_speaker(speakers: np.ndarray, count: int, seed: int) -> None:
    found = references(speakers, count, seed)
    assert sorted(np.concatenate([one.members for one in found]).tolist()) == list(range(len(speakers)))
    for one in found:
        assert len(set(speakers[np.concatenate([one.members, one.sources])])) == 1
        assert len(set(one.sources.tolist())) == len(one.sources)


@given(SPEAKERS, st.integers(1, 12), st.integers(0, 5))
def test_an_enrolled_utterance_is_not_among_its_own_sources(speakers: np.ndarray, count: int, seed: int) -> None:
    for one in references(speakers, count, seed):
        others = int((speakers == speakers[one.members[0]]).sum()) - 1
        if others:
            assert not set(one.members) & set(one.sources)
            assert len(one.sources) == min(count, others)
        else:
            assert one.sources.tolist() == one.members.tolist()


def test_a_draw_depends_on_the_seed_and_on_nothing_else() -> None:
    speakers = np.array(list("aabbab") * 6)

    def drawn(seed: int) -> list[list[int]]:
        return [one.sources.tolist() for one in references(speakers, 3, seed)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@given(SPEAKERS)
def test_speaker_mode_gives_each_speaker_zero_mean_and_unit_deviation(speakers: np.ndarray) -> None:
    values = vectors(len(speakers))
    found = Standardiser("speaker").fit(values, speakers)(values, speakers)
    for speaker in np.unique(speakers):
        own = np.asarray(found)[speakers == speaker]
        np.testing.assert_allclose(own.mean(axis=0), 0.0, atol=1e-9)
        np.testing.assert_allclose(own.std(axis=0), float(len(own) > 1), atol=1e-9)


@pytest.mark.parametrize("mode", ["none", "train", "speaker", "enrol"])
def test_frames_are_standardised_as_vectors_are(mode: Mode) -> None:
    speakers = np.array(list("abbabaabbbaa"))
    values = vectors(12).astype(np.float32)
    ours = Standardiser(mode, 2).fit(values[:6], speakers[:6])
    theirs = Standardiser(mode, 2).fit(Frames.join(list(values[:6, None])), speakers[:6])
    as_frames = theirs(Frames.join(list(values[:, None])), speakers)
    assert isinstance(as_frames, Frames)
    np.testing.assert_allclose(np.concatenate(list(as_frames)), ours(values, speakers), atol=1e-5)
    training = theirs.training(Frames.join(list(values[:, None])), speakers)
    np.testing.assert_allclose(np.concatenate(list(training)), ours.training(values, speakers), atol=1e-5)


def test_statistics_of_frames_are_over_all_frames_of_a_speaker() -> None:
    frames = frames_of([3, 10, 1, 6])
    speakers = np.array(list("abab"))
    found = Standardiser("speaker").fit(frames, speakers)(frames, speakers)
    assert isinstance(found, Frames)
    assert [len(one) for one in found] == [3, 10, 1, 6]
    assert found.rows.dtype == np.float32
    for own in ((0, 2), (1, 3)):
        rows = np.concatenate([found[place] for place in own])
        np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-5)
        np.testing.assert_allclose(rows.std(axis=0), 1.0, atol=1e-5)


def test_train_mode_uses_the_training_speakers_alone() -> None:
    train, test, whose = vectors(20), 100.0 + vectors(5), np.repeat(["c", "d"], 10)
    standardiser = Standardiser("train").fit(train, whose)
    expected = (test - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(standardiser(test, np.array(list("aabbb"))), expected)
    centred = Standardiser("train", scale=False).fit(train, whose)
    np.testing.assert_allclose(centred(test, np.array(list("aabbb"))), test - train.mean(axis=0))


def test_enrol_trains_with_all_and_tests_with_the_drawn_utterances() -> None:
    values, speakers = vectors(30), np.repeat(["a", "b"], 15)
    enrol = Standardiser("enrol", 4, seed=3, prior=0.0).fit(values, speakers)
    speaker = Standardiser("speaker").fit(values, speakers)
    np.testing.assert_array_equal(enrol.training(values, speakers), speaker.training(values, speakers))
    found = np.asarray(enrol(values, speakers))
    for one in references(speakers, 4, 3):
        sources = values[one.sources]
        expected = (values[one.members] - sources.mean(axis=0)) / sources.std(axis=0)
        np.testing.assert_allclose(found[one.members], expected)


def test_a_value_that_never_varies_stays_finite() -> None:
    values = np.ones((6, 2))
    for mode in ("train", "speaker", "enrol"):
        whose = np.array(list("aaaabb"))
        found = Standardiser(mode, 2).fit(values, whose)(values, whose)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, 0.0)


def test_an_enrolment_is_drawn_to_the_training_speakers_statistics() -> None:
    train, test = vectors(20), 3.0 + 2.0 * vectors(9)
    whose, one = np.repeat(["c", "d"], 10), np.repeat("e", 9)
    found = np.asarray(Standardiser("enrol", 4, seed=3, prior=4.0).fit(train, whose)(test, one))
    within = [train[:10], train[10:]]
    mean = np.mean([own.mean(axis=0) for own in within], axis=0)
    variance = np.mean([own.var(axis=0) for own in within], axis=0)
    for drawn in references(one, 4, 3):
        sources = test[drawn.sources]
        assert len(sources) == 4
        half = (sources.mean(axis=0) + mean) / 2
        expected = (test[drawn.members] - half) / np.sqrt((sources.var(axis=0) + variance) / 2)
        np.testing.assert_allclose(found[drawn.members], expected)
