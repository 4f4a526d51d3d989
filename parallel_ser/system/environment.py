"""What a figure depends on beside the settings: the machine, the versions, the command."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from parallel_ser.system.cores import typed_command, usable_cores
from parallel_ser.system.installed import versions


def environment(ranks: int, threads: int) -> dict[str, Any]:
    """What so many processes of so many threads run on, as plain data."""
    return {
        "command": typed_command(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "processes": ranks,
        "threads_per_process": threads,
        "cores": usable_cores(),
        "machine": platform.machine(),
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "git": _git_revision(),
    }


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _git_revision() -> str:
    """Of the project's checkout, or nothing outside one."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
