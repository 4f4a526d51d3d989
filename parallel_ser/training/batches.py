"""What a training step and a test see of features: batches, their order, augmentation and padding.

All randomness is a function of (seed, epoch, utterance) or (seed, epoch, step): no generator's state is carried, so a
run can stop and go on at any step, and every rank draws the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from parallel_ser.audio.augment import add_noise, gain, hops_of, shift_bands, signal_of, spec_augment, speed, stretch
from parallel_ser.models.batch import Inputs
from parallel_ser.training.network_inputs import NetworkInputs
from parallel_ser.training.settings import TrainSettings

FRAMES_STEP = 32
"""Frames of a batch are a multiple of it: few shapes to prepare, and divisible by the models' strides."""


def typical_frames(lengths: Sequence[int]) -> int:
    """Frames of a typical batch: the median utterance, filled up as batches are."""
    return -(-int(np.median(lengths)) // FRAMES_STEP) * FRAMES_STEP


@dataclass(frozen=True)
class Batch:
    """One training step's utterances and their targets ``(batch, classes)``: probabilities times the class weights."""

    inputs: Inputs
    targets: Tensor


class Training:
    """The training side of a fold, as batches of an epoch.

    With ``copies`` (the same utterances, altered) an utterance is in each epoch itself or one of its copies, all alike
    often.
    """

    def __init__(
        self,
        originals: NetworkInputs,
        labels: Sequence[int],
        classes: int,
        bands: int | None,
        settings: TrainSettings,
        hop: float,
        mean: np.ndarray | None = None,
        copies: Sequence[NetworkInputs] = (),
    ) -> None:
        self.versions, self.frames = (originals, *copies), originals.frames
        self.labels, self.classes, self.bands, self.settings = labels, classes, bands, settings
        self.mean = np.zeros((len(self.frames[0]), 1), np.float32) if mean is None else mean
        self.class_weights = torch.ones(classes)
        if settings.class_weights == "balanced":
            counts = np.bincount(labels, minlength=classes)
            self.class_weights = torch.from_numpy(len(labels) / (classes * counts.clip(1))).float()
        self.limit = max(FRAMES_STEP, int(settings.crop / hop) // FRAMES_STEP * FRAMES_STEP)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.frames) // self.settings.batch)

    def order(self, epoch: int) -> list[list[int]]:
        """The utterances of each step, shuffled.

        Not sorted by length to save padding: length goes with emotion, so batches of like length are lopsided. On
        RAVDESS that cost 0.08 of selection UAR after 25 epochs.
        """
        rng = np.random.default_rng([self.settings.seed, epoch])
        size = self.settings.batch
        shuffled = rng.permutation(len(self.frames)).tolist()
        return [shuffled[start : start + size] for start in range(0, len(shuffled), size)]

    def batches(self, epoch: int, first: int = 0, with_inputs: bool = True) -> Iterator[Batch]:
        """What the steps of an epoch see, from step ``first`` on; each is made while the step before it is done."""
        with ThreadPoolExecutor(1, "batches") as pool:
            steps = self.order(epoch)[first:]
            later = [pool.submit(self.batch, epoch, indices, with_inputs) for indices in steps[:1]]
            for indices in steps[1:]:
                batch = later.pop().result()
                later.append(pool.submit(self.batch, epoch, indices, with_inputs))
                yield batch
            yield from (one.result() for one in later)

    def batch(self, epoch: int, indices: Sequence[int], with_inputs: bool = True) -> Batch:
        """What a step sees of the utterances; without inputs ``x`` is a meta tensor of the right shape."""
        parts, lengths, beside = [], [], []
        for index in indices:
            rng = np.random.default_rng([self.settings.seed, epoch, index])
            version = self._drawn(rng)
            frames = version.frames[index]
            beside.append(version.row(index))
            length = self._length(frames, rng)
            lengths.append(min(length, self.limit))
            if with_inputs:
                parts.append(self._augmented(frames, length, rng))
        inputs = collate(parts or None, lengths, self.frames[indices[0]].shape[0])
        seeds = np.random.SeedSequence([self.settings.seed, epoch, *indices]).generate_state(len(indices), np.uint64)
        seed = torch.from_numpy((seeds >> np.uint64(2)).astype(np.int64))
        extras = {name: torch.stack([one[name] for one in beside]) for name in beside[0]}
        inputs = replace(inputs, seed=seed, extras=extras)
        smooth = self.settings.label_smoothing
        targets = torch.full((len(indices), self.classes), smooth / self.classes)
        targets[torch.arange(len(indices)), [self.labels[index] for index in indices]] += 1.0 - smooth
        return self._mixed(Batch(inputs, targets * self.class_weights), epoch, indices)

    def _drawn(self, rng: np.random.Generator) -> NetworkInputs:
        """The utterances or a copy of them: the first draw of an utterance's generator, where there are copies."""
        versions = self.versions
        return versions[int(rng.integers(0, len(versions)))] if len(versions) > 1 else versions[0]

    def _length(self, frames: np.ndarray, rng: np.random.Generator) -> int:
        """Frames after warping; drawn before all that changes values, so that a length is known without them."""
        length, warp = frames.shape[1], self.settings.warp
        return warped_length(length, warp, rng) if warp else length

    def _augmented(self, frames: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
        if self.settings.warp:
            frames = warped(frames, length, self.settings.warp, self.bands, rng)
        if length > self.limit:
            start = int(rng.integers(0, length - self.limit + 1))
            frames = frames[:, start : start + self.limit]
        if self.bands is None:
            frames = self._as_signal(frames, rng)
        axes = (1,) if self.bands is None else (0, 1)
        return spec_augment(frames, rng, self.mean, axes=axes) if self.settings.spec_augment else frames

    def _as_signal(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A waveform's hops with noise and at another level."""
        signal = signal_of(frames)
        if self.settings.noise is not None:
            signal = add_noise(signal, rng, self.settings.noise)
        if self.settings.gain:
            signal = gain(signal, rng, self.settings.gain)
        return hops_of(signal, len(frames))

    def _mixed(self, batch: Batch, epoch: int, indices: Sequence[int]) -> Batch:
        """Mixup (Zhang et al. 2018): each utterance with another of the batch, in one random proportion."""
        if not self.settings.mixup or len(indices) < 2:
            return batch
        rng = np.random.default_rng([self.settings.seed, epoch, len(indices), *indices[:1]])
        share = float(rng.beta(self.settings.mixup, self.settings.mixup))
        other = torch.from_numpy(rng.permutation(len(indices)))
        inputs = batch.inputs

        def mixed(one: Tensor) -> Tensor:
            return one if one.is_meta else share * one + (1.0 - share) * one[other]

        valid = torch.maximum(inputs.valid, inputs.valid[other])
        extras = {name: mixed(one) for name, one in inputs.extras.items()}
        return Batch(Inputs(mixed(inputs.x), valid, inputs.seed, extras), mixed(batch.targets))


def warped_length(length: int, warp: float, rng: np.random.Generator) -> int:
    """Frames of an utterance of ``length`` frames after a random stretch of up to ``warp``."""
    return max(1, round(length * rng.uniform(1.0 - warp, 1.0 + warp)))


def warped(frames: np.ndarray, length: int, warp: float, bands: int | None, rng: np.random.Generator) -> np.ndarray:
    """Features stretched to ``length`` frames, their log-mel bands shifted by up to half of ``warp``; a waveform, where
    ``bands`` is None, is played at another speed."""
    if bands is None:
        return hops_of(speed(signal_of(frames), length * len(frames)), len(frames))
    return shift_bands(stretch(frames, length), rng.uniform(1.0 - warp / 2, 1.0 + warp / 2), bands)


@dataclass(frozen=True)
class Views:
    """Several versions of each utterance at test time, whose probabilities are averaged.

    Attributes:
        count: of versions; the first is the utterance itself.
        warp: largest relative stretch of time, and half of it of frequency.
        bands: see ``count_bands``.
    """

    count: int
    warp: float
    bands: int | None

    def mean(self, classify: Callable[[NetworkInputs], np.ndarray], versions: Iterable[NetworkInputs]) -> np.ndarray:
        """The mean of ``classify``'s probabilities ``(utterances, classes)`` over the views of each version of the
        utterances: the recordings, and perhaps altered copies of them."""
        rows = []
        for inputs in versions:
            for number in range(self.count):
                frames = [self._view(one, number) for one in inputs.frames]
                rows.append(classify(NetworkInputs(frames, inputs.extras)))
        return np.mean(rows, axis=0)

    def _view(self, frames: np.ndarray, number: int) -> np.ndarray:
        if not number:
            return frames
        rng = np.random.default_rng(number)
        length = warped_length(frames.shape[1], self.warp, rng)
        return warped(frames, length, self.warp, self.bands, rng)


def collate(parts: Sequence[np.ndarray] | None, lengths: Sequence[int], rows: int) -> Inputs:
    """Features ``(rows, frames)`` of unequal length as one batch, padded with zeros at the end.

    Args:
        parts: the features; None gives a meta tensor of the same shape.
        lengths: frames of each before padding.
        rows: of each frame.
    """
    frames = -(-max(lengths) // FRAMES_STEP) * FRAMES_STEP
    valid = torch.tensor([length / frames for length in lengths])
    seed = torch.zeros(len(lengths), dtype=torch.int64)
    if parts is None:
        return Inputs(torch.empty(len(lengths), 1, rows, frames, device="meta"), valid, seed)
    x = torch.zeros(len(lengths), 1, rows, frames)
    for place, part in enumerate(parts):
        x[place, 0, :, : part.shape[1]] = torch.from_numpy(np.ascontiguousarray(part))
    return Inputs(x, valid, seed)


def evaluation_batches(inputs: NetworkInputs, batch: int) -> Iterator[tuple[list[int], Inputs]]:
    """All utterances, whole, in batches of like length: their places and the inputs. None is left out."""
    order = sorted(range(len(inputs)), key=lambda index: inputs.frames[index].shape[1])
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        some = inputs.take(places)
        collated = collate(some.frames, [one.shape[1] for one in some.frames], len(some.frames[0]))
        yield places, replace(collated, extras=some.extras)


def probabilities(predict: Callable[[Inputs], Tensor], inputs: NetworkInputs, batch: int) -> np.ndarray:
    """Class probabilities ``(utterances, classes)`` in double precision, in the order of ``inputs``.

    Args:
        predict: gives the logits.
        inputs: utterances as the network sees them.
        batch: utterances at a time, at the most.
    """
    rows: dict[int, np.ndarray] = {}
    for places, batched in evaluation_batches(inputs, batch):
        rows |= zip(places, predict(batched).double().softmax(1).numpy(), strict=True)
    return np.stack([rows[place] for place in range(len(inputs))])
