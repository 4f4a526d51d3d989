from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, numpy
from parallel_ser.system.process import keep_freed, map_from, uss, peak_uss, reset_peak
{before}
def faults():
    held = [numpy.ones(2**13) for _ in range(400)]  # in what imports have left free, which would serve without a map
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        numpy.ones(2**17)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
PAGES = 20 * 2**20 // 4096


def faults(before: str, **environment: str) -> int:
    """Pages touched anew by twenty arrays of 1 MiB, each freed before the next, behind as many."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", SCRIPT.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**plain, **environment})
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc")
def test_what_is_freed_is_touched_once() -> None:
    assert faults("keep_freed()") < 0.01 * PAGES
    assert faults("keep_freed(); map_from(2**19)") > 0.9 * PAGES
    assert faults("keep_freed()", MALLOC_MMAP_THRESHOLD_=str(2**19)) > 0.9 * PAGES  # as the user wants


def test_own_memory_is_what_a_process_wrote_and_its_peak_stays() -> None:
    before = "reset_peak(); a = uss(); b = numpy.ones(2**22); c = uss(); del b"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before) + "\nprint(c - a, peak_uss() - a)"],
        capture_output=True,
        text=True,
        check=True,
    )
    grown, peak = map(int, done.stdout.splitlines()[-1].split())
    assert grown == pytest.approx(2**25, rel=0.05)
    assert peak == pytest.approx(2**25, rel=0.3)
