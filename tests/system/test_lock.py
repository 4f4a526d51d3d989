"""One writer at a time in a folder, whatever ended the one before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_ser.errors import UserError
from parallel_ser.system.lock import FILE, writing

HOLD = (
    "import sys, time; from pathlib import Path; from parallel_ser.system.lock import writing\n"
    "with writing(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
)


def test_a_second_writer_is_told_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"is being written by process {other.pid} on .*: wait until"):
            writing(tmp_path).__enter__()
        other.send_signal(signal.SIGKILL)
        other.wait()
    with writing(tmp_path):
        assert (tmp_path / FILE).read_text().startswith(f"process {os.getpid()} ")


def test_nothing_is_left_and_it_can_be_had_again(tmp_path: Path) -> None:
    for _ in range(2):
        with writing(tmp_path):
            pass
        assert not list(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        _ = 1 / 0
    with writing(tmp_path):
        pass


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write in"):
        writing(tmp_path / "none").__enter__()
