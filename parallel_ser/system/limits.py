"""What the system has no more of, as a sentence."""

from __future__ import annotations

import errno
import os
import resource

from parallel_ser.errors import UserError

FILES = 80
"""Files that a process has open beside those for its peers: libraries, the corpus, the run's folder."""
FILES_A_RANK = 8
"""Connections with each peer, over all groups."""


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


def used_up(error: BaseException) -> str | None:
    """What an error, or one that it was raised from, says that there is no more of; None where it says no such thing.

    Libraries raise errors of their own with the system's words in them.
    """
    cause: BaseException | None = error
    while cause is not None:
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
        errno.ENOSPC: "the disk is full: make room and go on with run.resume=true.",
        errno.EDQUOT: "your quota on the disk is used up: make room and go on with run.resume=true.",
    }
