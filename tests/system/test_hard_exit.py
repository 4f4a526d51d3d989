"""A rank that is done leaves at once, and with its status."""

from __future__ import annotations

import sys

import pytest
from starting import run

START = """
import atexit, threading
from parallel_ser.system.hard_exit import HardExit
leave = HardExit()
"""
JOBLIB = """
from joblib import Parallel, delayed
print(sum(Parallel(n_jobs=2)(delayed(abs)(one) for one in (-1, -2))), flush=True)
leave(3)
"""


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        (JOBLIB, (3, "3\n")),  # whose idle workers would end by themselves after five minutes
        ("atexit.register(print, 'tidied up')\nleave(0)", (0, "tidied up\n")),
        ("raise ZeroDivisionError", (1, "")),
    ],
)
def test_a_process_ends_with_its_status_when_what_is_registered_has_run(code: str, ended: tuple[int, str]) -> None:
    command = [sys.executable, "-c", START + code]
    done = run(command)
    assert (done.returncode, done.stdout) == ended, done.stderr
