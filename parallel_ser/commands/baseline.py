"""``parallel-ser baseline``: SVM, GMM and their relatives, searched in processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from parallel_ser.commands.options import Quiet
from parallel_ser.errors import UserError, did_you_mean


def baseline(
    system: Annotated[
        str,
        typer.Argument(
            help="svm, elm (kernel ridge), logistic, gmm (by likelihood) or hybrid (svm on MFCC and images)."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as classical.normalise=speaker."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML with settings; without it the built-in corpus.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a classical system on every fold, its settings searched inside the training speakers; test it and report.

    The same folds, audits and report as train. run.jobs processes share the work; the result does not depend on them.
    """
    from rich.console import Console

    from parallel_ser.classical.settings import SystemName
    from parallel_ser.config import load
    from parallel_ser.training.baseline import BASE, HYBRID, run

    systems = (*get_args(SystemName), "hybrid")
    if system not in systems:
        raise UserError(f"there is no system {system}{did_you_mean(system, systems)}; there is {', '.join(systems)}.")
    hybrid = system == "hybrid"
    own = f"classical.system={'svm' if hybrid else system}"
    settings = load(config, [own, *(overrides or [])], (*HYBRID, *BASE) if hybrid else BASE)
    folder = run(settings, Console(quiet=quiet))
    if quiet:
        typer.echo(folder)
