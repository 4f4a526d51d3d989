"""``parallel-ser fuse``: several runs' answers as one."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

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
    out: Annotated[Path | None, typer.Option("--out", help="The results' folder, which must not exist.")] = (None),
) -> None:
    """Fuse neural and classical runs alike; the stacker is trained on held-out utterances of each fold alone."""
    from rich.console import Console

    from parallel_ser.report.tables import print_metrics
    from parallel_ser.training.fuse import fuse as fuse_runs
    from parallel_ser.training.fuse import write
    from parallel_ser.training.run_folder import stamped

    folder = out or stamped("fusion")
    if folder.exists():
        raise UserError(f"the folder {folder} exists: give another --out.")
    record = write(folder, fuse_runs(runs, method.value))
    console = Console()
    print_metrics(console, record)
    console.print(f"Results folder: {folder}", highlight=False, soft_wrap=True)
