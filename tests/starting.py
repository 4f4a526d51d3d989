"""How tests start processes: with one limit for all, that ends a hang and is no measure of speed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LIMIT = 900
"""Seconds; ten times what the longest takes on two busy cores."""


def run(
    command: Sequence[str | Path], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its status; beyond the limit it ends with all that it started."""
    words = [str(word) for word in command]
    started = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=env, start_new_session=True
    )
    try:
        out, errors = started.communicate(timeout=LIMIT)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
            started.communicate()
    return subprocess.CompletedProcess(words, started.returncode, out, errors)


def run_cases(script: Path, ranks: int, folder: Path, cases: Sequence[str]) -> dict[str, str]:
    """Run a script on ranks that does its cases one after another; returns what was said by those that failed.

    A case is done when its file ``CASE.pt`` is in ``folder``. Behind one that failed, or hung, new ranks go on.
    """
    failed, left, idle = {}, list(cases), 0
    while left:
        said = ""
        try:
            run_ranks(script, ranks, str(folder), *left)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            said = str(error)
        before, left = len(left), [case for case in left if not (folder / f"{case}.pt").exists()]
        idle = idle + 1 if len(left) == before else 0
        for _ in range(len(left) if idle == 2 else min(1, len(left))):  # twice nothing: it is no single case's fault
            failed[left.pop(0)] = said or "it ended without a result"
    return failed


def run_ranks(script: Path, ranks: int, *arguments: str) -> None:
    """Run a script on so many ranks of one thread; fails where it does, with the end of what it said."""
    command = [sys.executable, Path(__file__).with_name("fork_ranks.py"), str(ranks)]
    done = run([*command, script, *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
