"""``parallel-ser strategies``: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer


def strategies(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """List the strategies: what a process holds, and what it sends."""
    import json as encoder

    from parallel_ser.parallel.strategies.registry import strategies as known
    from parallel_ser.report.columns import Column, print_table
    from parallel_ser.report.terminal import screen

    if json:
        records = [
            {"name": one.name, "holds": one.holds, "sends": one.sends, "takes": sorted(one.takes)}
            for one in known().values()
        ]
        typer.echo(encoder.dumps(records, indent=1))
        return
    rows = known().values()
    columns = (
        Column("strategy.name", [one.name for one in rows], left=True),
        Column("a process holds", [one.holds for one in rows], left=True, least=20),
        Column("it sends", [one.sends for one in rows], left=True, least=20),
    )
    print_table(screen(), columns)
