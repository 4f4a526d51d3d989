"""What each rank of the resume test runs: ``save`` stops each case half way, ``resume`` goes on to the end."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from parity_ranks import STEPS, batch, make

from parallel_ser.parallel.comm.context import ProcessContext, process_context
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.training import standing

HALF = STEPS // 2


def save(case: str, ranks: ProcessContext, folder: Path) -> None:
    strategy, dtype, rows = make(json.loads(case), ranks)
    for step in range(HALF):
        strategy.train_step(*batch(step, dtype, rows))
    standing.save(folder / f"{ranks.size} {case}", HALF, strategy, {}, ranks)


def resume(case: str, ranks: ProcessContext, folder: Path, begun: list[str]) -> None:
    strategy, dtype, rows = make(json.loads(case), ranks)
    for before in begun:
        path = standing.newest(folder / before)
        assert path is not None
        info = standing.info(path, strategy.signature)
        standing.load(path, strategy, info, ranks)
        losses = [strategy.train_step(*batch(step, dtype, rows)) for step in range(HALF, STEPS)]
        state = strategy.state.full()
        if ranks.first:
            torch.save({**state, "losses": losses}, folder / f"{before} then {ranks.size} {case}.pt")


if __name__ == "__main__":
    leave = HardExit()
    what, out, cases = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    with process_context("cpu", threads=1, timeout=300) as group:
        for each, begun in cases.items():
            try:
                save(each, group, out) if what == "save" else resume(each, group, out, begun)
            except Exception:
                print(f"rank {group.rank}, case {each}:", traceback.format_exc(), file=sys.stderr, flush=True)
                leave(1)
    leave(0)
