"""What each rank of the test of predictions runs: ragged batches before and behind a step of training."""

from __future__ import annotations

import json
import sys

import torch
from torch import Tensor

from parallel_ser.models.batch import Inputs
from parallel_ser.models.chain import Chain
from parallel_ser.models.registry import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.comm.context import ProcessContext, process_context
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.training.optim import adamw, cross_entropy
from parallel_ser.training.settings import TrainSettings

SIZES = (1, 3, 7)  # of batches: fewer utterances than micro-batches, and numbers that these do not divide


def encoder() -> Chain:
    model = {"name": "wavlm", "size": "tiny", "options": {"hidden": 16, "dropout": 0.3}}
    return build(ModelSettings.model_validate(model), 320, classes=4, seed=3).double()


def ragged(size: int) -> Inputs:
    """Utterances of unequal length, zero where padded."""
    generator = torch.Generator().manual_seed(size)
    frames = 16 * size
    lengths = torch.randint(5, frames + 1, (size,), generator=generator)
    x = torch.randn(size, 1, 320, frames, generator=generator, dtype=torch.float64)
    x = x * (torch.arange(frames) < lengths[:, None])[:, None, None, :]
    return Inputs(x, lengths / frames, torch.arange(size))


def run(case: str, ranks: ProcessContext, out: str) -> None:
    settings = StrategySettings.model_validate({"microbatches": 4, "cut": "arithmetic", **json.loads(case)})
    strategy = Strategy(settings, clip_norm=1.0)
    strategy.setup(encoder(), cross_entropy, lambda own: adamw(own, TrainSettings()), ranks, (2, 1, 320, 32))
    before = [strategy.predict(ragged(size)) for size in SIZES]
    strategy.train_step(ragged(7), torch.eye(4)[torch.arange(7) % 4].double())
    after: list[Tensor] = [strategy.predict(ragged(size)) for size in SIZES]
    weights = strategy.state.full()["weights"]
    torch.save({"before": before, "after": after}, f"{out}/{case}.rank{ranks.rank}")
    if ranks.first:
        torch.save({"weights": weights}, f"{out}/{case}.pt")


if __name__ == "__main__":
    leave = HardExit()
    folder, *cases = sys.argv[1:]
    with process_context("cpu", threads=1, timeout=300) as group:
        for each in cases:
            run(each, group, folder)
    leave(0)
