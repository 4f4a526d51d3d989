"""Batches: every utterance once, the same draws for all ranks, targets and crops as the settings say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from parallel_ser.training.batches import FRAMES_STEP, Training, collate, evaluation_batches, probabilities
from parallel_ser.training.network_inputs import NetworkInputs
from parallel_ser.training.optim import cross_entropy
from parallel_ser.training.settings import TrainSettings

ROWS, CLASSES, HOP = 6, 4, 0.01


def utterances(count: int, longest: int = 90, start: int = 0) -> list[np.ndarray]:
    """Features whose every value tells the utterance: its number, from 1."""
    rng = np.random.default_rng(start)
    return [np.full((ROWS, int(rng.integers(5, longest))), index + 1, dtype=np.float32) for index in range(count)]


def training(frames: list[np.ndarray], **changes: Any) -> Training:
    plain = {"spec_augment": False, "warp": 0.0, "label_smoothing": 0.0, "batch": 5}
    chosen = TrainSettings.model_validate({**plain, **changes})
    return Training(NetworkInputs(frames), [index % CLASSES for index in range(len(frames))], CLASSES, 4, chosen, HOP)


@settings(max_examples=50)
@given(count=st.integers(1, 200), batch=st.integers(1, 40), epoch=st.integers(0, 5))
def test_an_epoch_sees_every_utterance_once(count: int, batch: int, epoch: int) -> None:
    side = training(utterances(count, 20), batch=batch)
    order = side.order(epoch)
    assert sorted(index for step in order for index in step) == list(range(count))
    assert len(order) == len(side)
    assert sorted(map(len, order), reverse=True)[:-1] == [batch] * (len(order) - 1)


def test_balanced_class_weights_give_torchs_weighted_loss() -> None:
    labels = [0, 0, 0, 0, 0, 0, 1, 1, 2]
    chosen = TrainSettings(class_weights="balanced", label_smoothing=0.2, batch=9, warp=0.0)
    side = Training(NetworkInputs(utterances(9)), labels, 3, 4, chosen, HOP)
    targets = side.batch(0, list(range(9))).targets
    logits = torch.randn(9, 3, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([9 / (3 * 6), 9 / (3 * 2), 9 / 3])
    soft = 0.8 * functional.one_hot(torch.tensor(labels), 3) + 0.2 / 3
    truth = functional.cross_entropy(logits, soft, weight=weights, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, targets), truth)
    share = torch.stack([weights[label] for label in labels]).mean()
    assert float(share) == pytest.approx(1.0)  # the learning rate means what it meant


def test_epochs_and_seeds_differ_and_repeat() -> None:
    frames = utterances(60)
    side = training(frames)
    assert side.order(1) == training(frames).order(1)
    assert side.order(1) != side.order(2)
    assert side.order(1) != training(frames, seed=1).order(1)


def test_an_utterance_is_itself_or_a_copy_equally_often() -> None:
    frames = utterances(40)
    own, *copies = [
        NetworkInputs([number * 100 + one for one in frames], {"number": torch.arange(40) + number * 100 + 1})
        for number in range(3)
    ]
    labels = [index % CLASSES for index in range(len(frames))]
    chosen = TrainSettings(batch=40, spec_augment=False, warp=0.0, copies=2)
    side = Training(own, labels, CLASSES, 4, chosen, HOP, copies=copies)
    batches = [side.batch(epoch, range(40)).inputs for epoch in range(60)]
    drawn = np.array([one.x[:, 0, 0, 0].numpy() for one in batches])
    assert np.array_equal(drawn, [one.extras["number"].numpy() for one in batches])  # of the same version
    assert np.array_equal(drawn % 100, np.tile(np.arange(1, 41), (60, 1)))  # each by its own features
    shares = [np.mean(drawn // 100 == number) for number in range(3)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)  # 2400 draws: three deviations
    again = Training(own, labels, CLASSES, 4, chosen, HOP, copies=copies)
    assert np.array_equal(again.batch(7, range(40)).inputs.x[:, 0, 0, 0].numpy(), drawn[7])


ALL = {"spec_augment": True, "warp": 0.1, "label_smoothing": 0.1, "mixup": 0.4, "crop": 0.5}


def noise(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal((ROWS, int(rng.integers(20, 120)))).astype(np.float32) for _ in range(count)]


def test_a_batch_is_a_function_of_seed_and_epoch() -> None:
    frames = noise(12)
    indices = [3, 0, 7, 11, 5]
    one, same = (training(frames, **ALL).batch(2, indices) for _ in range(2))
    assert torch.equal(one.inputs.x, same.inputs.x)
    assert torch.equal(one.inputs.seed, same.inputs.seed)
    assert torch.equal(one.targets, same.targets)
    for other in (training(frames, **ALL).batch(3, indices), training(frames, **ALL, seed=1).batch(2, indices)):
        assert not torch.equal(one.inputs.seed, other.inputs.seed)
        assert one.inputs.x.shape != other.inputs.x.shape or not torch.equal(one.inputs.x, other.inputs.x)


def test_the_batches_of_an_epoch_are_those_of_its_steps_in_their_order() -> None:
    side = training(noise(12), **ALL)
    order = side.order(1)
    for first in (0, 2):
        made = list(side.batches(1, first))
        assert len(made) == len(order) - first
        for batch, indices in zip(made, order[first:]):
            alone = side.batch(1, indices)
            assert torch.equal(batch.inputs.x, alone.inputs.x)
            assert torch.equal(batch.targets, alone.targets)


def test_every_utterance_of_a_step_has_a_seed_of_its_own_that_blocks_can_use() -> None:
    seed = training(noise(12)).batch(0, list(range(12))).inputs.seed
    assert seed.dtype == torch.int64
    assert len(set(seed.tolist())) == 12
    assert (seed >= 0).all()


@pytest.mark.parametrize("changes", [{}, ALL, {"warp": 0.2}, {"mixup": 0.2, "crop": 0.6}])
def test_a_rank_without_inputs_knows_all_else(changes: dict[str, Any]) -> None:
    side = training(noise(12), **changes)
    for epoch in range(4):
        for indices in side.order(epoch):
            full, bare = (side.batch(epoch, indices, with_inputs) for with_inputs in (True, False))
            assert bare.inputs.x.is_meta
            assert bare.inputs.x.shape == full.inputs.x.shape
            assert bare.inputs.x.dtype == full.inputs.x.dtype
            assert torch.equal(bare.inputs.valid, full.inputs.valid)
            assert torch.equal(bare.inputs.seed, full.inputs.seed)
            assert torch.equal(bare.targets, full.targets)


def test_without_augmentation_a_batch_is_the_features_padded_with_zeros() -> None:
    frames = utterances(12)
    indices = [4, 9, 1]
    batch = training(frames).batch(0, indices)
    width = batch.inputs.x.shape[-1]
    assert width % FRAMES_STEP == 0
    assert width - FRAMES_STEP < max(frames[index].shape[1] for index in indices) <= width
    for place, index in enumerate(indices):
        real = frames[index].shape[1]
        assert (batch.inputs.x[place, 0, :, :real] == index + 1).all()
        assert (batch.inputs.x[place, 0, :, real:] == 0).all()
        assert float(batch.inputs.valid[place]) * width == pytest.approx(real)
    assert batch.targets.tolist() == [
        [float(column == index % CLASSES) for column in range(CLASSES)] for index in indices
    ]


def test_targets_are_smoothed_by_the_formula() -> None:
    targets = training(utterances(12), label_smoothing=0.2).batch(0, [2, 5]).targets
    truth = [[0.05, 0.05, 0.85, 0.05], [0.05, 0.85, 0.05, 0.05]]  # 0.2 / 4 everywhere and 0.8 more on the label
    torch.testing.assert_close(targets, torch.tensor(truth))


def test_mixup_mixes_pairs_in_one_proportion() -> None:
    frames = [np.full((ROWS, 40 + 10 * index), 2.0**index, dtype=np.float32) for index in range(4)]
    shares = set()
    for epoch in range(20):
        batch = training(frames, mixup=1.0, batch=4).batch(epoch, [0, 1, 2, 3])
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(4))
        values, width = batch.inputs.x[:, 0, 0, 0].tolist(), batch.inputs.x.shape[-1]
        for place in range(4):  # labels 0 to 3 are the utterances themselves
            mixed = float((batch.targets[place] * torch.tensor([1.0, 2.0, 4.0, 8.0])).sum())
            assert values[place] == pytest.approx(mixed, rel=1e-5)
            longest = max(40 + 10 * index for index in range(4) if batch.targets[place, index] > 0)
            assert float(batch.inputs.valid[place]) * width == pytest.approx(longest)
        share = {round(max(row), 5) for row in batch.targets.tolist() if max(row) < 0.99999}
        assert len(share) <= 1
        shares |= share
    assert len(shares) > 10


def test_mixup_leaves_a_single_utterance_alone() -> None:
    batch = training(utterances(3), mixup=1.0).batch(0, [1])
    assert batch.targets.tolist() == [[0.0, 1.0, 0.0, 0.0]]


def test_a_longer_utterance_is_cropped_at_a_random_place() -> None:
    ramp = np.tile(np.arange(1, 301, dtype=np.float32), (ROWS, 1))
    side = training([ramp], crop=1.0)  # 100 frames, of which 96 are whole steps
    starts = set()
    for epoch in range(30):
        inputs = side.batch(epoch, [0]).inputs
        assert inputs.x.shape == (1, 1, ROWS, 96)
        assert inputs.valid.tolist() == [1.0]
        row = inputs.x[0, 0, 0]
        assert torch.equal(row, torch.arange(96) + row[0])
        starts.add(int(row[0]))
    assert len(starts) > 15
    assert min(starts) >= 1
    assert max(starts) + 95 <= 300


def test_warping_keeps_the_length_within_its_bounds() -> None:
    side = training([np.ones((ROWS, 200), dtype=np.float32)], warp=0.1)
    inputs = [side.batch(epoch, [0]).inputs for epoch in range(40)]
    lengths = [round(float(one.valid[0]) * one.x.shape[-1]) for one in inputs]
    assert 180 <= min(lengths) < 190
    assert 210 < max(lengths) <= 220
    for one, length in zip(inputs, lengths):
        assert torch.equal(one.x[0, 0, 0], (torch.arange(one.x.shape[-1]) < length).float())


@given(count=st.integers(1, 40), batch=st.integers(1, 12))
@settings(max_examples=40)
def test_evaluation_sees_every_utterance_once_and_whole(count: int, batch: int) -> None:
    frames = utterances(count)
    seen = []
    for places, inputs in evaluation_batches(NetworkInputs(frames), batch):
        assert len(places) == len(inputs) <= batch
        for row, place in enumerate(places):
            assert float(inputs.x[row].sum()) == frames[place].sum()
            assert round(float(inputs.valid[row]) * inputs.x.shape[-1]) == frames[place].shape[1]
        seen += places
    assert sorted(seen) == list(range(count))


def test_probabilities_come_back_in_the_order_of_the_utterances() -> None:
    frames = utterances(11)
    rows = probabilities(lambda inputs: inputs.x[:, 0, :3, 0] * torch.tensor([1.0, 0.5, 0.0]), NetworkInputs(frames), 4)
    logits = np.arange(1, 12)[:, None] * np.array([1.0, 0.5, 0.0])
    np.testing.assert_allclose(rows, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-12)


def test_collate_without_features_gives_the_shape_alone() -> None:
    inputs = collate(None, [33, 5], 7)
    assert inputs.x.is_meta
    assert inputs.x.shape == (2, 1, 7, 64)
    torch.testing.assert_close(inputs.valid, torch.tensor([33 / 64, 5 / 64]))
