"""``parallel-ser strategies``: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer


def strategies(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """List the strategies: what a process holds, and what it sends."""
    import json as encoder

    from rich.console import Console
    from rich.table import Table

    from parallel_ser.parallel.strategies.registry import strategies as known

    if json:
        rows = [
            {"name": one.name, "holds": one.holds, "sends": one.sends, "takes": sorted(one.takes)}
            for one in known().values()
        ]
        typer.echo(encoder.dumps(rows, indent=1))
        return
    table = Table("strategy.name", "a process holds", "it sends", box=None, pad_edge=False)
    for one in known().values():
        table.add_row(one.name, one.holds, one.sends)
    Console().print(table)
