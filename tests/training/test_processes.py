"""What happens to the other processes when one fails, and when they are started by two agents."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from starting import LIMIT
from starting import run as start

sys.path.insert(0, str(Path(__file__).parent))
from test_run import BIN, ROOT, TINY

LONG = [*TINY, "train.epochs=300"]


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PARALLEL_SER_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", **more}


def ranks_of(parent: int) -> dict[str, int]:
    """Process ids of the ranks below a launcher, by rank."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                above = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                told = dict(one.partition("=")[::2] for one in (entry / "environ").read_text().split("\0"))
            except (OSError, ValueError):
                continue
            if above == parent and "RANK" in told:
                found[told["RANK"]] = int(entry.name)
    return found


@pytest.mark.parametrize("name", ["pipeline", "tensor_split"])
def test_a_killed_rank_ends_the_run_soon_and_is_named(tmp_path: Path, name: str) -> None:
    command = [str(BIN / "parallel-ser"), "train", "--nproc", "2", *LONG, f"strategy.name={name}", "run.folder=run"]
    run = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=surroundings(tmp_path)
    )
    try:
        deadline = time.monotonic() + LIMIT
        while not (tmp_path / "run/fold-0/model.pt").exists():  # an epoch is done
            assert time.monotonic() < deadline
            assert run.poll() is None, run.communicate()[1]
            time.sleep(0.1)
        victims = ranks_of(run.pid)
        os.kill(victims["1"], signal.SIGKILL)
        _, errors = run.communicate(timeout=LIMIT)
    finally:
        run.kill()
    assert run.returncode == 2
    told = [line for line in errors.splitlines() if line.startswith("error:")]
    assert told == [line for line in told if "process 1 of the run was killed by signal 9" in line]
    assert len(told) == 1
    assert not Path(f"/proc/{victims['0']}").exists()


def test_a_rank_that_raises_is_shown_and_not_those_that_lost_it(tmp_path: Path) -> None:
    script = tmp_path / "raising.py"
    script.write_text(
        """
import os
from parallel_ser.training import batches, main
plain = batches.Training.batch
def batch(self, *given):
    if os.environ["RANK"] == "1":
        raise ZeroDivisionError("the first cause")
    return plain(self, *given)
batches.Training.batch = batch
main.rank()
"""
    )
    command = [str(BIN / "torchrun"), "--standalone", "--nproc_per_node=2", str(script), *LONG, "run.folder=run"]
    done = start(command, cwd=tmp_path, env=surroundings(tmp_path))
    assert done.returncode != 0
    assert "ZeroDivisionError: the first cause" in done.stderr
    assert "Connection closed" not in done.stderr


def test_two_agents_train_together_in_a_folder_that_they_share(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agents = []
    for number in range(2):
        folder = tmp_path / f"host{number}"
        folder.mkdir()
        command = [str(BIN / "torchrun"), "--nnodes=2", "--nproc_per_node=1", f"--node_rank={number}"]
        command += ["--master_addr=127.0.0.1", f"--master_port={port}", str(ROOT / "launch/train.py")]
        command += [*TINY, "train.epochs=1", f"run.folder={tmp_path}/shared"]
        agents.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=surroundings(folder)
            )
        )
    for agent in agents:
        _, errors = agent.communicate(timeout=LIMIT)
        assert agent.returncode == 0, errors[-2000:]
    assert json.loads((tmp_path / "shared/metrics.json").read_text())["n"] == 21
    assert json.loads((tmp_path / "shared/environment.json").read_text())["processes"] == 2
    assert [one.name for one in (tmp_path / "host1").iterdir()] == ["cache"]  # each has its own cache of features


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["strategy.schedule=zbv", "--nproc", "9"], "use --nproc 4"),
        (["strategy.schedule=dualpipev", "--nproc", "4"], "strategy.microbatches=8"),
        (["strategy.name=tensor_split", "strategy.axis=channel", "--nproc", "3"], "use --nproc 2"),
    ],
)
def test_what_cannot_work_is_refused_before_any_process_starts(tmp_path: Path, given: list[str], said: str) -> None:
    command = [BIN / "parallel-ser", "train", *TINY, "train.batch=16", *given]
    done = start(command, cwd=tmp_path, env=surroundings(tmp_path))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert not list(tmp_path.iterdir())
