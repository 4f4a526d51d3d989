"""How many cores and threads a process may use, and what was typed to start it."""

from __future__ import annotations

import os
import shlex
import sys
from functools import cache
from pathlib import Path

THREADS = "OMP_NUM_THREADS"


@cache
def usable_cores() -> int:
    """Cores that this process may use: by its affinity and by the quota of its container (cgroup)."""
    from joblib.externals.loky import cpu_count

    return int(cpu_count())


def threads_a_rank(asked: int, ranks: int) -> int:
    """Threads of each of so many ranks on this machine: as asked, else as ``OMP_NUM_THREADS`` says, else their share.

    Args:
        asked: in the settings; 0 is nothing.
        ranks: on this machine.
    """
    return asked or _typed_threads() or max(1, usable_cores() // ranks)


def typed_command() -> str:
    """The command line that started this process, or the torchrun that started it, quoted for a shell."""
    name = Path(sys.argv[0]).name
    here = [*(("python", "-m", "parallel_ser") if name == "__main__.py" else (name,)), *sys.argv[1:]]
    return shlex.join(_of_launcher("cmdline") or here)


def _typed_threads() -> int:
    """What the user set ``OMP_NUM_THREADS`` to; 0 where nothing. torchrun sets it to 1 by itself, which is no wish."""
    surroundings = dict(entry.partition("=")[::2] for entry in _of_launcher("environ"))
    typed = (surroundings or os.environ).get(THREADS, "").partition(",")[0]  # a list is by level of nesting
    return int(typed) if typed.isdecimal() else 0


def _of_launcher(file: str) -> list[str]:
    """The entries of a file that the system keeps of the torchrun that started this rank; none of any other process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return []
    try:
        content = Path(f"/proc/{os.getppid()}/{file}").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(entry) for entry in content.split(b"\0") if entry]
