"""A network under the roofline, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from parallel_ser.report.columns import Column, print_table


def print_roofline(console: Console, record: Mapping[str, Any]) -> None:
    """Print each block and the whole chain of ``parallel-ser profile``'s record."""
    shape = " × ".join(map(str, record["shape"]))
    title = f"{record['model']}, {shape}, {record['precision']}, {record['threads']} threads on {record['device']}"
    blocks = record["blocks"]
    reached = [f"{one['achieved'] / one['attainable']:.0%}" if one["flops"] else "" for one in blocks]
    columns = (
        Column("block", [Text(one["name"]) for one in blocks], left=True),
        Column("GFLOP", [f"{one['flops'] / 1e9:.2f}" for one in blocks], drop=2),
        Column("MiB", [f"{one['moved'] / 2**20:.1f}" for one in blocks], drop=3),
        Column("forward ms", [f"{1e3 * one['forward']:.2f}" for one in blocks]),
        Column("backward ms", [f"{1e3 * one['backward']:.2f}" for one in blocks]),
        Column("GFLOP/s", [f"{one['achieved'] / 1e9:.1f}" for one in blocks]),
        Column("attainable", [f"{one['attainable'] / 1e9:.0f}" for one in blocks], drop=1),
        Column("reached", reached),
    )
    print_table(console, columns, title, ["bold" if one["name"] == "all" else "" for one in blocks])
    peaks, whole = record["peaks"], record["blocks"][-1]
    console.print(
        f"Matrix peak {peaks['flops'] / 1e9:.0f} GFLOP/s, memory {peaks['bandwidth'] / 1e9:.0f} GB/s. The passes reach "
        f"{whole['achieved'] / peaks['flops']:.0%} of the peak, and {whole['achieved'] / whole['attainable']:.0%} of "
        "what arithmetic and bytes allow.",
        highlight=False,
    )
