"""Every strategy trains the same chain to the same weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent
CASES = {  # by number of ranks: one start of the processes each
    1: ["single-1f1b-fp32", "single-1f1b-fp64", "pipeline-gpipe-fp32"],
    2: ["pipeline-gpipe-fp32", "pipeline-1f1b-fp32", "pipeline-1f1b-fp64"],
    4: ["pipeline-gpipe-fp32", "pipeline-1f1b-fp32"],
}
BOUNDS = {"fp32": 1e-5, "fp64": 1e-10}

State = dict[str, Any]


def read(folder: Path, case: str, ranks: int) -> State:
    state: State = torch.load(folder / f"{case}.pt", weights_only=True)
    state["ranks"] = [torch.load(folder / f"{case}.rank{rank}", weights_only=True) for rank in range(ranks)]
    return state


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], State]:
    states = {}
    for ranks, cases in CASES.items():
        folder = tmp_path_factory.mktemp(f"ranks{ranks}")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
        command += [str(HERE / "parity_ranks.py"), str(folder), *cases]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        states |= {(ranks, case): read(folder, case, ranks) for case in cases}
    return states


def difference(ours: torch.Tensor, truth: torch.Tensor) -> float:
    return float((ours.double() - truth.double()).norm() / truth.double().norm().clamp_min(1e-12))


PIPELINES = [(ranks, case) for ranks, cases in CASES.items() for case in cases if case.startswith("pipeline")]


@pytest.mark.parametrize(("ranks", "case"), PIPELINES)
def test_pipeline_trains_what_single_trains(results: dict[tuple[int, str], State], ranks: int, case: str) -> None:
    precision = case.split("-")[-1]
    bound = BOUNDS[precision]
    truth, ours = results[1, f"single-1f1b-{precision}"], results[ranks, case]
    for part in ("weights", "average", "optimizer"):
        assert ours[part].keys() == truth[part].keys()
        for name, value in truth[part].items():
            assert difference(ours[part][name], value) < bound * (10 if part == "optimizer" else 1), name
    for rank in ours["ranks"]:
        assert rank["losses"] == pytest.approx(truth["ranks"][0]["losses"], rel=bound)
        assert torch.equal(rank["logits"], ours["ranks"][0]["logits"])
    assert difference(ours["ranks"][0]["logits"], truth["ranks"][0]["logits"]) < 10 * bound


def test_training_moved_the_weights(results: dict[tuple[int, str], State]) -> None:
    losses = results[1, "single-1f1b-fp32"]["ranks"][0]["losses"]
    assert min(losses[-3:]) < losses[0]
