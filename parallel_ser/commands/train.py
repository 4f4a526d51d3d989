"""``parallel-ser train``: a run on the processes that it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parallel_ser.commands.options import Quiet


def train(
    context: typer.Context,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as train.epochs=3.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML with settings; without it the built-in corpus.")
    ] = None,
    nproc: Annotated[int, typer.Option("--nproc", "-n", min=1, help="Processes, each with a part of the model.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Train on one or more processes, test on speakers that were not trained on, and report.

    The same as torchrun --nproc_per_node=N launch/train.py. Ctrl-C saves first.
    """
    from parallel_ser.config import load
    from parallel_ser.models.registry import count_blocks, count_parts
    from parallel_ser.parallel.requirements import validate
    from parallel_ser.system.cores import usable_cores
    from parallel_ser.training.launch import launch
    from parallel_ser.training.run_folder import check

    settings = load(config, overrides or [])
    blocks, parts = count_blocks(settings.model), count_parts(settings.model)
    validate(settings.strategy, nproc, blocks, parts)  # refused now, and not by N processes
    check(settings)
    if not quiet and nproc > (cores := usable_cores()):
        typer.echo(f"note: {nproc} processes share {cores} cores, so expect no speed-up.", err=True)
    debug = bool(context.find_root().params.get("debug"))
    flags = [*(["--debug"] if debug else []), *(["--quiet"] if quiet else [])]
    arguments = [*flags, *(["--config", str(config)] if config else []), *(overrides or [])]
    raise typer.Exit(launch(nproc, arguments, settings.train.threads, debug))
