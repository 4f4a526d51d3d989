"""A run's recordings with the altered copies that training draws from, and that an answer is the mean of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from parallel_ser.audio.extract import Features
from parallel_ser.config import Config
from parallel_ser.corpora.audit import Audit
from parallel_ser.corpora.protocols import Fold
from parallel_ser.training.data import Dataset, prepare
from parallel_ser.training.encoder_view import extractor_of
from parallel_ser.training.sample import copies_of, require_vectors


def prepare_training(
    config: Config, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, list[Fold], list[Audit]]:
    """``data.prepare``, and the copies that training draws from and its test is the mean of."""
    require_vectors(config)
    return _with_copies(config, max(config.train.copies, config.train.tta_copies), progress)


def prepare_test(
    config: Config, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, list[Fold], list[Audit]]:
    """``data.prepare``, and the copies that a trained model's answers are the mean of."""
    return _with_copies(config, config.train.tta_copies, progress)


def _with_copies(
    config: Config, count: int, progress: Callable[[int, int], None] | None
) -> tuple[Dataset, list[Fold], list[Audit]]:
    data, folds, audits = prepare(config, progress)
    return of_files(data, config, count, progress), folds, audits


def of_files(data: Dataset, config: Config, count: int, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Recordings in files with ``count`` altered copies of each, as ``config.train`` describes copies.

    Args:
        data: of the run.
        config: of the run.
        count: of copies.
        progress: called with the number of files done and of all files, for each copy.
    """
    if not count:
        return data
    inner, paths = extractor_of(config.audio, config.features), [one.path for one in data.utterances]
    return with_copies(data, count, lambda number: copies_of(paths, inner, config, number, progress))


def with_copies(data: Dataset, count: int, make: Callable[[int], Iterable[object]]) -> Dataset:
    """The utterances with ``count`` altered copies of each.

    Args:
        data: the recordings.
        count: of copies.
        make: of a copy's number what each recording's copy has: its ``Features``, or anything else where it has none
            (now silent, say): it is the recording itself then.
    """
    copies = []
    for number in range(count):
        frames, measures = list(data.frames), list(data.measures)
        for place, made in enumerate(make(number)):
            if isinstance(made, Features):
                frames[place], measures[place] = made.frames, made.measures
        copies.append(replace(data, frames=frames, measures=measures, copy=number))
    return replace(data, copies=tuple(copies))
