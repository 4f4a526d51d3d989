"""A run's recordings with the altered copies that training draws from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from parallel_ser.config import Config
from parallel_ser.corpora.audit import Audit
from parallel_ser.corpora.protocols import Fold
from parallel_ser.training.data import Dataset, prepare
from parallel_ser.training.encoder_view import extractor_of
from parallel_ser.training.sample import copies_of, require_vectors


def prepare_training(
    config: Config, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, list[Fold], list[Audit]]:
    """``data.prepare``, and the copies that training draws from."""
    require_vectors(config)
    data, folds, audits = prepare(config, progress)
    return with_copies(data, config, progress), folds, audits


def with_copies(data: Dataset, config: Config, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """The utterances with ``train.copies`` altered copies of each; a copy without features (now silent, say) is the
    recording itself.

    Args:
        data: of the run.
        config: of the run.
        progress: called with the number of files done and of all files, for each copy.
    """
    if not config.train.copies:
        return data
    inner = extractor_of(config.audio, config.features)
    paths, copies = [one.path for one in data.utterances], []
    for number in range(config.train.copies):
        frames, measures = list(data.frames), list(data.measures)
        for place, made in enumerate(copies_of(paths, inner, config, number, progress)):
            if made:
                frames[place], measures[place] = made.frames, made.measures
        copies.append(replace(data, frames=frames, measures=measures, copy=number))
    return replace(data, copies=tuple(copies))
