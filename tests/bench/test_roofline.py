"""The roofline against arithmetic, and the command that prints it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from parallel_ser.bench import roofline
from parallel_ser.bench.roofline import Peaks, least_bytes, measure_peaks, passes, step_flops
from parallel_ser.cli import app
from parallel_ser.parallel.cost.block_profile import BlockProfile, BlockProfiles

BLOCK = BlockProfile(
    name="one",
    forward=1.0,
    backward=3.0,
    input=0.0,
    weight=0.0,
    saved=0,
    largest=0,
    delayed=0,
    waiting=0,
    entering=10,
    leaving=20,
    parameters=5,
    trained=5,
    flops=100.0,
)


def test_a_blocks_bytes_are_those_that_a_list_of_its_tensors_has() -> None:
    reads_forward, writes_forward = 10 + 5, 20
    reads_backward, writes_backward = 10 + 5 + 20, 10 + 5
    assert least_bytes(BLOCK) == reads_forward + writes_forward + reads_backward + writes_backward


def test_the_roof_is_the_lower_of_peak_and_slope() -> None:
    first, second, whole = passes(BlockProfiles((1,), 1, (BLOCK, BLOCK)), Peaks(flops=50.0, bandwidth=10.0))
    assert (first.flops, second.flops, whole.flops) == (200.0, 300.0, 500.0)  # no gradient of the features
    assert (first.moved, second.moved) == (75.0, 85.0)
    assert first.attainable == pytest.approx(10.0 * 200.0 / 75.0)
    assert second.attainable == pytest.approx(10.0 * 300.0 / 85.0)
    assert whole.attainable == pytest.approx(500.0 / (7.5 + 8.5))  # both at the memory's pace
    assert second.achieved == 300.0 / 4.0
    assert passes(BlockProfiles((1,), 1, (BLOCK,)), Peaks(10.0, 1e9))[0].attainable == 10.0


def test_operations_of_a_step_are_counted_as_torch_counts_them() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    layers = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Linear(16, 4, bias=False))
    x = torch.randn(3, 8)
    with FlopCounterMode(display=False) as counter:
        layers(x).sum().backward()
    assert step_flops([2.0 * 3 * 8 * 16, 2.0 * 3 * 16 * 4]) == counter.get_total_flops()


def test_a_machine_has_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "SECONDS", 0.0)
    monkeypatch.setattr(roofline, "WORDS", 1 << 18)
    found = measure_peaks(torch.device("cpu"), torch.float32)
    assert found.flops > 1e9
    assert found.bandwidth > 1e8


def test_the_command_prints_every_block_and_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "measure_peaks", lambda device, precision: Peaks(1e12, 1e11))
    out = tmp_path / "roof.json"
    arguments = ["profile", "train.batch=2", "strategy.microbatches=1", "--seconds", "0.2", "--threads", "1"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert done.exit_code == 0, done.output
    record = json.loads(out.read_text())
    names = [one["name"] for one in record["blocks"]]
    assert names[0] == "stem"
    assert names[-1] == "all"
    assert all(name in done.output for name in names)
    assert record["blocks"][-1]["flops"] == pytest.approx(sum(one["flops"] for one in record["blocks"][:-1]))
    assert record["threads"] == 1
