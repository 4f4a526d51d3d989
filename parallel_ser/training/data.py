"""From a corpus to the utterances of a run with their features, and its folds with the audit of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from parallel_ser.audio.altered import Copy
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
from parallel_ser.training.batches import typical_frames
from parallel_ser.training.encoder_view import AnyFeatures, extractor_of
from parallel_ser.training.extras import require_transcripts
from parallel_ser.training.predictions import Predictions


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
        copies: the utterances with the features of altered copies that training draws from, for each copy.
        tta_copies: likewise of those that an answer is the mean of.
        copy: which copy's features these are; None: the recordings' own.
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
    copies: tuple[Dataset, ...] = ()
    tta_copies: tuple[Dataset, ...] = ()
    copy: Copy | None = None

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
            copies=tuple(copy.take(indices) for copy in self.copies),
            tta_copies=tuple(copy.take(indices) for copy in self.tta_copies),
        )

    def answered(self, copies: int) -> list[Dataset]:
        """What answers are the mean of: the recordings, and that many altered copies of each.

        Raises:
            ValueError: there are not as many.
        """
        if copies != len(self.tta_copies):
            raise ValueError(f"{copies} copies are needed, and there are {len(self.tta_copies)}")
        return [self, *self.tta_copies]

    def said(self, indices: Sequence[int], fold: int, rows: np.ndarray) -> Predictions:
        """Probabilities ``(utterances, classes)`` of the utterances at ``indices`` with what they are of."""
        told = [self.utterances[index] for index in indices]
        return Predictions(
            paths=tuple(str(one.path.absolute()) for one in told),  # a relative root holds in one folder alone
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


def described(config: Config, data: Dataset, folds: Sequence[Fold], protocol: str) -> str:
    """A line on what a run is about to learn from, and how it will be tested."""
    side = [data.utterances[index] for index in (*folds[0].train, *folds[0].select, *folds[0].test)]
    speakers = len({one.speaker for one in side})
    return (
        f"Corpus: {config.corpora}, {len(side)} utterances of {speakers} speaker{'s' * (speakers != 1)}, "
        f"{len(data.classes)} emotions; protocol {protocol}, {len(folds)} fold{'s' * (len(folds) != 1)}"
    )


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
