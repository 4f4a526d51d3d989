"""What each rank of the rebalance test starts: runs in double precision whose moves are given, one after the other.

A run is a folder, the cuts that the end of each epoch moves to (null for none), the step before which the last rank is
told to stop (0: never) and the arguments; the state at its end goes to ``state.pt`` of its folder.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from run_ranks import stopping

from parallel_ser.parallel.comm import context
from parallel_ser.parallel.cost import rebalance
from parallel_ser.parallel.cost.rebalance import Move
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.training import trainer

Plain = trainer.Trainer


class Double(Plain):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given, dtype=torch.float64)

    def test(self) -> Any:
        state: dict[str, Any] = self.strategy.state.full()
        if self.mesh.first:
            cuts = {"cuts": list(self.strategy.stages.cuts), "left": self.progress.left}
            torch.save({**state, **cuts}, self.folder.parent / "state.pt")
        return super().test()


def deciding(wanted: list[list[int] | None]) -> Any:
    """A decision that moves to the cuts that are given, by how many epochs are left."""

    def decide(
        pipeline: Any, cuts: tuple[int, ...], work: list[float], step: float, steps: int, moving: float, left: Any
    ) -> Move | None:
        assert min(work) > 0
        assert step > 0
        assert moving > 0
        epochs_left = steps // PER_EPOCH
        then = wanted[EPOCHS - epochs_left - 1]
        return Move(tuple(then), step, step / 2, tuple(work)) if then else None

    return decide


PER_EPOCH, EPOCHS = 4, 4

if __name__ == "__main__":
    leave = HardExit()
    trainer.Trainer = Double  # type: ignore[misc]
    last = os.environ.get("RANK", "0") == str(int(os.environ.get("WORLD_SIZE", "1")) - 1)
    statuses = []
    with context.process_context("cpu", threads=1, timeout=300) as ranks:
        context.process_context = lambda *_, **__: nullcontext(ranks)  # type: ignore[assignment]
        for run in sys.argv[2:]:
            moves, stop, arguments = json.loads(run)
            rebalance.decide = deciding(moves)
            statuses.append(stopping([*arguments, *(["--stop", str(stop)] if stop else [])], last))
    if last:
        Path(sys.argv[1]).write_text(json.dumps(statuses))
    leave(0)
