"""The one exception that a user can cause, and the nearest right spelling for its sentence."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from parallel_ser.system.terminal import printable


class UserError(Exception):
    """Something the user can mend: one sentence saying what is wrong, where, and what would work.

    The command line prints it without a traceback (unless ``--debug``) and exits with status 2. It is one line: what
    does not print, as in a hostile file name, is written as an escape.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(" ".join(sentence.splitlines())))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known name that is most like a word, whatever its case and with dashes for underscores; empty if none is.

    >>> nearest("CREMA-D", ["crema_d", "ravdess"])
    'crema_d'
    """
    return next(iter(get_close_matches(word.lower().replace("-", "_"), list(known), n=1)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known name as a clause in brackets; empty where none is near.

    >>> did_you_mean("hapy", ["happy", "sad"])
    ' (did you mean happy?)'
    """
    near = nearest(word, known)
    return f" (did you mean {near}?)" if near else ""
