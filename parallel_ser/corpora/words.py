"""Clauses of messages: a list that is cut, and the nearest right spelling."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 12


def listed(names: Iterable[str]) -> str:
    """The names, of many the first ``SHOWN`` and how many more.

    >>> listed(["a", "b"])
    'a, b'
    """
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The known word that is nearest, in brackets; empty where none is near.

    >>> did_you_mean("hapy", ["happy", "sad"])
    ' (did you mean happy?)'
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
