"""What a user sees of training: a table that grows by a row an epoch, a progress bar, TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Epoch:
    """A row of the history: mean training loss, selection UAR and WA, last learning rate, seconds."""

    epoch: int
    loss: float
    select_uar: float
    select_wa: float
    lr: float
    seconds: float


class Watch:
    """Sees a fold's training; this one says nothing, as on every rank but the first."""

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def start(self, steps: int, epochs: int, epoch: int, step: int, history: Sequence[dict[str, Any]]) -> None:
        """Training starts at a step of an epoch, both from 0."""

    def step(self, loss: float) -> None:
        """A step is done."""

    def epoch(self, row: Epoch, utterances: int, best_epoch: int) -> None:
        """An epoch is done."""


class Screen(Watch):
    """Prints and logs; in a terminal with a bar, elsewhere in plain lines."""

    def __init__(self, console: Console, title: str, log: Path, first_step: int = 0) -> None:
        self.console, self.title, self.log, self.first_step = console, title, log, first_step
        self.steps = 0

    def __enter__(self) -> Screen:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from torch.utils.tensorboard import SummaryWriter

        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps")]
        self.bar = Progress(
            *columns,
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.bar.start()
        self.writer = SummaryWriter(str(self.log), purge_step=self.first_step or None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        self.writer.close()

    def start(self, steps: int, epochs: int, epoch: int, step: int, history: Sequence[dict[str, Any]]) -> None:
        """See ``Watch``."""
        self.steps = epoch * steps + step
        self.task = self.bar.add_task(self.title, total=steps * epochs, completed=self.steps)
        self.console.print(f"[bold]{self.title}[/bold]", highlight=False)
        head = f"{'epoch':>7}  {'loss':>7}  {'UAR sel.':>8}  {'WA sel.':>8}  {'rate':>8}  {'s':>6}  {'utt./s':>7}"
        self.console.print(head, style="dim", highlight=False)
        for row in history:
            self._print(Epoch(**row), "", "")

    def step(self, loss: float) -> None:
        """See ``Watch``."""
        self.writer.add_scalar("train/loss", loss, self.steps)
        self.steps += 1
        self.bar.advance(self.task)

    def epoch(self, row: Epoch, utterances: int, best_epoch: int) -> None:
        """See ``Watch``."""
        for name in ("select_uar", "select_wa", "lr"):
            self.writer.add_scalar(name.replace("_", "/"), getattr(row, name), self.steps)
        self.writer.flush()
        self._print(row, f"{utterances / row.seconds:7.1f}", "best" if best_epoch == row.epoch else "")

    def _print(self, row: Epoch, rate: str, remark: str) -> None:
        self.console.print(
            f"{row.epoch:7d}  {row.loss:7.4f}  {row.select_uar:8.3f}  {row.select_wa:8.3f}  {row.lr:8.2e}  "
            f"{row.seconds:6.1f}  {rate:>7}  {remark}",
            highlight=False,
        )
