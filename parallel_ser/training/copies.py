"""A run's recordings with the altered copies that training draws from, and those that an answer is the mean of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from parallel_ser.audio.altered import Copy
from parallel_ser.audio.extract import Features
from parallel_ser.config import Config
from parallel_ser.corpora.audit import Audit
from parallel_ser.corpora.protocols import Fold
from parallel_ser.report.terminal import Advance
from parallel_ser.training.data import Dataset, prepare
from parallel_ser.training.encoder_view import extractor_of
from parallel_ser.training.sample import copies_of, require_vectors


def prepare_training(config: Config, progress: Advance | None = None) -> tuple[Dataset, list[Fold], list[Audit]]:
    """``data.prepare`` and all copies, of a network."""
    require_vectors(config)
    data, folds, audits = prepare(config, progress)
    return with_all_copies(data, config, progress), folds, audits


def with_all_copies(data: Dataset, config: Config, progress: Advance | None = None) -> Dataset:
    """The utterances with the copies that training draws from and those that an answer is the mean of.

    Args:
        data: of the run.
        config: of the run, of which ``train`` says how many copies there are, and how they are altered.
        progress: called with the number of files done and of all files, for each copy.
    """
    numbers = range(config.train.copies)
    drawn = [copied(data, Copy(number), _of_files(data, config, Copy(number), progress)) for number in numbers]
    return replace(with_tta_copies(data, config, progress), copies=tuple(drawn))


def with_tta_copies(data: Dataset, config: Config, progress: Advance | None = None) -> Dataset:
    """The utterances, which lie in files, with the copies that an answer is the mean of; see ``with_all_copies``."""
    return with_answered(data, config, lambda copy: _of_files(data, config, copy, progress))


def with_answered(data: Dataset, config: Config, make: Callable[[Copy], Iterable[object]]) -> Dataset:
    """The utterances with the copies that an answer is the mean of; ``make`` is asked for each, see ``copied``."""
    copies = [Copy(number, alike=True) for number in range(config.train.tta_copies)]
    return replace(data, tta_copies=tuple(copied(data, one, make(one)) for one in copies))


def copied(data: Dataset, copy: Copy, made: Iterable[object]) -> Dataset:
    """The utterances with the features of a copy of each; where it has none (now silent, say), with the recording's.

    Args:
        data: the recordings.
        copy: which one.
        made: of each utterance, the copy's ``Features`` or anything else.
    """
    frames, measures = list(data.frames), list(data.measures)
    for place, one in enumerate(made):
        if isinstance(one, Features):
            frames[place], measures[place] = one.frames, one.measures
    return replace(data, frames=frames, measures=measures, copy=copy, copies=(), tta_copies=())


def _of_files(data: Dataset, config: Config, copy: Copy, progress: Advance | None) -> list[Features | None]:
    extractor = extractor_of(config.audio, config.features)
    return copies_of([one.path for one in data.utterances], extractor, config, copy, progress)
