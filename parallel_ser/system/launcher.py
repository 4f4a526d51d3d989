"""A rank ends with the process that started it."""

from __future__ import annotations

import os
import select
import shutil
import signal
import threading
import time

from parallel_ser.system import stops
from parallel_ser.system.leftovers import launcher_folder

OWNER = "PARALLEL_SER_OWNER"
"""In the environment: the process, beside torchrun, with which ranks end; see ``owned``."""
GRACE = 30.0
"""Seconds between the wish to stop, which lets a run save where it stands, and the end; torchrun's own."""


def torchrun_options(ranks: int) -> list[str]:
    """Of torchrun, for so many ranks that are all on this machine.

    They meet at the loopback address, for the machine's own name need not resolve. Nothing is logged, and so there is
    no folder for logs, which a killed torchrun would leave behind. A signal that is ignored here it ignores, too: else
    a run under ``nohup`` would end with its terminal.
    """
    signals = f"--signals_to_handle={','.join(one.name for one in stops.heeded())}"
    return ["--standalone", "--local_addr=127.0.0.1", f"--log_dir={os.devnull}", signals, f"--nproc_per_node={ranks}"]


def owned(surroundings: dict[str, str]) -> dict[str, str]:
    """An environment for a torchrun whose ranks end also with this process."""
    return {**surroundings, OWNER: str(os.getpid())}


def end_with_launcher() -> None:
    """End this rank when torchrun, or the owner that its environment names, has ended.

    They may be killed without a word to their children. A rank is told to stop by SIGTERM, so that it can save where
    it stands, and ends after ``GRACE`` seconds whatever it does.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or not hasattr(os, "pidfd_open"):
        return
    lives = select.poll()
    for process in (os.getppid(), int(os.environ.get(OWNER, "0"))):
        if process:
            try:
                lives.register(os.pidfd_open(process), select.POLLIN)
            except OSError:  # it has ended already, or the system cannot tell of ends
                continue
    threading.Thread(target=_watch, args=(lives, launcher_folder()), name="launcher", daemon=True).start()


def _watch(lives: select.poll, folder: os.PathLike[str] | None) -> None:
    while not lives.poll():
        pass
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)
