"""Memory of this process as the operating system counts it."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path


def status() -> dict[str, int]:
    """Bytes that the system counts for this process: ``VmRSS``, its peak ``VmHWM``, ``VmData`` and more."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def reset_peak() -> bool:
    """Set ``VmHWM`` back to the resident set of now, where the system lets a process do so."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def thread_seconds() -> dict[int, float]:
    """Processor seconds of each thread so far, by its number, without those of gloo, which pass messages."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for path in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            if "gloo" in (path / "comm").read_text():
                continue
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            found[int(path.name)] = (int(fields[11]) + int(fields[12])) / ticks
    return found


def busy(before: dict[int, float], after: dict[int, float]) -> int:
    """How many threads computed between two ``thread_seconds``: at least six tenths of what the busiest one did.

    Threads that pass messages take less, a thread that computes beside a rank's own as much or more.
    """
    used = [seconds - before.get(number, 0.0) for number, seconds in after.items()]
    return sum(one >= 0.6 * max(used) for one in used) if max(used, default=0.0) > 0.0 else 1


def uss() -> int:
    """Resident bytes of this process without pages of files, as of libraries, which processes share."""
    now = status()
    return now["VmRSS"] - now.get("RssFile", 0)


def peak_uss() -> int:
    """The most that ``uss`` was since ``reset_peak``; pages of files that came to memory are there still."""
    now = status()
    return now["VmHWM"] - now.get("RssFile", 0)


def uss_after_trim() -> int:
    """``uss`` once the C library has given back what it keeps of freed memory, where it can be asked to."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return uss()


def keep_freed() -> None:
    """Have glibc keep what is freed, unless the environment (MALLOC_…, GLIBC_TUNABLES) says how it shall allocate.

    What it gives back to the system has to be touched anew: pages that a step used before took up to a fifth of it.
    """
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        _mallopt(trim_threshold=2**30, top_pad=2**26, mmap_threshold=2**25)


def map_from(size: int) -> None:
    """Have glibc map allocations from ``size`` bytes on by themselves and give back the rest: the least memory."""
    _mallopt(trim_threshold=2**17, top_pad=2**17, mmap_threshold=size)


def _mallopt(trim_threshold: int, top_pad: int, mmap_threshold: int) -> None:
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in ((-1, trim_threshold), (-2, top_pad), (-3, mmap_threshold)):  # as in malloc.h
            libc.mallopt(parameter, value)


def energy(gpu: int | None = None) -> float | None:
    """Joules used so far by the processor packages (RAPL), or by a GPU (NVML); None where the machine does not tell.

    RAPL's counter wraps round after some hours, so a difference may be negative; then it says nothing.
    """
    if gpu is not None:
        try:
            import pynvml
        except ImportError:
            return None
        with suppress(pynvml.NVMLError):  # no driver, or a device that does not count
            pynvml.nvmlInit()
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(gpu))) / 1e3
        return None
    try:
        counters = [path.read_text() for path in Path("/sys/class/powercap").glob("intel-rapl:?/energy_uj")]
    except OSError:
        return None
    return sum(int(text) for text in counters) / 1e6 if counters else None
