"""Tables that fit a terminal: where there is no room, columns go; a digit never does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = 2


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a table.

    Attributes:
        heading: its name.
        cells: of each row.
        drop: where there is no room the highest goes first; 0 never goes.
        left: flush left, as words are; figures are flush right.
        least: characters a line down to which long texts may be broken, see ``break_text``; 0 breaks none.
        short: its name where the table has no room for all names; empty is the same.
    """

    heading: str
    cells: Sequence[str | Text]
    drop: int = 0
    left: bool = False
    least: int = 0
    short: str = ""

    @cached_property
    def width(self) -> int:
        """Characters that it needs."""
        longest = max(cell_len(str(cell)) for cell in (self.heading, *self.cells))
        return min(longest, max(self.least, cell_len(self.heading))) if self.least else longest


def fit(columns: Sequence[Column], width: int) -> tuple[list[list[Column]], list[Column]]:
    """Blocks of columns that follow each other down the page, and the columns that have gone.

    What never goes and finds no room stands in a further block, which begins with the first column again.

    >>> name, small, large = Column("name", ["x"]), Column("n", ["1234"], drop=1), Column("m", ["12345"])
    >>> [[[one.heading for one in block] for block in fit([name, small, large], width)[0]] for width in (17, 16)]
    [[['name', 'n', 'm']], [['name', 'm']]]
    """
    if _width(columns) > width:
        columns = [replace(one, heading=one.short) if one.short else one for one in columns]
    kept, gone = list(columns), []
    while _width(kept) > width and (extra := [one for one in kept if one.drop]):
        gone.append(max(reversed(extra), key=lambda one: one.drop))
        kept.remove(gone[-1])
    blocks = [kept[:1]]
    for column in kept[1:]:
        if _width([*blocks[-1], column]) > width and len(blocks[-1]) > 1:
            blocks.append(kept[:1])
        blocks[-1].append(column)
    return blocks, sorted(gone, key=list(columns).index)


def _width(columns: Sequence[Column]) -> int:
    return sum(one.width for one in columns) + _GAP * (len(columns) - 1)


def table(columns: Sequence[Column], title: str = "", styles: Sequence[str] = (), foot: int = 0) -> Table:
    """All columns side by side, however wide; the arguments are those of ``print_table``."""
    made = Table(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for one in columns:
        justify: Literal["left", "right"] = "left" if one.left else "right"
        made.add_column(Text(one.heading), justify=justify, no_wrap=True, overflow="fold")
    rows = len(columns[0].cells)
    for row in range(rows):
        if foot and row == rows - foot:
            made.add_section()
        made.add_row(*(one.cells[row] for one in columns), style=styles[row] if styles else None)
    return made


def _broken(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns of a block with their long texts broken to the room that there is, the first column's the widest."""
    spare, done = width - _width(columns), []
    for one in columns:
        longest = max(cell_len(str(cell)) for cell in (one.heading, *one.cells))
        room = min(longest, one.width + max(0, spare))
        spare -= room - one.width
        done.append(replace(one, cells=[break_text(cell, room) for cell in one.cells]) if room < longest else one)
    return done


def break_text(text: str | Text, width: int) -> Text:
    """A text in lines of at most so many characters, broken behind spaces and the signs within names.

    Only what is longer than a line without them is broken anywhere.

    >>> str(break_text("03-01-05-01-01-01-01.flac of 3.25 s", 20)).splitlines()
    ['03-01-05-01-01-01-', '01.flac of 3.25 s']
    """
    text = text if isinstance(text, Text) else Text(text)
    ends, start, last = [], 0, 0
    for part in re.finditer(r".+?(?:\s+|(?<=\w)[-_/,](?=\w)|$)", text.plain):
        if cell_len(text.plain[start : part.end()].rstrip()) > width and last > start:
            ends.append(start := last)
        while cell_len(text.plain[start : part.end()].rstrip()) > width:
            ends.append(start := start + _fitting(text.plain[start:], width))
        last = part.end()
    lines = text.divide(ends)
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def _fitting(text: str, width: int) -> int:
    """How many letters of a text stand in so many columns of the terminal; at least one."""
    return max(1, next((k for k in range(len(text)) if cell_len(text[: k + 1]) > width), len(text)))


def print_table(
    console: Console,
    columns: Sequence[Column],
    title: str = "",
    styles: Sequence[str] = (),
    foot: int = 0,
    more: str = "--wide",
    note: str = "",
) -> None:
    """Print a table in as many blocks as it needs, what has gone of it, and an empty line.

    Args:
        console: of whose width the blocks are.
        columns: all of the same number of cells.
        title: above the first block, as wide as the console: a narrow table does not break it.
        styles: of each row, as rich names them.
        foot: how many of the last rows are parted from the others by a line.
        more: where the columns that have gone are to be found.
        note: a sentence that stands below.
    """
    blocks, gone = fit(columns, console.width)
    if title:
        console.print(Text(title, style="bold"))
    for block in blocks:
        console.print(table(_broken(block, console.width), "", styles, foot))
    if gone:
        names = ", ".join(one.heading for one in gone) if len(gone) < 6 else f"{len(gone)} more columns"
        console.print(Text(f"No room for {names}: see {more}.", style="dim"))
    if note:
        console.print(Text(note))
    console.print()


def short_names(names: Sequence[str], least: int = 3) -> list[str]:
    """The names cut to the fewest letters, at least ``least``, that still tell them apart.

    >>> short_names(["happy", "sad", "happiness"])
    ['happy', 'sad', 'happi']
    """
    longest = max(map(len, names), default=0)
    length = next((k for k in range(least, longest) if len({name[:k] for name in names}) == len(names)), longest)
    return [name[:length] for name in names]
