"""A network under the roofline, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_HEADINGS = ("block", "GFLOP", "MiB", "forward ms", "backward ms", "GFLOP/s", "attainable", "reached")


def print_roofline(console: Console, record: Mapping[str, Any]) -> None:
    """Print each block and the whole chain of ``parallel-ser profile``'s record."""
    shape = " × ".join(map(str, record["shape"]))
    title = f"{record['model']}, {shape}, {record['precision']}, {record['threads']} threads on {record['device']}"
    table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    for place, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="right" if place else "left")
    for one in record["blocks"]:
        figures = (
            f"{one['flops'] / 1e9:.2f}",
            f"{one['moved'] / 2**20:.1f}",
            f"{1e3 * one['forward']:.2f}",
            f"{1e3 * one['backward']:.2f}",
            f"{one['achieved'] / 1e9:.0f}",
            f"{one['attainable'] / 1e9:.0f}",
            f"{one['achieved'] / one['attainable']:.0%}" if one["flops"] else "",
        )
        table.add_row(Text(one["name"]), *figures, style="bold" if one["name"] == "all" else "")
    console.print(table)
    peaks, whole = record["peaks"], record["blocks"][-1]
    console.print(
        f"Matrix peak {peaks['flops'] / 1e9:.0f} GFLOP/s, memory {peaks['bandwidth'] / 1e9:.0f} GB/s. The passes reach "
        f"{whole['achieved'] / peaks['flops']:.0%} of the peak, and {whole['achieved'] / whole['attainable']:.0%} of "
        "what arithmetic and bytes allow.",
        highlight=False,
    )
