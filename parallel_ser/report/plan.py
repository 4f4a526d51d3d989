"""A planner's candidates as tables in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def print_plan(console: Console, records: Sequence[Mapping[str, Any]], title: str, rows: int) -> None:
    """Print the fastest candidates that run, and the reasons why others do not."""
    good = [one for one in records if not one["refusal"]]
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("strategy", no_wrap=True)
    for name in ("mesh", "step ms", "× best", "MiB", "sent MiB", "bubble", "cuts"):
        table.add_column(name, justify="right", no_wrap=name != "cuts")
    for one in good[:rows]:
        table.add_row(
            one["name"],
            "×".join(map(str, one["layout"])),
            f"{1e3 * one['step']:,.1f}",
            f"{one['step'] / good[0]['step']:.2f}",
            f"{one['memory'] / 2**20:,.0f}",
            f"{one['sent'] / 2**20:,.1f}",
            f"{one['bubble']:.0%}",
            ",".join(map(str, one["cuts"])),
        )
    console.print(table)
    console.print("mesh: data × pipeline × tensor; MiB: of the fullest rank, and sent by the busiest", style="dim")
    if len(good) > rows:
        console.print(f"and {len(good) - rows} slower ones", highlight=False)
    reasons = Counter(one["refusal"] for one in records if one["refusal"])
    for reason, count in reasons.most_common(8):
        console.print(f"{count:4d} refused: {reason}", highlight=False, soft_wrap=True)
    if len(reasons) > 8:
        console.print(f"     and {len(reasons) - 8} other reasons: --json lists all", highlight=False)
