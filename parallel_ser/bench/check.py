"""Whether a row trains what one process trains: weights, optimizer state and predictions after a few steps.

The steps are taken in float64, where rounding does not hide what differs, and with settings under which whatever a step
leaves out or does otherwise shows: clipping that always clips, weight decay and a moving average that move the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parallel_ser.bench.suites import alone
from parallel_ser.config import Config
from parallel_ser.corpora.protocols import Fold
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.settings import layout
from parallel_ser.training.batches import evaluation_batches
from parallel_ser.training.data import Dataset
from parallel_ser.training.interrupts import Request
from parallel_ser.training.trainer import Trainer

STEPS = 3
RATE, DECAY, CLIP, EMA, EPSILON = 0.1, 0.1, 1e-2, 0.9, 1e-3
"""Weights shrink by a hundredth a step and move by some hundredths, in proportion to their gradients: with AdamW's
usual epsilon a gradient that is all rounding would move its weight as far as any other."""
PARTS = ("weights", "ema", "optimizer", "predictions")


def telling(config: Config) -> Config:
    """The settings of the check."""
    changes = {"learning_rate": RATE, "weight_decay": DECAY, "clip_norm": CLIP, "ema": EMA}
    train = config.train.model_copy(update={**changes, "rates": {}, "precision": "fp32"})
    return config.model_copy(update={"train": train})


def check(
    config: Config, data: Dataset, fold: Fold, ranks: ProcessContext, folder: Path, hook: Any = None
) -> dict[str, tuple[float, str]]:
    """How far a row is from one process, on the first rank; nothing on the others.

    Args:
        config: of the row.
        data: utterances with features.
        fold: whose training side is trained on.
        ranks: of the row.
        folder: for files that are not kept.
        hook: is called with the trainer before its first step; for tests that plant a defect.

    Returns:
        By part of ``PARTS`` the largest relative difference of a tensor, and its name.
    """
    config = telling(config)
    trainer = Trainer(config, data, fold, ranks, folder / "row", Request(), torch.float64)
    if hook:
        hook(trainer)
    ours = _trained(trainer)
    if not ranks.first:
        return {}
    copies = layout(config.strategy, ranks.size).data
    one = config.model_copy(update={"strategy": alone(min(config.train.batch, config.strategy.microbatches * copies))})
    itself = ProcessContext(0, 1, ranks.device)
    theirs = _trained(Trainer(one, data, fold, itself, folder / "one", Request(), torch.float64))
    return {part: _furthest(ours[part], theirs[part]) for part in PARTS}


def _trained(trainer: Trainer) -> dict[str, dict[str, Tensor]]:
    """Weights, their average, optimizer state and predictions after the steps, on the first rank."""
    strategy, training = trainer.strategy, trainer.training
    strategy.set_learning_rate(RATE)
    for group in strategy.optimizer.optimizer.param_groups:
        group["eps"] = EPSILON
    batches = [(epoch, indices) for epoch in range(STEPS) for indices in training.order(epoch)][:STEPS]
    for epoch, indices in batches:
        batch = training.batch(epoch, indices, strategy.reads_inputs)
        strategy.train_step(batch.inputs, batch.targets)
    tested = trainer.inputs(trainer.fold.test)
    some = tested.take(range(min(len(tested), trainer.config.train.batch)))
    outputs: list[Tensor] = [strategy.predict(inputs) for _, inputs in evaluation_batches(some, len(some))]
    return {**strategy.state.full(), "predictions": {str(place): rows for place, rows in enumerate(outputs)}}


def _furthest(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> tuple[float, str]:
    """The tensor that is furthest from the other's, relative to its norm; infinitely far where one is not there."""
    if missing := sorted(ours.keys() ^ theirs.keys()):
        return float("inf"), missing[0]

    def away(name: str) -> float:
        mine, other = ours[name].double(), theirs[name].double()
        if mine.shape != other.shape:
            return float("inf")
        size = float(other.norm())
        far = float((mine - other).norm())
        return far / size if size else float(np.inf if far else 0.0)

    # a tensor that is all rounding, such as the gradient of a bias before a normalisation, says nothing
    largest = max((float(one.double().norm()) for one in theirs.values()), default=0.0)
    telling = [name for name, one in theirs.items() if float(one.double().norm()) > 1e-7 * largest]
    far, name = max(((away(name), name) for name in telling), default=(0.0, ""))
    return (float("inf"), name) if torch.tensor(far).isnan() else (far, name)
