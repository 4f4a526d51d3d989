"""What each rank of the parity test runs: some steps a case, then the full state to a file."""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from parallel_ser.models.batch import Inputs
from parallel_ser.models.registry import build, descriptor_of
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.comm.context import ProcessContext, process_context
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.training.optim import adamw, freeze
from parallel_ser.training.settings import TrainSettings

STEPS = 6
EXACT_STEPS = 3  # in fp64: a batch of each shape, and moments that the first step left
RATE = 1e-5  # as a warm-up begins: at 1e-3 the steps themselves make rounding grow tenfold


def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -(targets * logits.log_softmax(1)).sum(1)


def batch(
    step: int, dtype: torch.dtype, rows: int, words: bool = False, vectors: int = 0
) -> tuple[Inputs, torch.Tensor]:
    """Batches of unequal size, width and utterance lengths, of words too; 7 and 10 divide into no 8 micro-batches."""
    generator = torch.Generator().manual_seed(step)
    size, frames = ((8, 32), (7, 48), (10, 32))[step % 3]
    lengths = torch.randint(9, frames + 1, (size,), generator=generator)
    x = torch.randn(size, 1, rows, frames, generator=generator, dtype=dtype)
    x = x * (torch.arange(frames) < lengths[:, None])[:, None, None, :]
    seed = torch.randint(2**60, (size,), generator=generator)
    targets = torch.randn(size, 4, generator=generator, dtype=dtype).softmax(1)
    extras = {}
    if words:
        text = torch.randint(1, 11, (size, 9), generator=generator)
        text *= torch.arange(9) < torch.randint(1, 10, (size, 1), generator=generator)
        extras = {"text": text}
    if vectors:
        extras = {"vectors": torch.randn(size, vectors, generator=generator, dtype=dtype)}
    return Inputs(x, lengths / frames, seed, extras), targets


def make(case: dict[str, Any], ranks: ProcessContext) -> tuple[Any, torch.dtype, int]:
    case = dict(case)
    precision = case.pop("precision", "fp32")
    dtype = torch.float64 if precision == "fp64" else torch.float32
    if case.get("schedule", "").endswith(".csv"):
        case["schedule"] = str(Path(__file__).parents[1] / "schedule" / case["schedule"])
    model = {"width": 0.5, **{kind: case.pop(kind, 0) for kind in ("attention", "recurrent")}}
    if "model" in case:
        model = {"name": case.pop("model"), "options": case.pop("options"), "size": case.pop("size", "s")}
    frozen = case.pop("freeze", "")
    settings = StrategySettings.model_validate({"microbatches": 4, "cut": "arithmetic", **case})
    model_settings = ModelSettings.model_validate({"dropout": 0.4, **model})
    rows = descriptor_of(model_settings).waveform or 16
    chain = build(model_settings, rows, classes=4, seed=3).to(dtype)
    freeze(chain, [frozen] if frozen else [])
    strategy = Strategy(settings, clip_norm=1.0, ema=0.9, bf16=precision == "bf16")
    rates = TrainSettings(learning_rate=RATE, rates={"embed": 0.5, "level4": 2.0})
    strategy.setup(chain, loss, lambda p: adamw(p, rates), ranks, (2, 1, rows, 32))
    strategy.set_learning_rate(RATE)
    return strategy, dtype, rows


def run(case: str, ranks: ProcessContext, out: str) -> None:
    strategy, dtype, rows = make(json.loads(case), ranks)
    settings = json.loads(case)
    beside = settings.get("model", "").startswith("mscnn"), settings.get("options", {}).get("vectors", 0)
    steps = EXACT_STEPS if dtype == torch.float64 else STEPS
    losses = [strategy.train_step(*batch(step, dtype, rows, *beside)) for step in range(steps)]
    logits = strategy.predict(batch(1, dtype, rows, *beside)[0])
    state = strategy.state.full()
    result = {"losses": losses, "logits": logits, "sent": dict(strategy.stats.sent)}
    torch.save(result, f"{out}/{case}.rank{ranks.rank}")
    if ranks.first:
        torch.save(state, f"{out}/{case}.pt")


if __name__ == "__main__":
    leave = HardExit()
    folder, *cases = sys.argv[1:]
    with process_context("cpu", threads=1, timeout=300) as group:
        for each in cases:
            began = time.perf_counter()
            try:
                run(each, group, folder)
            except Exception:
                print(f"rank {group.rank}, case {each}:", traceback.format_exc(), file=sys.stderr, flush=True)
                leave(1)
            if group.first:
                print(f"{time.perf_counter() - began:.1f} s {each}", flush=True)
    leave(0)
