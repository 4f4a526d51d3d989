"""What each rank of the rebalance test runs: trainings in double precision whose moves are given, one after another.

A training is a folder, the cuts that the end of each epoch moves to (null for none), the step behind which the last
rank is told to stop (0: never), whether it goes on, and settings; what it comes to goes to ``state.pt`` of its folder.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from parallel_ser.config import load
from parallel_ser.parallel.comm.context import ProcessContext, process_context
from parallel_ser.parallel.cost import rebalance
from parallel_ser.parallel.cost.rebalance import Move
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.training.data import prepare
from parallel_ser.training.interrupts import Request, Stopped
from parallel_ser.training.trainer import Trainer
from parallel_ser.training.watch import Watch

EPOCHS = 4


class Seeing(Watch):
    """Keeps what is told, and asks for a stop behind a step."""

    def __init__(self, request: Request, stop: int) -> None:
        self.request, self.stop, self.steps = request, stop, 0
        self.lines: list[str] = []

    def step(self, loss: float) -> None:
        self.steps += 1
        if self.steps == self.stop:
            self.request.signal = signal.SIGTERM

    def told(self, line: str) -> None:
        self.lines.append(line)


def run(
    ranks: ProcessContext, folder: Path, moves: list[list[int] | None], stop: int, resume: bool, settings: list[str]
) -> None:
    config = load(None, [*settings, f"train.epochs={EPOCHS}", f"run.resume={str(resume).lower()}"])
    data, folds, _ = ranks.rank0_first(lambda: prepare(config))
    folder.mkdir(exist_ok=True)
    request = Request()
    trainer = Trainer(config, data, folds[0], ranks, folder, request, torch.float64)
    steps = len(trainer.training)

    def decide(
        pipeline: Any, cuts: tuple[int, ...], work: list[float], step: float, left: int, moving: float, _: Any
    ) -> Move | None:
        assert min(work) > 0
        assert step > 0
        assert moving > 0
        wanted = moves[EPOCHS - left // steps - 1]
        return Move(tuple(wanted), step, step / 2, tuple(work)) if wanted else None

    rebalance.decide = decide  # type: ignore[assignment]
    if resume:
        trainer.resume()
    watch = Seeing(request, stop if ranks.rank == ranks.size - 1 else 0)
    try:
        trainer.train(watch)
    except Stopped:
        return
    state: dict[str, Any] = trainer.strategy.state.full()
    said = torch.tensor(trainer.test().probabilities)
    if ranks.first:
        cuts = {"cuts": list(trainer.strategy.stages.cuts), "left": trainer.progress.left}
        torch.save({**state, **cuts, "probabilities": said, "told": watch.lines}, folder / "state.pt")


if __name__ == "__main__":
    leave = HardExit()
    with process_context("cpu", threads=1, timeout=300) as group:
        for each in sys.argv[1:]:
            where, *rest = json.loads(each)
            run(group, Path(where), *rest)
    leave(0)
