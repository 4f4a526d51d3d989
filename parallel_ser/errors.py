"""The one exception that a user can cause."""

from __future__ import annotations

from parallel_ser.system.terminal import printable


class UserError(Exception):
    """Something the user can mend: one sentence saying what is wrong, where, and what would work.

    The command line prints it without a traceback (unless ``--debug``) and exits with status 2. It is one line: what
    does not print, as in a hostile file name, is written as an escape.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(" ".join(sentence.splitlines())))
