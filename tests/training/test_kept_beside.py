"""What a user keeps beside the files of a run is neither read as the run's nor deleted."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from parallel_ser.config import load
from parallel_ser.errors import UserError
from parallel_ser.system import digests
from parallel_ser.training import card, conditions, listing, robustness, run_folder, standing, transfer
from parallel_ser.training.metrics import measure
from parallel_ser.training.predictions import Predictions

SAID = Predictions(("a.wav",), ("s1",), ("female",), np.zeros(1), ("sad",), ("joy", "sad"), np.array([[0.2, 0.8]]))
RECORD = measure(SAID).model_dump(mode="json")


def test_copies_of_folds_are_no_folds(tmp_path: Path) -> None:
    for name in ("fold-1", "fold-0", "fold-10", "fold-0.bak", "fold-1 (copy)", "fold-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.pt").write_bytes(name.encode())
        (tmp_path / name / "predictions.csv").touch()
    assert run_folder.folds(tmp_path) == run_folder.tested_folds(tmp_path) == [0, 1, 10]
    before = run_folder.digest_of(tmp_path)
    (tmp_path / "fold-x/model.pt").write_bytes(b"other")
    assert run_folder.digest_of(tmp_path) == before


def test_copies_of_checkpoints_are_none(tmp_path: Path) -> None:
    for name in ("step-2", "step-10", "step-99.bak", "step-old", "step-²"):
        (tmp_path / name).mkdir()
        (tmp_path / name / standing.INFO).touch()
    assert standing.newest(tmp_path) == tmp_path / "step-10"


def test_no_bit_of_a_result_changes_unnoticed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    record = {**RECORD, "uar": {"value": 0.1 + 0.2, "interval": None}, "notes": ["é"]}
    digests.write_json(tmp_path / run_folder.METRICS, record)
    assert math.isclose(run_folder.metrics_of(tmp_path)["uar"]["value"], 0.3)
    whole = (tmp_path / run_folder.METRICS).read_bytes()
    assert json.loads(whole)["notes"] == ["é"]  # plain JSON for other programs
    for _ in range(300):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (tmp_path / run_folder.METRICS).write_bytes(data)
        with pytest.raises(UserError, match="is damaged"):
            run_folder.metrics_of(tmp_path)


@pytest.mark.parametrize("content", [b"[1]\n", b"{}\n", b'{"band_hz": {"low": 1}}', b"", None])
def test_recordings_that_were_not_written_so_are_refused(tmp_path: Path, content: bytes | None) -> None:
    usual = {name: {"low": 1.0, "high": 2.5} for name in conditions.MEASURES}
    path = tmp_path / conditions.FILE
    digests.write_json(path, usual)
    assert conditions.read(tmp_path) == usual
    data = bytearray(path.read_bytes())
    data[data.index(b"2.5")] = ord("9")
    path.write_bytes(data if content is None else content)
    with pytest.raises(UserError, match=r"recordings\.json is damaged"):
        conditions.read(tmp_path)


def test_emptied_settings_have_changed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UserError, match="has changed since the run wrote it"):
        run_folder.settings(tmp_path)


@pytest.mark.parametrize("content", [b"[1]\n", b"{}\n", b"3", b"\xff\xfe", b"", b'{"processes": "two"}'])
def test_a_run_with_a_file_of_another_shape_is_listed_with_its_problem(tmp_path: Path, content: bytes) -> None:
    from parallel_ser.config import load

    run = run_folder.open_new(load(None, [f"run.folder={tmp_path}/run"]), "", 1, 1)
    (run / "environment.json").write_bytes(content)
    row = listing.record(run)
    assert row["uar"] is None
    assert str(run) in row["problem"]
    assert "\n" not in row["problem"]


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"\x00", None])
def test_a_split_that_cannot_be_read_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "split.csv"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    if content == b"\x00":
        assert run_folder._split_rows(path) == []  # its header alone
    else:
        with pytest.raises(UserError, match=r"split\.csv"):
            run_folder._split_rows(path)


def test_what_initial_weights_had_seen_does_not_change_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "fold-0" / transfer.FILE
    path.parent.mkdir()
    seen = {side: {"recording": [], "speaker": ["Ana", "Bo"], "text": []} for side in transfer.SIDES}
    digests.write_json(path, {"path": "/runs/a", "file_digest": "0" * 32, "anew": [], "seen": seen})
    (note,) = transfer.notes(tmp_path, [0])
    assert "trained on 2 speakers" in note
    path.write_bytes(path.read_bytes().replace(b'"Ana"', b'"Bo" '))
    with pytest.raises(UserError, match=r"initial-weights\.json is damaged"):
        transfer.notes(tmp_path, [0])


def test_a_card_has_no_altered_figures_of_robustness(tmp_path: Path) -> None:
    digests.write_json(tmp_path / run_folder.METRICS, RECORD)
    digests.write_json(tmp_path / robustness.FILE, {"n": 4, "rows": [], "short": []})
    path = tmp_path / robustness.FILE
    path.write_bytes(path.read_bytes().replace(b"4", b"9", 1))
    with pytest.raises(UserError, match=r"robustness\.json is damaged"):
        card.write(tmp_path, load(None, []))
