"""Suites whose rows are no training steps: a table of texts, its samples, and a verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from parallel_ser.files import write_text
from parallel_ser.report.bench import markdown_table
from parallel_ser.training.run_folder import environment

COMMAND = (sys.executable, "-c", "from parallel_ser.cli import main; main()")
"""``parallel-ser`` of this very installation, to be run in a process of its own."""


@dataclass(frozen=True)
class Plain:
    """A finished suite.

    Attributes:
        suite: its name.
        headings: of the columns.
        rows: their texts.
        said: the verdict, in sentences.
        samples: of each row, as measured.
    """

    suite: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    said: list[str]
    samples: Mapping[str, Any]

    def markdown(self) -> str:
        """As a table in Markdown, with the verdict below."""
        return markdown_table(self.headings, self.rows, self.said)

    def write(self, folder: Path, processes: int) -> dict[str, Any]:
        """Write ``records.json`` and ``table.md``; returns the record."""
        record = {"version": 1, "environment": environment(processes, 1), **asdict(self)}
        write_text(folder / "records.json", json.dumps(record, indent=1) + "\n")
        write_text(folder / "table.md", self.markdown())
        return record


def spread(values: Sequence[float], digits: int = 0) -> str:
    """A median with the least and the most, such as ``12 (11 to 14)``."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
