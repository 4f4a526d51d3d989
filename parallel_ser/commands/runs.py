"""``parallel-ser runs``: what was trained, beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parallel_ser.commands.options import Json, Wide
from parallel_ser.errors import UserError


def runs(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs, or folders that hold some; runs/ without.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV with every figure unrounded.")] = False,
    json: Json = False,
    wide: Wide = False,
) -> None:
    """List runs and compare their results: protocol, UAR with its interval, seeds and their mean.

    Figures of different protocols or corpora are not comparable; nor is a difference within the intervals one.
    """
    import json as encoder

    from parallel_ser.report.runs import print_runs, runs_csv
    from parallel_ser.report.terminal import screen
    from parallel_ser.training.listing import find, over_seeds, record
    from parallel_ser.training.run_folder import RUNS

    if csv and json:
        raise UserError("give --csv or --json, not both.")
    if not folders and not RUNS.is_dir():
        raise UserError(f"there is no folder {RUNS} here: give the folders of runs, or one that holds them.")
    rows = [record(folder) for folder in find(folders or [RUNS])]
    if csv:
        typer.echo(runs_csv(rows).replace("\r\n", "\n"), nl=False)
    elif json:
        typer.echo(encoder.dumps({"runs": rows, "seeds": over_seeds(rows)}, indent=1))
    else:
        print_runs(screen(wide), rows, over_seeds(rows))
