"""Suites whose rows are no training steps: a table of texts, its samples, and a verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from parallel_ser.errors import UserError
from parallel_ser.system.cores import typed_command
from parallel_ser.system.environment import environment
from parallel_ser.system.files import write_text
from parallel_ser.training.run_folder import read_json

COMMAND = (sys.executable, "-c", "from parallel_ser.cli import main; main()")
"""``parallel-ser`` of this very installation, to be run in a process of its own."""
RECORD = "records.json"


@dataclass(frozen=True)
class Bar:
    """A row as a picture shows it: a middle, how far it reaches, and what it costs where that is shown."""

    name: str
    value: float
    low: float
    high: float
    cost: float = 0.0


@dataclass(frozen=True)
class Plain:
    """A finished suite.

    Attributes:
        suite: its name.
        data: what was measured on, in words.
        headings: of the columns.
        rows: their texts.
        said: the verdict, in sentences.
        axis: what the bars are of, with the unit.
        bars: of the rows that have one.
        cost: what the bars cost, with the unit, where the picture shows it.
    """

    suite: str
    data: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    said: list[str]
    axis: str
    bars: Sequence[Bar]
    cost: str = ""


def record_path(folder: Path, resume: bool) -> Path:
    """Where a suite's record is, or will be.

    Raises:
        UserError: it is there and is not to be resumed, or the other way round.
    """
    path = folder / RECORD
    if path.exists() and not resume:
        raise UserError(f"{folder} has results already: give another --out, or --resume to go on there.")
    if resume and not path.exists():
        raise UserError(f"--resume goes on in a folder with a {RECORD}: name it with --out.")
    return path


def ending(told: str, status: int) -> str:
    """The last line that a failed command has told, or its exit status."""
    last = [line for line in told.splitlines() if line.strip()][-1:]
    return " ".join(last) or f"exit status {status}"


class Kept:
    """A suite's samples in ``records.json``, each written as soon as it is there; what is kept is not measured again.

    Args:
        folder: of the results.
        suite: its name.
        resume: go on with the samples that the folder has.
        processes: that measure at once.

    Raises:
        UserError: the folder has results and is not to be resumed, or those of another suite, or of none.
    """

    def __init__(self, folder: Path, suite: str, resume: bool = False, processes: int = 1):
        self.path = record_path(folder, resume)
        self.record: dict[str, Any] = {
            "version": 1,
            "suite": suite,
            "command": typed_command(),
            "environment": environment(processes, 1),
            "samples": {},
        }
        if not resume:
            return
        kept = read_json(self.path)
        if kept.get("suite") != suite or not isinstance(kept.get("samples"), dict):
            raise UserError(f"{self.path} is not of the suite {suite}: give another --out.")
        self.record["samples"] = kept["samples"]

    def sample(self, name: str, number: int, measure: Callable[[], Any]) -> Any:
        """The sample of a row in a round: the kept one, else what ``measure`` gives, as plain data."""
        own: dict[str, Any] = self.record["samples"].setdefault(name, {})
        if str(number) not in own:
            own[str(number)] = measure()
            self.write()
        return own[str(number)]

    def write(self) -> None:
        """Write the record whole."""
        write_text(self.path, json.dumps(self.record, indent=1) + "\n")


def spread(values: Sequence[float], digits: int = 0) -> str:
    """A median with the least and the most, such as ``12 (11 to 14)``; one value alone as it is."""
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def bars(values: Mapping[str, Sequence[float]]) -> list[Bar]:
    """A bar of each row from its samples: the median, the least and the most."""
    return [Bar(name, median(own), min(own), max(own)) for name, own in values.items()]
