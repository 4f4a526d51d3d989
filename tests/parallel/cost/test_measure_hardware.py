"""The measured machine: that its numbers are numbers, and kept; how large they are is the machine's business."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from parallel_ser.parallel.cost.hardware_model import probe


def test_two_processes_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = probe(2, 1, tmp_path)
    assert len(found.slowdown) == 2
    assert found.slowdown[0] == 1.0
    assert min(found.slowdown) >= 1.0
    for seconds in (found.within.latency, found.within.reduce_latency):
        assert 0 < seconds < 1
    for rate in (found.within.bandwidth, found.within.reduce_bandwidth):
        assert 1e6 < rate < 1e13
    assert set(found.overheads) == {"layer_split", "pipeline", "deepspeed", "fsdp"}
    assert all(0 <= seconds < 1 for seconds in found.overheads.values())
    assert 0 <= found.resident < 2**30
    monkeypatch.setattr(subprocess, "run", None)
    assert probe(2, 1, tmp_path) == found
