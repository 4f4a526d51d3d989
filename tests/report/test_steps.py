from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from parallel_ser.report.steps import print_steps

ROW = {
    "rank": 0,
    "step": 0.2,
    "compute": 0.1,
    "communication": 0.05,
    "bubble": 0.03,
    "imbalance": 0.02,
    "between": 0.01,
}
RECORD: dict[str, Any] = {
    "strategy": "pipeline 1f1b",
    "steps": [3, 4, 5],
    "clock": "one",
    "file": "runs/one/fold-0/trace.json",
    "ranks": [ROW, {**ROW, "rank": 1, "bubble": 0.0, "imbalance": 0.05}],
}


def printed(record: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_steps(Console(width=80), record)
    return capsys.readouterr().out.splitlines()


def test_each_rank_has_a_row_of_its_step_and_the_shares(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(RECORD, capsys)
    assert lines[0] == "Where the time of pipeline 1f1b went (steps 3 to 5, mean, ms)"
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert rows == [
        ["0", "200.0", "100.0", "50%", "50.0", "25%", "30.0", "15%", "20.0", "10%"],
        ["1", "200.0", "100.0", "50%", "50.0", "25%", "0.0", "0%", "50.0", "25%"],
    ]
    assert lines[-1].startswith("Of compute the host's work between passes: up to 5%.")
    assert lines[-1].endswith("runs/one/fold-0/trace.json")
    assert "Clock" not in lines[-1]


def test_one_step_and_several_machines_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed({**RECORD, "steps": [1], "clock": "of several machines, within 0.020 ms"}, capsys)
    assert lines[0].endswith("(step 1, ms)")
    assert "Clock: of several machines, within 0.020 ms." in lines[-1]


def test_a_step_that_took_no_time_has_no_shares(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed({**RECORD, "ranks": [dict.fromkeys(ROW, 0)]}, capsys)
    assert not any("%" in line for line in lines[:-1])
