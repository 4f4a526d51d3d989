"""Where each rank's step went, as a table, from a plain record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

SHARES = ("compute", "communication", "bubble", "imbalance")


def print_steps(console: Console, record: Mapping[str, Any]) -> None:
    """Print a row a rank: its step and the four shares that sum to it.

    The record has ``strategy``, ``steps`` (their numbers), ``clock``, ``file`` and ``ranks``, each with ``rank`` and
    the seconds ``step``, ``compute``, ``communication``, ``bubble``, ``imbalance`` and ``between``.
    """
    steps = record["steps"]
    which = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}, mean"
    title = f"Where the time of {record['strategy']} went ({which}, ms)"
    console.print(Text(title, style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("rank", "step", *SHARES):
        table.add_column(name, justify="right", no_wrap=True)
    for row in record["ranks"]:
        shares = [f"{1e3 * row[name]:.1f} {_percent(row[name], row['step']):>4}" for name in SHARES]
        table.add_row(str(row["rank"]), f"{1e3 * row['step']:.1f}", *shares)
    console.print(table)
    between = max((row["between"] / row["step"] for row in record["ranks"] if row["step"]), default=0.0)
    told = f"Of compute the host's work between passes: up to {between:.0%}."
    told += "" if record["clock"] == "one" else f" Clock: {record['clock']}."
    console.print(Text(f"{told} Trace for https://ui.perfetto.dev: {record['file']}"), soft_wrap=True)


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else ""
