"""A rank ends with what started it, after it was asked to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_ser.system.launcher import OWNER, owned

RANK = """
import os, signal, sys, time
from parallel_ser.system import launcher
launcher.GRACE = 1.0
asked = []
if sys.argv[2] != "default":
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
launcher.end_with_launcher()
print(os.getpid(), flush=True)
while not asked or sys.argv[2] == "deaf":
    time.sleep(0.01)
open(sys.argv[1], "w").write("saved")
"""
START = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)"


@pytest.mark.parametrize("manner", ["heeds", "default", "deaf"])
@pytest.mark.parametrize("killed", ["launcher", "owner"])
def test_a_rank_is_asked_to_stop_and_then_ended(tmp_path: Path, manner: str, killed: str) -> None:
    folder = tmp_path / "torchelastic_x"
    (folder / "none/attempt_0/0").mkdir(parents=True)
    (tmp_path / "rank.py").write_text(RANK)
    saved = tmp_path / "saved"
    surroundings = {**os.environ, "TORCHELASTIC_RUN_ID": "none"}
    surroundings["TORCHELASTIC_ERROR_FILE"] = str(folder / "none/attempt_0/0/error.json")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        if killed == "owner":
            surroundings[OWNER] = str(owner.pid)
        with subprocess.Popen(
            [sys.executable, "-c", START, tmp_path / "rank.py", saved, manner],
            env=surroundings,
            stdout=subprocess.PIPE,
            text=True,
        ) as launcher:
            assert launcher.stdout
            rank = os.pidfd_open(int(launcher.stdout.readline()))
            (launcher if killed == "launcher" else owner).kill()
            assert launcher.stdout.read() == ""  # until the rank, too, has closed its end
            os.close(rank)
        owner.kill()
    assert saved.exists() == (manner == "heeds")
    assert not folder.exists()


def test_an_owner_is_this_process() -> None:
    assert owned({"a": "b"}) == {"a": "b", OWNER: str(os.getpid())}


def test_other_processes_are_left_alone() -> None:
    """Without torchrun nobody is watched: a shell may end before what it started."""
    code = (
        "import signal, time; from parallel_ser.system.launcher import end_with_launcher\n"
        "import threading; end_with_launcher(); print(threading.active_count())"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
