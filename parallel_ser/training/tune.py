"""``train.tune=auto``: the number of micro-batches that a step takes least time with, measured before a run begins.

It is the one choice that leaves results as they are up to rounding: the memory format is always the faster one, and
precision, strategy and schedule are the user's. Each count trains a few steps of random utterances of the run's typical
shape on the run's own ranks, its loss beside that of the count that was asked for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from parallel_ser.config import Config
from parallel_ser.models.batch import random_batch
from parallel_ser.models.registry import count_blocks, count_parts
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.requirements import find_incompatibility
from parallel_ser.system.digests import cached_json, write_json
from parallel_ser.system.environment import processor
from parallel_ser.system.files import cache_folder, cache_key
from parallel_ser.training.start import started

VERSION = 4
COUNTS = (1, 2, 4, 8, 16, 32)
STEPS = 3
BUDGET = 25.0
"""Seconds after which no further count is tried."""
ROUNDING = {"fp32": 1e-4, "bf16": 1e-2}
"""How far, relative, the loss of a step may lie from that of the count that was asked for."""


@dataclass(frozen=True)
class Trial:
    """A number of micro-batches, the seconds of its step, and the loss of its first one."""

    count: int
    seconds: float
    loss: float


def pick(trials: list[Trial], tolerance: float) -> Trial:
    """The fastest trial whose loss is that of the first, up to ``tolerance``.

    >>> pick([Trial(4, 1.0, 2.0), Trial(2, 0.5, 2.1), Trial(8, 0.9, 2.0)], 1e-4).count
    8
    """
    first = trials[0]
    same = [one for one in trials if abs(one.loss - first.loss) <= tolerance * abs(first.loss)]
    return min(same or [first], key=lambda one: one.seconds)


def tuned(
    config: Config, shape: tuple[int, ...], classes: int, ranks: ProcessContext, folder: Path | None = None
) -> Config:
    """The settings with the fastest number of micro-batches, and nothing left to tune: so they repeat the run.

    Args:
        config: of the run.
        shape: of a typical batch ``(batch, 1, rows, frames)``.
        classes: of emotions.
        ranks: of the run; all call it alike.
        folder: of what is kept by machine, model and shape; the user's cache by default.
    """
    path = (folder or cache_folder()) / "tune" / f"{_key(config, shape, ranks.size)}.json"
    best = ranks.rank0_first(lambda: _kept(path), share=True)
    if best is None:
        best = pick(_trials(config, shape, classes, ranks), ROUNDING[config.train.precision]).count
        best = ranks.rank0_first(lambda: best, share=True)  # clocks differ: the first rank's choice is everybody's
        ranks.rank0_only(lambda: write_json(path, {"microbatches": best}))
    strategy = config.strategy.model_copy(update={"microbatches": best})
    return config.model_copy(update={"strategy": strategy, "train": config.train.model_copy(update={"tune": "none"})})


def _kept(path: Path) -> int | None:
    kept = cached_json(path)
    return int(kept["microbatches"]) if kept else None


def _key(config: Config, shape: tuple[int, ...], ranks: int) -> str:
    facts = [VERSION, config.model.model_dump(), config.strategy.model_dump(mode="json"), config.train.precision]
    facts += [shape, ranks, config.train.shared_memory, torch.get_num_threads(), processor(), torch.__version__]
    return cache_key(facts)


def _trials(config: Config, shape: tuple[int, ...], classes: int, ranks: ProcessContext) -> list[Trial]:
    """The count that was asked for, then others from near it, until the time is up."""
    asked, data = config.strategy.microbatches, config.strategy.data_parallel
    blocks, parts = count_blocks(config.model), count_parts(config.model)
    others = sorted((one for one in COUNTS if one != asked), key=lambda one: max(one / asked, asked / one))
    trials: list[Trial] = []
    began = time.monotonic()
    for count in (asked, *others):
        settings = config.strategy.model_copy(update={"microbatches": count})
        if count != asked and (
            count * data > shape[0] or find_incompatibility(settings, ranks.size, blocks, parts) is not None
        ):
            continue
        if trials and ranks.any_rank(time.monotonic() - began > BUDGET):
            break
        trials.append(_trial(config.model_copy(update={"strategy": settings}), shape, classes, ranks))
    return trials


def _trial(config: Config, shape: tuple[int, ...], classes: int, ranks: ProcessContext) -> Trial:
    strategy = started(config, shape[2], classes, shape[3], ranks)
    inputs, targets = random_batch(shape, classes)
    loss = strategy.train_step(inputs, targets)
    seconds = []
    for _ in range(STEPS):
        ranks.any_rank(False)  # all begin together
        start = time.perf_counter()
        strategy.train_step(inputs, targets)
        seconds.append(time.perf_counter() - start)
    return Trial(config.strategy.microbatches, median(seconds), loss)
