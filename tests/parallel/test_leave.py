"""A rank that is done leaves at once."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import os
os.environ["RANK"] = "0"
from joblib import Parallel, delayed
from parallel_ser.parallel.processes import leave
print(sum(Parallel(n_jobs=2)(delayed(abs)(one) for one in (-1, -2))), flush=True)
leave(3)
"""


def test_idle_workers_of_joblib_are_not_waited_for() -> None:
    # they would end by themselves after five minutes
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (3, "3\n"), done.stderr
