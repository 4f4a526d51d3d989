"""From a corpus to batches: what is trained on, in which order, and what a step sees of it.

All randomness is a function of (seed, epoch, utterance) or (seed, epoch, step): no generator's state is carried, so a
run can stop and go on at any step, and every rank draws the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parallel_ser.audio.augment import add_noise, gain, hops_of, shift_bands, signal_of, spec_augment, speed, stretch
from parallel_ser.audio.cache import FeatureCache, require
from parallel_ser.audio.extract import Features
from parallel_ser.config import Config
from parallel_ser.corpora import protocols, registry
from parallel_ser.corpora.audit import Audit, audit
from parallel_ser.corpora.base import Corpus, Problem, Utterance
from parallel_ser.corpora.content import RecordingError
from parallel_ser.corpora.copies import copy_ids
from parallel_ser.corpora.protocols import Fold
from parallel_ser.errors import UserError
from parallel_ser.models.batch import Inputs
from parallel_ser.training.encoder_view import AnyFeatures, extractor_of
from parallel_ser.training.extras import require_transcripts
from parallel_ser.training.predictions import Predictions
from parallel_ser.training.settings import TrainSettings

FRAMES_STEP = 32
"""Frames of a batch are a multiple of it: few shapes to prepare, and divisible by the models' strides."""


