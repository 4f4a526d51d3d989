"""Where each rank's step went, as a table, from a plain record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from parallel_ser.report.columns import Column, print_table

SHARES = ("compute", "communication", "bubble", "imbalance")


def print_steps(console: Console, record: Mapping[str, Any]) -> None:
    """Print a row a rank: its step and the four shares that sum to it.

    The record has ``strategy``, ``steps`` (their numbers), ``clock``, ``file`` and ``ranks``, each with ``rank`` and
    the seconds ``step``, ``compute``, ``communication``, ``bubble``, ``imbalance`` and ``between``.
    """
    steps = record["steps"]
    which = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}, mean"
    title = f"Where the time of {record['strategy']} went ({which}, ms)"
    rows = record["ranks"]
    columns = [
        Column("rank", [str(row["rank"]) for row in rows]),
        Column("step", [f"{1e3 * row['step']:.1f}" for row in rows]),
    ]
    for name in SHARES:
        cells = [f"{1e3 * row[name]:.1f} {_percent(row[name], row['step']):>4}" for row in rows]
        columns.append(Column(name, cells))
    console.print(Text(title, style="bold"), soft_wrap=True)
    print_table(console, columns)
    between = max((row["between"] / row["step"] for row in record["ranks"] if row["step"]), default=0.0)
    told = f"Of compute the host's work between passes: up to {between:.0%}."
    told += "" if record["clock"] == "one" else f" Clock: {record['clock']}."
    console.print(Text(f"{told} Trace for https://ui.perfetto.dev: {record['file']}"), soft_wrap=True)


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else ""
