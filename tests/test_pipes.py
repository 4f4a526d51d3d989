"""No file that a user names is awaited where it is a pipe without a writer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_ser.analysis.speakers import read_rttm
from parallel_ser.analysis.store import Store
from parallel_ser.bench import asked, record
from parallel_ser.config import load
from parallel_ser.corpora import audformat, iemocap
from parallel_ser.corpora.table import rows
from parallel_ser.errors import UserError
from parallel_ser.parallel.schedule import csv_file

READ: dict[str, Callable[[Path], object]] = {
    "settings": lambda path: load(path, []),
    "a network's file": lambda path: load(None, [f"model.file={path}"]),
    "a list": lambda path: list(rows(path, "a list", ())),
    "a schedule": csv_file.read,
    "turns": read_rttm,
    "a store": lambda path: Store(path).sessions("P1"),
    "a record": record.read,
    "a suite": lambda path: asked.asked(str(path), {}),
    "a header": audformat._header,
    "labels": iemocap._lines,
}


@pytest.mark.parametrize("what", READ)
def test_a_pipe_is_refused_and_not_awaited(tmp_path: Path, what: str) -> None:
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"pipe\.yaml.*is a pipe and not a file"):
        READ[what](path)


@pytest.mark.parametrize(
    ("read", "content", "said"),
    [
        (csv_file.read, b"\xff\xfe0F0", "is not a text in UTF-8"),
        (csv_file.read, b"0F0,0B0\n" + b"x" * 200_000, "is no CSV file"),
        (csv_file.read, "\ufeff0F0,0X0".encode(), "cell 2: '0X0' is not a stage"),
        (record.read, b"\xff", "is not a text in UTF-8"),
        (READ["a suite"], b"\xff\xfe", "is not a text in UTF-8"),
        (READ["a suite"], b"- 1", "names no suite"),
        (READ["a suite"], b"", "names no suite"),
        (READ["a suite"], b"suite: classical\nsettings: 5", "settings is a list of such as features.n_mels=40"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, read: Callable[[Path], object], content: bytes, said: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read(path)
