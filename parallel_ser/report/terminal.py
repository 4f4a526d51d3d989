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
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Advance = Callable[[int, int | None], None]
"""Called with what is done and, where known, what there is in all."""


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


def _lines(console: Console, title: str) -> Advance:
    told = -1

    def advance(done: int, total: int | None) -> None:
        nonlocal told
        tenth = 10 * done // total if total else 0
        if total and tenth > told:
            told = tenth
            console.print(f"{title}: {10 * tenth}%", markup=False, highlight=False)

    return advance
