"""One writer at a time in a folder."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parallel_ser.errors import UserError

FILE = ".lock"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the only process that writes into a folder, which is there; the lock ends with the process, whatever ends it.

    Raises:
        UserError: another process is writing there, or nothing can be written.
    """
    path = folder / FILE
    while True:
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write in {folder}: {error.strerror or error}.") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise UserError(
                    f"{folder} is being written by {file.read().strip() or 'another process'}: wait until it has "
                    "ended, or stop it."
                ) from error
            except OSError:  # a file system without locks
                yield
                return
            if not _is(path, file.fileno()):  # whoever had it has removed it meanwhile
                continue
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
