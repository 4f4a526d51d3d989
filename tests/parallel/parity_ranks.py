"""What each rank of the parity test runs: 20 steps a case, then the full state to a file."""

from __future__ import annotations

import sys

import torch

from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.processes import Mesh, leave, mesh
from parallel_ser.parallel.registry import STRATEGIES
from parallel_ser.parallel.settings import StrategySettings

STEPS = 20


def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -(targets * logits.log_softmax(1)).sum(1)


def batch(step: int, dtype: torch.dtype) -> tuple[Inputs, torch.Tensor]:
    """Batches of unequal size, width and utterance lengths; 7 and 10 divide into no 4 micro-batches."""
    generator = torch.Generator().manual_seed(step)
    size, frames = ((8, 32), (7, 48), (10, 32))[step % 3]
    lengths = torch.randint(9, frames + 1, (size,), generator=generator)
    x = torch.randn(size, 1, 16, frames, generator=generator, dtype=dtype)
    x = x * (torch.arange(frames) < lengths[:, None])[:, None, None, :]
    seed = torch.randint(2**60, (size,), generator=generator)
    targets = torch.randn(size, 4, generator=generator, dtype=dtype).softmax(1)
    return Inputs(x, lengths / frames, seed), targets


def run(case: str, ranks: Mesh, out: str) -> None:
    name, schedule, precision = case.split("-")
    dtype = {"fp32": torch.float32, "fp64": torch.float64}[precision]
    settings = StrategySettings.model_validate({"name": name, "schedule": schedule, "microbatches": 4})
    chain = build(ModelSettings(size="s", dropout=0.4), rows=16, classes=4, seed=3).to(dtype)
    strategy = STRATEGIES[name](settings, clip_norm=1.0, ema=0.9)
    strategy.setup(chain, loss, lambda p: torch.optim.AdamW(p.values(), 1e-3), ranks, (2, 1, 16, 32))
    losses = [strategy.train_step(*batch(step, dtype)) for step in range(STEPS)]
    logits = strategy.predict(batch(1, dtype)[0])
    state = strategy.full_state()
    torch.save({"losses": losses, "logits": logits}, f"{out}/{case}.rank{ranks.rank}")
    if ranks.first:
        torch.save(state, f"{out}/{case}.pt")


if __name__ == "__main__":
    folder, *cases = sys.argv[1:]
    with mesh("cpu", threads=1, timeout=60) as group:
        for each in cases:
            run(each, group, folder)
    leave(0)
