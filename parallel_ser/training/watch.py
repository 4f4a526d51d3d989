"""What a user sees of training: a table that grows by a row an epoch, a progress bar, TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Epoch:
    """A row of the history.

    Attributes:
        epoch: from 1.
        loss: mean over the training steps.
        select_uar: on the selection side.
        select_wa: likewise.
        lr: the last learning rate.
        seconds: of its steps and the selection.
        memory: the most that the fullest process has held so far, bytes; 0 is not known.
    """

    epoch: int
    loss: float
    select_uar: float
    select_wa: float
    lr: float
    seconds: float
    memory: int = 0


@dataclass(frozen=True)
class Plan:
    """What a fold's training has before it, and where it stands.

    Attributes:
        steps: of an epoch.
        epochs: of the fold at the most.
        utterances: of its training side.
        epoch: the one in work, from 0.
        step: steps done in it.
        history: a row per finished epoch.
    """

    steps: int
    epochs: int
    utterances: int
    epoch: int
    step: int
    history: Sequence[Mapping[str, Any]]


class Watch:
    """Sees a fold's training; this one says nothing, as on every rank but the first."""

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def start(self, plan: Plan) -> None:
        """Training starts."""

    def step(self, loss: float) -> None:
        """A step is done."""

    def epoch(self, row: Epoch, kept: bool) -> None:
        """An epoch is done; ``kept`` says that its model is better than those before it, and is kept."""

    def told(self, line: str) -> None:
        """Something has happened between two epochs."""

    def tested(self, record: Mapping[str, Any]) -> None:
        """The fold is tested, with the record of its ``metrics.json``."""


class Screen(Watch):
    """Prints and logs; in a terminal with a bar, elsewhere in plain lines.

    Args:
        console: to print on.
        title: of the fold.
        log: folder of TensorBoard's files.
        first_step: steps that are done already.
        folds_left: after this one, for the time that is left.
    """

    def __init__(self, console: Console, title: str, log: Path, first_step: int = 0, folds_left: int = 0) -> None:
        self.console, self.title, self.log, self.first_step = console, title, log, first_step
        self.folds_left = folds_left
        self.steps = 0
        self.seconds: list[float] = []

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
        with suppress(OSError):  # the log is an extra: what could not be written of it hides no other error
            self.writer.close()

    def start(self, plan: Plan) -> None:
        """See ``Watch``."""
        self.plan = plan
        self.steps = plan.epoch * plan.steps + plan.step
        self.task = self.bar.add_task(self.title, total=plan.steps * plan.epochs, completed=self.steps)
        self.console.print(f"[bold]{self.title}[/bold]", highlight=False)
        self.columns = _columns(self.console.width)
        head = "  ".join(f"{name:>{width}}" for name, width in self.columns.items())
        self.console.print(head, style="dim", highlight=False)
        for row in plan.history:
            self._print(Epoch(**row), "")

    def step(self, loss: float) -> None:
        """See ``Watch``."""
        self.writer.add_scalar("train/loss", loss, self.steps)
        self.steps += 1
        self.bar.advance(self.task)

    def epoch(self, row: Epoch, kept: bool) -> None:
        """See ``Watch``."""
        self.seconds.append(row.seconds)
        scalars = {"select/uar": row.select_uar, "select/wa": row.select_wa, "train/learning_rate": row.lr}
        scalars["speed/utterances_s"] = self.plan.utterances / row.seconds
        scalars["memory/fullest_process_mib"] = row.memory / 2**20
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, self.steps)
        self.writer.flush()
        self._print(row, "kept" if kept else "")

    def told(self, line: str) -> None:
        """See ``Watch``."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def tested(self, record: Mapping[str, Any]) -> None:
        """See ``Watch``."""
        from parallel_ser.report.figures import confusion_figure

        self.bar.stop()
        for name in ("uar", "wa"):
            self.writer.add_scalar(f"test/{name}", record[name]["value"], self.steps)
        self.writer.add_figure("test/confusion", confusion_figure(record), self.steps)
        speakers = f"{record['speakers']} speaker{'s' * (record['speakers'] != 1)}"
        self.console.print(
            f"{self.title.partition(':')[0]} tested: UAR {record['uar']['value']:.3f}, WA {record['wa']['value']:.3f} "
            f"on {record['n']} utterances of {speakers}",
            highlight=False,
        )

    def _left(self, row: Epoch) -> str:
        """The time that this fold and those after it take, if their epochs take as long and none is spared."""
        if not self.seconds:
            return ""
        epochs = self.plan.epochs - row.epoch + self.folds_left * self.plan.epochs
        return str(timedelta(seconds=round(epochs * sum(self.seconds) / len(self.seconds))))

    def _print(self, row: Epoch, remark: str) -> None:
        cells = {
            "epoch": str(row.epoch),
            "loss": f"{row.loss:.4f}",
            "UAR sel.": f"{row.select_uar:.3f}",
            "WA sel.": f"{row.select_wa:.3f}",
            "rate": f"{row.lr:.2e}",
            "s": f"{row.seconds:.1f}",
            "utt./s": f"{self.plan.utterances / row.seconds:.1f}",
            "MiB": f"{row.memory / 2**20:.0f}" if row.memory else "",
            "left": self._left(row),
        }
        line = "  ".join(f"{cells[name]:>{width}}" for name, width in self.columns.items())
        self.console.print(f"{line}  {remark}".rstrip(), highlight=False)


def _columns(width: int) -> dict[str, int]:
    """The columns for which a line of so many characters has room, with their widths."""
    from parallel_ser.report.columns import Column, fit

    every = (
        Column("epoch", ["99999"]),
        Column("loss", ["99.9999"]),
        Column("UAR sel.", ["0.999"]),
        Column("WA sel.", ["0.999"], drop=3),
        Column("rate", ["9.99e-09"], drop=5),
        Column("s", ["9999.9"], drop=4),
        Column("utt./s", ["9999.9"], drop=1),
        Column("MiB", ["99999"], drop=2),
        Column("left", ["23:59:59"]),
    )
    blocks, _ = fit(every, width - len("  kept"))
    return {one.heading: one.width for one in blocks[0]}
