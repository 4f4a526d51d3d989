"""Small versions of the fault campaign in ``benchmarks/faults``: deaths at every file operation, and damaged files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from starting import run

FAULTS = Path(__file__).parent.parent / "benchmarks/faults"


def test_nothing_is_lost_wherever_a_save_is_interrupted(tmp_path: Path) -> None:
    done = run([sys.executable, FAULTS / "deaths.py", "--out", tmp_path / "deaths.json"])
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "deaths.json").read_text())
    assert len(found) == 7
    assert all(points == whole and points >= 4 for points, whole in found.values())


def test_no_damaged_file_is_read_as_if_it_were_whole(tmp_path: Path) -> None:
    done = run([sys.executable, FAULTS / "flips.py", "--flips", "25", "--pages", "5", "--out", tmp_path / "flips.json"])
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "flips.json").read_text())
    for kind, row in found.items():
        harmless = row["bits"].get("harmless", 0)
        assert row["bits"]["refused"] == 25 - harmless, kind
        assert not harmless or kind == "config.yaml"
        assert set(row["pages"]) == {"refused"}, kind
