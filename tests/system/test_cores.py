"""Threads and cores: what the user, the affinity and a container's quota allow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_ser.system.cores import threads_a_rank

ASK = "from parallel_ser.system.cores import threads_a_rank, typed_command, usable_cores;"


def said(code: str, **surroundings: str) -> str:
    """What a fresh process prints of an expression."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", f"{ASK} print({code})"]
    return subprocess.run(command, env={**env, **surroundings}, capture_output=True, text=True, check=True).stdout[:-1]


@pytest.mark.parametrize(
    ("asked", "typed", "threads"), [(3, "", 3), (0, "5", 5), (3, "5", 3), (0, "7,2", 7), (0, "no", None), (0, "", None)]
)
def test_what_is_asked_holds_then_what_is_typed(asked: int, typed: str, threads: int | None) -> None:
    found = int(said(f"threads_a_rank({asked}, 1)", **({"OMP_NUM_THREADS": typed} if typed else {})))
    assert found == threads or (threads is None and found == int(said("usable_cores()")))


def test_ranks_share_the_cores_and_each_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_a_rank(0, 10_000) == 1


def test_a_processor_that_may_not_be_used_does_not_count() -> None:
    core = min(os.sched_getaffinity(0))
    assert said(f"__import__('os').sched_setaffinity(0, [{core}]) or usable_cores()") == "1"


@pytest.mark.skipif(
    not Path("/sys/fs/cgroup/cpu.max").exists() and not Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists(),
    reason="there is no cgroup whose quota can be read",
)
def test_a_quota_of_a_container_counts() -> None:
    """The quota is read where a container has it, and not from this test's own."""
    code = (
        "__import__('unittest.mock').mock.patch('joblib.externals.loky.backend.context._cpu_count_cgroup',"
        " lambda count: 1).start() and usable_cores()"
    )
    assert said(code) == "1"


@pytest.mark.parametrize(("typed", "threads"), [("2", "2"), ("", str(max(1, len(os.sched_getaffinity(0)))))])
def test_the_default_of_torchrun_is_no_wish_of_the_user(tmp_path: Path, typed: str, threads: str) -> None:
    """torchrun gives its ranks OMP_NUM_THREADS=1 where the user gives nothing."""
    script = tmp_path / "rank.py"
    script.write_text(f"{ASK} print(threads_a_rank(0, 1), '|', typed_command())\n")
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    # what torchrun does for its ranks, without importing torch
    inner = [sys.executable, str(script)]
    code = (
        "import subprocess, sys, os;"
        "env = {'OMP_NUM_THREADS': '1', **os.environ, 'TORCHELASTIC_RUN_ID': 'x'};"
        "subprocess.run(sys.argv[1:], env=env, check=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *inner],
        env={**env, **({"OMP_NUM_THREADS": typed} if typed else {})},
        capture_output=True,
        text=True,
        check=True,
    )
    found, _, command = done.stdout.partition(" | ")
    assert found == threads
    assert str(script) in command
