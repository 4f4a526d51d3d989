"""What each rank of the check's test runs: rows, sound and spoilt, each compared with one process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from parallel_ser.bench.check import check
from parallel_ser.config import load
from parallel_ser.parallel.comm.context import process_context
from parallel_ser.parallel.engine.state import local
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.training.data import prepare

TINY = ["corpus.synthetic.speakers=3", "corpus.synthetic.sentences=2", "corpus.synthetic.takes=1", "train.batch=8"]
TINY += ["split.folds=3", "features.n_mels=20", "features.hop=0.02", "features.window=0.04", "model.width=0.5"]


def no_clipping(trainer: Any) -> None:
    """Gradients keep their norm."""
    trainer.strategy.optimizer.clip = lambda: None


def clipping_by_stage(trainer: Any) -> None:
    """Each rank clips by the norm of what it holds."""

    def clip() -> None:
        parameters = trainer.strategy.parameters.values()
        torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], trainer.strategy.clip_norm)

    trainer.strategy.optimizer.clip = clip


def no_weight_decay(trainer: Any) -> None:
    """Weights do not decay."""
    for group in trainer.strategy.optimizer.optimizer.param_groups:
        group["weight_decay"] = 0.0


def other_predictions(trainer: Any) -> None:
    """Predictions come from another model: one with its last layer's weights turned round."""
    predict = trainer.strategy.predict

    def spoilt(inputs: Any) -> Any:
        head = [p for name, p in trainer.strategy.parameters.items() if name.startswith("head")]
        with torch.no_grad():
            for sign in (-1.0, -1.0):
                for parameter in head:
                    local(parameter).mul_(sign)
                if sign and not hasattr(spoilt, "found"):
                    spoilt.found = predict(inputs)  # type: ignore[attr-defined]
        found = spoilt.found  # type: ignore[attr-defined]
        del spoilt.found  # type: ignore[attr-defined]
        return found

    trainer.strategy.predict = spoilt


def half_rate(trainer: Any) -> None:
    """The learning rate of one parameter is half of what it should be."""
    for parameter in list(trainer.strategy.parameters.values())[:1]:
        parameter.register_hook(lambda gradient: 0.5 * gradient)


def stale_average(trainer: Any) -> None:
    """The moving average is never updated."""
    trainer.strategy.state.ema = {name: value.clone() for name, value in trainer.strategy.state.ema.items()}
    trainer.strategy.state.updated = lambda: None


DEFECTS: dict[str, Callable[[Any], None] | None] = {
    "sound": None,
    **{one.__name__: one for one in (no_clipping, clipping_by_stage, no_weight_decay, other_predictions)},
    **{one.__name__: one for one in (half_rate, stale_average)},
}

if __name__ == "__main__":
    leave = HardExit()
    folder, *cases = sys.argv[1:]
    with process_context("cpu", threads=1, timeout=300) as group:
        config = load(None, TINY)
        data, folds, _ = group.rank0_first(lambda: prepare(config))
        for case in cases:
            given = json.loads(case)
            defect = DEFECTS[given.pop("defect")]
            settings = StrategySettings.model_validate({"cut": "arithmetic", **given})
            own = config.model_copy(update={"strategy": settings})
            found = check(own, data, folds[0], group, Path(folder) / f"rank{group.rank}", defect)
            if group.first:
                torch.save(found, f"{folder}/{case}.pt")
    leave(0)
