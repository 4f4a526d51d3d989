"""A run stopped under one strategy, mesh or number of processes goes on under another.

All write and read the same names. So each is tried from and to one process, and with one that lies far off in the
list.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from parity_ranks import STEPS
from resume_ranks import HALF
from starting import run_ranks

HERE = Path(__file__).parent
COMMON = {"microbatches": 4}
SINGLE = json.dumps({"name": "single", **COMMON})
STRATEGIES = [
    json.dumps({**case, **COMMON})
    for case in (
        {"name": "layer_split"},
        {"name": "tensor_split", "axis": "time"},
        {"name": "tensor_split", "axis": "channel"},
        {"name": "pipeline", "schedule": "1f1b"},
        {"name": "pipeline", "schedule": "zbv"},
        {"name": "deepspeed"},
        {"name": "ddp"},
        {"name": "fsdp"},
        {"name": "zero1"},
    )
]
OF_FOUR = [
    json.dumps({**case, **COMMON})
    for case in (
        {"name": "pipeline", "tensor_parallel": 2, "axis": "channel"},
        {"name": "fsdp"},
        {"name": "deepspeed", "data_parallel": 2, "zero": 1},
    )
]
RANKS = [(1, [SINGLE]), (2, STRATEGIES), (4, OF_FOUR)]
EVERY = [f"{ranks} {case}" for ranks, cases in RANKS for case in cases]
FAR = 5
BEGUN = {
    then: list(dict.fromkeys([EVERY[0], EVERY[place - FAR]])) if place else EVERY for place, then in enumerate(EVERY)
}
"""What began, by what goes on."""


def start(ranks: int, what: str, folder: Path, cases: list[str]) -> None:
    begun = {case: BEGUN[f"{ranks} {case}"] for case in cases}
    run_ranks(HERE / "resume_ranks.py", ranks, what, str(folder), json.dumps(begun))


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    for ranks, cases in RANKS:
        start(ranks, "save", folder, cases)
    for ranks, cases in RANKS:
        start(ranks, "resume", folder, cases)
    return folder


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("straight")
    run_ranks(HERE / "parity_ranks.py", 1, str(folder), SINGLE)
    state: dict[str, Any] = torch.load(folder / f"{SINGLE}.pt", weights_only=True)
    state["losses"] = torch.load(folder / f"{SINGLE}.rank0", weights_only=True)["losses"]
    return state


@pytest.mark.parametrize("then", EVERY)
def test_what_any_began_another_ends_as_one_process_would(resumed: Path, straight: dict[str, Any], then: str) -> None:
    for before in BEGUN[then]:
        ours = torch.load(resumed / f"{before} then {then}.pt", weights_only=True)
        assert ours["losses"] == pytest.approx(straight["losses"][HALF:], rel=1e-5), before
        for part in ("weights", "ema", "optimizer"):
            assert ours[part].keys() == straight[part].keys()
            for name, value in straight[part].items():
                difference = (ours[part][name].double() - value.double()).norm()
                assert float(difference / value.double().norm().clamp_min(1e-12)) < 1e-5, (before, name)
        assert ours["updates"] == STEPS
