"""What the system has no more of, or refuses, as a sentence."""

from __future__ import annotations

import errno
import os
import resource

from parallel_ser.errors import UserError
from parallel_ser.system.terminal import printable

FILES = 80
"""Files that a process has open beside those for its peers: libraries, the corpus, the run's folder."""
FILES_A_RANK = 8
"""Connections with each peer, over all groups."""

_REFUSALS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
        *(errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ENXIO, errno.ESTALE, errno.EFBIG),
    }
)
_NO_LOCKS = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOSYS, errno.ENOSPC, errno.EINVAL})


def require_files(ranks: int) -> None:
    """Let this process, and those that it starts, have as many files open as the system lets it.

    Raises:
        UserError: they are too few for so many ranks, of which each has connections with all others.
    """
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now != most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    needed = FILES + FILES_A_RANK * ranks
    if most != resource.RLIM_INFINITY and most < needed:
        raise UserError(
            f"a process may have {most} files open here, and {ranks} processes need about {needed}: raise it, such as "
            "with ulimit -n 4096."
        )


def explain(error: BaseException) -> str | None:
    """What the system says in an error, as a sentence; None where it says nothing."""
    return no_locks(error) or used_up(error) or refused(error)


def no_locks(error: BaseException) -> str | None:
    """Where processes cannot share locks, which the system keeps in ``/dev/shm``, and why; None where it is not that.

    Such an error names no file.
    """
    if not isinstance(error, OSError) or error.filename is not None or error.errno not in _NO_LOCKS:
        return None
    try:
        require_locks()
    except UserError as found:
        return str(found)
    return None


def require_locks() -> None:
    """Refuse to start processes that could share no lock.

    Raises:
        UserError: none can be made.
    """
    from multiprocessing import Lock

    try:
        Lock()
    except OSError as error:
        raise UserError(
            f"processes cannot share locks here, for /dev/shm cannot be used ({os.strerror(error.errno or 0)}): make "
            "room in it, or mount it so that it can be written."
        ) from error


def refused(error: BaseException) -> str | None:
    """Which file or folder the system refuses, and why; None where it is not that."""
    if not isinstance(error, OSError) or error.filename is None or error.errno not in _REFUSALS:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else error.filename
    return printable(f"cannot use {name}: {os.strerror(error.errno)}.")


def used_up(error: BaseException) -> str | None:
    """What an error, or one that it was raised from, says that there is no more of; None where it says no such thing.

    Libraries raise errors of their own with the system's words in them.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return _sentences()[errno.ENOMEM]
        for number, sentence in _sentences().items():
            if getattr(cause, "errno", None) == number or os.strerror(number) in str(cause):
                return sentence
        cause = cause.__cause__ or cause.__context__
    return None


def _sentences() -> dict[int, str]:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {  # the system's words for the first begin with those for the second
        errno.ENFILE: "the machine has too many files open: end other programs.",
        errno.EMFILE: f"a process may have {files} files open here, which are too few: raise it with ulimit -n 4096.",
        errno.ENOMEM: "there is no more memory: end other programs, use fewer processes, or a smaller train.batch.",
        errno.ENOSPC: "the disk is full: make room and go on with run.resume=true.",
        errno.EDQUOT: "your quota on the disk is used up: make room and go on with run.resume=true.",
    }
