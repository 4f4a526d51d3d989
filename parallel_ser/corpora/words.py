"""A clause of messages: a list that is cut."""

from __future__ import annotations

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
