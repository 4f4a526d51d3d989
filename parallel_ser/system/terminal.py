"""What reaches a terminal, or a spreadsheet, of names that other people chose."""

from __future__ import annotations

import sys
from io import TextIOWrapper

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection")."""


def printable(text: str) -> str:
    r"""Return the text with what does not print, such as a line break or a terminal's escape, written as an escape.

    >>> print(printable("a\x1b[31m\nb\udcff é"))
    a\x1b[31m\nb\udcff é
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def any_name() -> None:
    """Let standard output and error take names that are no UTF-8: what cannot be encoded is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def cell(text: str) -> str:
    """A text as a cell of a CSV file that no spreadsheet takes for a formula; ``text_of`` gives the text back.

    >>> cell("=cmd|'/c calc'!A1"), cell("'tis"), cell("joy")
    ("'=cmd|'/c calc'!A1", "''tis", 'joy')
    """
    return f"'{text}" if text.startswith((*FORMULA, "'")) else text


def text_of(written: str) -> str:
    """The text that ``cell`` made a cell of.

    >>> text_of(cell("=1")), text_of(cell("'")), text_of("joy")
    ('=1', "'", 'joy')
    """
    return written[1:] if written.startswith("'") and written[1:].startswith((*FORMULA, "'")) else written
