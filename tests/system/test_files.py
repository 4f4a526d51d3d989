"""What is no plain file is not opened; what cannot be written is said of its file."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_ser.errors import UserError
from parallel_ser.system import digests
from parallel_ser.system.files import plain
from parallel_ser.training import run_folder
from parallel_ser.training.predictions import Predictions


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


OTHERS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}
READERS: dict[str, Callable[[Path], object]] = {
    "config.yaml": lambda path: run_folder.settings(path.parent),
    "metrics.json": lambda path: run_folder.metrics_of(path.parent),
    "environment.json": run_folder.read_json,
    "predictions.csv": Predictions.from_csv,
    "calibration.json": digests.read_json,
    "entry.features": digests.read_bytes,
    "model.pt": lambda path: digests.sealed(path).__enter__(),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", READERS)
def test_a_file_of_a_run_that_is_none_is_refused_unopened(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    OTHERS[kind](path)  # a pipe that is opened is awaited for ever
    with pytest.raises(UserError, match=f"^cannot read .* it is {kind} and not a file"):
        READERS[name](path)


def test_plain_files_and_links_to_them_are_taken(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert plain(tmp_path / "b").read_text() == "x"
    assert plain(tmp_path / "none") == tmp_path / "none"
