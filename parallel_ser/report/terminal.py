"""What the commands share in a terminal: a console and a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

WIDE = 1000
"""Characters a line that hold every column of any table."""
Advance = Callable[[int, int | None], None]
"""Called with what is done and, where known, what there is in all."""
Rounds = Callable[[str, int, int], None]
"""Called with the round's title, what is done of it and what there is."""


def screen(wide: bool = False) -> Console:
    """The console of standard output; a wide one has room for every column of a table."""
    return Console(width=WIDE if wide else None)


@contextmanager
def progress(title: str, *, of_bytes: bool = False) -> Iterator[Advance]:
    """Show how far something is on stderr: a bar in a terminal, which then goes away, else a line every tenth."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console, title)
        return
    counts = (DownloadColumn(), TransferSpeedColumn()) if of_bytes else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def rounds() -> Iterator[Rounds]:
    """``progress`` for work in several rounds, each with a title of its own."""
    console = Console(stderr=True)
    if not console.is_terminal:
        told: dict[str, Advance] = {}
        yield lambda title, done, total: told.setdefault(title, _lines(console, title))(done, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(title: str, done: int, total: int) -> None:
            if title not in tasks:
                tasks[title] = bar.add_task(title, total=total)
            bar.update(tasks[title], completed=done, total=total)

        yield advance


def _lines(console: Console, title: str) -> Advance:
    told = -1

    def advance(done: int, total: int | None) -> None:
        nonlocal told
        tenth = 10 * done // total if total else 0
        if total and tenth > told:
            told = tenth
            console.print(f"{title}: {10 * tenth}%", markup=False, highlight=False)

    return advance
