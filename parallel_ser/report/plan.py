"""A planner's candidates as tables in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from parallel_ser.report.columns import Column, print_table


def print_plan(console: Console, records: Sequence[Mapping[str, Any]], title: str, rows: int) -> None:
    """Print the fastest candidates that run, and the reasons why others do not."""
    good = [one for one in records if not one["refusal"]]
    shown = good[:rows]
    columns = (
        Column("strategy", [one["name"] for one in shown], left=True),
        Column("mesh", ["×".join(map(str, one["layout"])) for one in shown], drop=1),
        Column("step ms", [f"{1e3 * one['step']:,.1f}" for one in shown]),
        Column("× best", [f"{one['step'] / good[0]['step']:.2f}" for one in shown], drop=2),
        Column("MiB", [f"{one['memory'] / 2**20:,.0f}" for one in shown]),
        Column("sent MiB", [f"{one['sent'] / 2**20:,.1f}" for one in shown], drop=3),
        Column("bubble", [f"{one['bubble']:.0%}" for one in shown], drop=4),
        Column("cuts", [",".join(map(str, one["cuts"])) for one in shown], drop=5),
    )
    note = "mesh: data × pipeline × tensor; MiB: of the fullest rank, and sent by the busiest"
    print_table(console, columns, title, note=note)
    if len(good) > rows:
        console.print(f"and {len(good) - rows} slower ones", highlight=False)
    reasons = Counter(one["refusal"] for one in records if one["refusal"])
    for reason, count in reasons.most_common(8):
        console.print(f"{count:4d} refused: {reason}", highlight=False)
    if len(reasons) > 8:
        console.print(f"     and {len(reasons) - 8} other reasons: --json lists all", highlight=False)
