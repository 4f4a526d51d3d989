"""How tests start ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run_ranks(script: str, ranks: int, *arguments: str) -> None:
    """Run a script of this folder on so many ranks of one thread; fails where it does, with the end of what it said."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    command += [str(HERE / script), *arguments]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=surroundings)
    assert done.returncode == 0, done.stderr[-3000:]