def typical_frames(lengths: Sequence[int]) -> int:
    """Frames of a typical batch: the median utterance, filled up as batches are."""
    return -(-int(np.median(lengths)) // FRAMES_STEP) * FRAMES_STEP


def input_shape(config: Config, seconds: float) -> tuple[int, int]:
    """Rows and frames of a typical batch whose typical utterance lasts so many seconds."""
    rows = len(extractor_of(config.audio, config.features).names)
    return rows, typical_frames([max(1, round(seconds / config.features.hop))])


def count_bands(rows: Sequence[str]) -> int | None:
    """How many of the first rows are log-mel bands, which can be shifted along the frequency axis.

    None where the rows are the samples of a waveform's hops.
    """
    if rows[0].startswith("waveform"):
        return None
    return next((place for place, name in enumerate(rows) if not name.startswith("logmel")), len(rows))


@dataclass(frozen=True)
class Dataset:
    """All utterances of a run with their features.

    Attributes:
        utterances: of the corpus, then of the corpus tested on (``cross-corpus``).
        classes: that can be predicted; column order of every logit.
        rows: names of the features in each frame.
        frames: of each utterance, ``(rows, frames)`` float32, as extracted.
        audio_ids: hash of each utterance's decoded samples.
        notes: what a reader of a result must know of the corpora.
        measures: of each utterance as a whole, by name.
        fingerprints: of each utterance, see ``audio.fingerprint``.
        left_out: recordings without features.
    """

    utterances: tuple[Utterance, ...]
    classes: tuple[str, ...]
    rows: tuple[str, ...]
    frames: list[np.ndarray]
    audio_ids: list[str]
    notes: tuple[str, ...] = ()
    measures: list[dict[str, float]] = field(default_factory=list)
    fingerprints: list[bytes] = field(default_factory=list)
    left_out: tuple[Problem, ...] = ()

    @property
    def bands(self) -> int | None:
        """See ``count_bands``."""
        return count_bands(self.rows)

    @property
    def typical_frames(self) -> int:
        """Of a batch; see the function."""
        return typical_frames([one.shape[1] for one in self.frames])

    def label(self, index: int) -> int:
        """Place of an utterance's emotion among ``classes``."""
        return self.classes.index(self.utterances[index].emotion)

    def speakers(self, indices: Sequence[int]) -> list[str]:
        """Of the utterances at ``indices``."""
        return [self.utterances[index].speaker for index in indices]

    def take(self, indices: Sequence[int]) -> Dataset:
        """The utterances at ``indices`` alone."""
        return replace(
            self,
            utterances=tuple(self.utterances[index] for index in indices),
            frames=[self.frames[index] for index in indices],
            audio_ids=[self.audio_ids[index] for index in indices],
            measures=[self.measures[index] for index in indices],
            fingerprints=[self.fingerprints[index] for index in indices],
        )

    def said(self, indices: Sequence[int], fold: int, rows: np.ndarray) -> Predictions:
        """Probabilities ``(utterances, classes)`` of the utterances at ``indices`` with what they are of."""
        told = [self.utterances[index] for index in indices]
        return Predictions(
            paths=tuple(str(one.path) for one in told),
            speakers=tuple(one.speaker for one in told),
            sexes=tuple(one.sex for one in told),
            folds=np.full(len(told), fold),
            truth=tuple(one.emotion for one in told),
            classes=self.classes,
            probabilities=rows,
        )


def corpora_of(config: Config) -> tuple[Corpus, Corpus | None]:
    """The corpus trained on, and under ``cross-corpus`` the one tested on."""
    return registry.load_pair(config.corpus, config.split.test, config.run.jobs or None)


def prepare(
    config: Config, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, list[Fold], list[Audit]]:
    """Read the corpus, split it, extract or look up its features, and audit the split.

    Raises:
        UserError: whatever is wrong with the corpus, its files or the protocol.
    """
    corpus, test = corpora_of(config)
    if len(corpus.classes) == 1:
        raise UserError(
            f"corpus {corpus.name} has one emotion, {corpus.classes[0]}, and two are needed to tell apart: "
            "choose others with corpus.emotions, corpus.where or corpus.labels."
        )
    require_transcripts(config.model, (*corpus.utterances, *(test.utterances if test else ())))
    folds = protocols.folds(corpus, config.split, test)  # before the features, for what is wrong with the protocol
    data, sound = usable(config, [corpus, *([test] if test else [])], progress)
    if data.left_out:
        folds = protocols.folds(sound[0], config.split, sound[1] if test else None)
    if len(folds) < folds[0].of:
        note = f"{len(folds)} of the {folds[0].of} folds of protocol {folds[0].protocol}: not yet its figure"
        data = replace(data, notes=(note, *data.notes))
    copies = copy_ids(data.audio_ids, data.fingerprints, [one["duration_s"] for one in data.measures])
    return data, folds, [audit(data.utterances, fold, data.audio_ids, copies) for fold in folds]


def usable(
    config: Config, corpora: Sequence[Corpus], progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, list[Corpus]]:
    """The recordings of the corpora that have features, and the corpora without the others.

    Args:
        config: of the run.
        corpora: the one trained on, then perhaps the one tested on.
        progress: called with the number of files done and of all files.

    Raises:
        RecordingError: one has none and ``corpus.on_problem`` says to stop, or none has any.
    """
    settings = (config.corpus, config.split.test or config.corpus)
    extractor = extractor_of(config.audio, config.features)
    paths = [one.path for corpus in corpora for one in corpus.utterances]
    found = FeatureCache(config.run.cache, extractor).attempt(paths, config.run.jobs or -1, progress)
    sound, features, missed, start = [], [], [], 0
    for corpus, own in zip(corpora, settings, strict=False):
        part = found[start : start + len(corpus.utterances)]
        start += len(part)
        good = [one for one in part if isinstance(one, Features)]
        gone = [one for one in corpus.problems if one.kind == "missing"]
        if own.on_problem == "stop" and gone:
            raise UserError(
                f"{gone[0].path}: {gone[0].detail}. corpus.on_problem=skip leaves such recordings out, and "
                "parallel-ser corpus check lists them."
            )
        if own.on_problem == "stop" or not good:
            require(part, "corpus.on_problem=skip leaves such recordings out, and parallel-ser corpus check lists them")
        pairs = list(zip(corpus.utterances, part, strict=True))
        problems = [
            Problem(one.path, error.kind, str(error)) for one, error in pairs if isinstance(error, RecordingError)
        ]
        kept = tuple(one for one, made in pairs if isinstance(made, Features))
        emotions = {one.emotion for one in kept}
        classes = tuple(name for name in corpus.classes if name in emotions) if problems else corpus.classes
        sound.append(replace(corpus, utterances=kept, classes=classes, problems=(*corpus.problems, *problems)))
        features += good
        missed += problems
    utterances = tuple(one for corpus in sound for one in corpus.utterances)
    data = of_features(utterances, sound[0].classes, extractor, features)
    notes = tuple(note for one in sound for note in (*one.notes, left_out(one)) if note)
    return replace(data, notes=notes, left_out=tuple(missed)), sound


def left_out(corpus: Corpus) -> str:
    """Which files of a corpus are not among its utterances; empty when all are.

    >>> from pathlib import Path
    >>> from parallel_ser.corpora.base import Problem
    >>> left_out(Corpus("tess", (), (), (Problem(Path("a.wav"), "duplicate", "same name as b/a.wav"),)))
    'left out of tess: 1 duplicate; parallel-ser corpus check lists them'
    """
    read = {one.path for one in corpus.utterances}
    kinds = Counter(problem.kind for problem in corpus.problems if problem.path not in read)
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return f"left out of {corpus.name}: {told}; parallel-ser corpus check lists them" if told else ""


def of_features(
    utterances: Sequence[Utterance], classes: tuple[str, ...], extractor: AnyFeatures, features: Sequence[Features]
) -> Dataset:
    """Utterances with features that are at hand."""
    return Dataset(
        tuple(utterances),
        classes,
        tuple(extractor.names),
        [one.frames for one in features],
        [one.audio_id for one in features],
        measures=[one.measures for one in features],
        fingerprints=[one.fingerprint for one in features],
    )


def of_attempts(
    utterances: Sequence[Utterance],
    classes: tuple[str, ...],
    extractor: AnyFeatures,
    attempts: Iterable[Features | UserError],
) -> tuple[Dataset, dict[Path, UserError]]:
    """The utterances that have features, and why each of the others has none, by its path."""
    pairs = list(zip(utterances, attempts, strict=True))
    good = [(one, made) for one, made in pairs if isinstance(made, Features)]
    problems = {one.path: made for one, made in pairs if isinstance(made, UserError)}
    return of_features([one for one, _ in good], classes, extractor, [made for _, made in good]), problems


@dataclass(frozen=True)
class Batch:
    """One training step's utterances and their targets ``(batch, classes)``: probabilities times the class weights."""

    inputs: Inputs
    targets: Tensor


class Training:
    """The training side of a fold, as batches of an epoch."""

    def __init__(
        self,
        frames: Sequence[np.ndarray],
        labels: Sequence[int],
        classes: int,
        bands: int | None,
        settings: TrainSettings,
        hop: float,
        mean: np.ndarray | None = None,
        extras: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.frames, self.labels, self.classes, self.bands, self.settings = frames, labels, classes, bands, settings
        self.mean = np.zeros((len(frames[0]), 1), np.float32) if mean is None else mean
        self.extras = extras or {}
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
        parts, lengths = [], []
        for index in indices:
            rng = np.random.default_rng([self.settings.seed, epoch, index])
            length = self._length(index, rng)
            lengths.append(min(length, self.limit))
            if with_inputs:
                parts.append(self._augmented(index, length, rng))
        inputs = collate(parts or None, lengths, self.frames[indices[0]].shape[0])
        seeds = np.random.SeedSequence([self.settings.seed, epoch, *indices]).generate_state(len(indices), np.uint64)
        seed = torch.from_numpy((seeds >> np.uint64(2)).astype(np.int64))
        inputs = replace(inputs, seed=seed, extras=taken(self.extras, indices))
        smooth = self.settings.label_smoothing
        targets = torch.full((len(indices), self.classes), smooth / self.classes)
        targets[torch.arange(len(indices)), [self.labels[index] for index in indices]] += 1.0 - smooth
        return self._mixed(Batch(inputs, targets * self.class_weights), epoch, indices)

    def _length(self, index: int, rng: np.random.Generator) -> int:
        """Frames after warping; the first draw of the utterance's generator, so that a length is known without data."""
        length, warp = self.frames[index].shape[1], self.settings.warp
        return warped_length(length, warp, rng) if warp else length

    def _augmented(self, index: int, length: int, rng: np.random.Generator) -> np.ndarray:
        frames = self.frames[index]
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
        x = inputs.x if inputs.x.is_meta else share * inputs.x + (1.0 - share) * inputs.x[other]
        valid = torch.maximum(inputs.valid, inputs.valid[other])
        return Batch(Inputs(x, valid, inputs.seed), share * batch.targets + (1.0 - share) * batch.targets[other])


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

    def mean(self, classify: Callable[[list[np.ndarray]], np.ndarray], frames: Sequence[np.ndarray]) -> np.ndarray:
        """The mean over the views of ``classify``'s probabilities ``(utterances, classes)``."""
        return np.mean([classify([self._view(one, number) for one in frames]) for number in range(self.count)], axis=0)

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


def taken(extras: Mapping[str, Tensor], places: Sequence[int]) -> dict[str, Tensor]:
    """The rows of the utterances at ``places``."""
    return {name: rows[list(places)] for name, rows in extras.items()}


def evaluation_batches(
    frames: Sequence[np.ndarray], batch: int, extras: Mapping[str, Tensor] | None = None
) -> Iterator[tuple[list[int], Inputs]]:
    """All utterances, whole, in batches of like length: their places and the inputs. None is left out."""
    order = sorted(range(len(frames)), key=lambda index: frames[index].shape[1])
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        parts = [frames[place] for place in places]
        inputs = collate(parts, [part.shape[1] for part in parts], parts[0].shape[0])
        yield places, replace(inputs, extras=taken(extras or {}, places))


def probabilities(
    predict: Callable[[Inputs], Tensor],
    frames: Sequence[np.ndarray],
    batch: int,
    extras: Mapping[str, Tensor] | None = None,
) -> np.ndarray:
    """Class probabilities ``(utterances, classes)`` in double precision, in the order of ``frames``.

    Args:
        predict: gives the logits.
        frames: features of each utterance, as the network sees them.
        batch: utterances at a time, at the most.
        extras: what the network reads beside them, a row an utterance.
    """
    rows: dict[int, np.ndarray] = {}
    for places, inputs in evaluation_batches(frames, batch, extras):
        rows |= zip(places, predict(inputs).double().softmax(1).numpy(), strict=True)
    return np.stack([rows[place] for place in range(len(frames))])
