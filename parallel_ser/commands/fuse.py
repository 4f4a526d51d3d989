"""``parallel-ser fuse``: several runs' answers as one."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from parallel_ser.commands.options import Wide
from parallel_ser.errors import UserError


class Method(str, Enum):
    """How the systems' probabilities become one."""

    mean = "mean"
    stack = "stack"


def fuse(
    runs: Annotated[list[Path], typer.Argument(help="The folders of two finished runs or more, of the same folds.")],
    method: Annotated[
        Method, typer.Option("--method", help="Mean of calibrated log-probabilities, or a trained stacker.")
    ] = Method.mean,
    out: Annotated[Path | None, typer.Option("--out", help="The results' folder, which must not exist.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON, and the folder in them.")] = False,
    wide: Wide = False,
) -> None:
    """Fuse neural and classical runs alike; the stacker is trained on held-out utterances of each fold alone."""
    import json as encoder

    from parallel_ser.report.tables import print_metrics
    from parallel_ser.report.terminal import screen
    from parallel_ser.system.files import require_writable
    from parallel_ser.training.fuse import fuse as fuse_runs
    from parallel_ser.training.fuse import write
    from parallel_ser.training.run_folder import RUNS, make

    if out is not None and out.exists():
        raise UserError(f"the folder {out} exists: give another --out.")
    require_writable(out or RUNS)
    fused = fuse_runs(runs, method.value)
    folder = make(out, "fusion")
    record = write(folder, fused)
    if json:
        typer.echo(encoder.dumps({"folder": str(folder), **record}, indent=1))
        return
    console = screen(wide)
    print_metrics(console, record)
    console.print(f"Results folder: {folder}", highlight=False, soft_wrap=True)
