"""What killed processes leave among the temporary files: swept by the next run of the same user.

A process that makes such files claims a folder: a file in it is locked for as long as the process lives, whatever ends
it. A folder whose claim is not locked is left over, with the files that the claim names.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

from parallel_ser.system.limits import require_locks
from parallel_ser.system.stops import TERMINAL

R = TypeVar("R")
CLAIM = ".parallel-ser"
"""The locked file; it holds the number of its process."""
MEMORY = Path("/dev/shm")
FOLDERS = ("parallel-ser-*", "torchelastic_*")
"""Names of folders that may be claimed."""
OF_PROCESS = ("joblib_memmapping_folder_{}_*", "sem.loky-{}-*", "loky-{}-*")
"""What joblib makes for a process, by its number."""
QUIET = "ignore:resource_tracker"
"""For ``PYTHONWARNINGS``: no word of what joblib's tracker removes."""


def claim(folder: Path) -> IO[str] | None:
    """Claim a folder for as long as this process lives; None where another process has."""
    file = (folder / CLAIM).open("a+", encoding="utf-8")
    if not _locked(file):
        file.close()
        return None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


@contextmanager
def workers() -> Iterator[None]:
    """Within it joblib's processes have one thread each, and what they leave when all are killed is swept later.

    Raises:
        UserError: processes cannot share locks here.
    """
    from joblib import parallel_config

    require_locks()
    _claimed()
    # joblib's tracker, a process that outlives this one for a moment, removes what was left and warns of each of it
    filters = [one for one in os.environ.get("PYTHONWARNINGS", "").split(",") if one and one != QUIET]
    os.environ["PYTHONWARNINGS"] = ",".join([*filters, QUIET])
    with parallel_config("loky", inner_max_num_threads=1):
        yield


def begun(pool: Callable[[Iterable[Any]], Iterator[R]], tasks: Iterable[Any]) -> Iterator[R]:
    """What a pool of joblib's, which gives a generator, makes of the tasks.

    The processes that it starts see none of a terminal's signals: who started them does, and ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)
    try:
        return pool(tasks)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@cache
def _claimed() -> IO[str] | None:
    """A claim of this process; made once, after a sweep."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix="parallel-ser-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return claim(folder)


@cache
def claim_of_launcher() -> IO[str] | None:
    """Claim the folder that torchrun made for the ranks of this machine, which it cannot delete once it is killed."""
    sweep()
    folder = launcher_folder()
    return claim(folder) if folder else None


def launcher_folder() -> Path | None:
    """The folder of the torchrun that started this rank; None where it made none."""
    given = os.environ.get("TORCHELASTIC_ERROR_FILE", "")
    parents = Path(given).parents if given else ()
    return next((one for one in parents if one.name.startswith("torchelastic_") and one.is_dir()), None)


def sweep() -> None:
    """Remove what dead processes of this user have left."""
    for home in dict.fromkeys((Path(tempfile.gettempdir()), MEMORY)):
        for pattern in FOLDERS:
            for folder in home.glob(pattern):
                with suppress(OSError, ValueError):  # it goes meanwhile, or is another user's
                    if folder.stat().st_uid == os.getuid():
                        _sweep(folder)


def _sweep(folder: Path) -> None:
    with (folder / CLAIM).open("r+", encoding="utf-8") as file:
        if not _locked(file):
            return
        process = int(file.read() or 0)
        for home in (Path(tempfile.gettempdir()), MEMORY):
            for pattern in OF_PROCESS if process and not Path(f"/proc/{process}").exists() else ():
                for left in home.glob(pattern.format(process)):
                    if left.stat().st_uid == os.getuid():
                        shutil.rmtree(left) if left.is_dir() else left.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system has no locks
        return False
    return True
