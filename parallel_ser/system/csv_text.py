"""The one form of the CSV files that are written."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable

from parallel_ser.system.terminal import cell


def csv_text(rows: Iterable[Iterable[object]], text: Callable[[str], str] = cell) -> str:
    r"""Rows as CSV (RFC 4180): texts that no spreadsheet takes for a formula, numbers to the last bit, None as nothing.

    The lines end in ``\r\n``, as csv quotes a text with either of these, so that any file's name comes back.

    Args:
        rows: the titles among them.
        text: what makes a cell of a text; ``str`` where all texts are our own, such as ``-3%``.

    >>> csv_text([["file", "p"], ["=a.wav", 0.1], ["b.wav", None]])
    "file,p\r\n'=a.wav,0.1\r\nb.wav,\r\n"
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([text(one) if isinstance(one, str) else one for one in row] for row in rows)
    return out.getvalue()
