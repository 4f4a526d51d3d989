"""``parallel-ser train``: a run on the processes that it starts."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from parallel_ser.errors import UserError


def train(
    context: typer.Context,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as train.epochs=3.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML with settings; without it the built-in corpus.")
    ] = None,
    nproc: Annotated[int, typer.Option("--nproc", "-n", min=1, help="Processes, each with a part of the model.")] = 1,
) -> None:
    """Train on one or more processes, test on speakers that were not trained on, and report.

    The same as torchrun --nproc_per_node=N launch/train.py. Ctrl-C saves first.
    """
    from parallel_ser.config import load
    from parallel_ser.models.cnn import count_blocks
    from parallel_ser.parallel.requirements import require
    from parallel_ser.training.run_folder import choose

    settings = load(config, overrides or [])
    choose(settings)  # what is refused is so now, and not by N processes
    require(settings.strategy, nproc, count_blocks(settings.model))
    _start(nproc, _arguments(config, overrides or [], context), settings.train.threads)


def _arguments(config: Path | None, overrides: list[str], context: typer.Context) -> list[str]:
    debug = ["--debug"] if context.find_root().params.get("debug") else []
    return [*debug, *(["--config", str(config)] if config else []), *overrides]


def _start(nproc: int, arguments: list[str], threads: int) -> None:
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads or max(1, cores // nproc)))
    if nproc == 1:
        from parallel_ser.training.main import main

        raise typer.Exit(main(arguments))
    if nproc > cores:
        typer.echo(f"note: {nproc} processes share {cores} cores, so expect no speed-up.", err=True)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser
    from torch.distributed.run import run as torchrun

    if "--debug" not in arguments:  # what went wrong is said by the process where it went wrong
        logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    started = ["--standalone", f"--nproc_per_node={nproc}", "-m", "parallel_ser.training.main", *arguments]
    try:
        torchrun(get_args_parser().parse_args(started))
    except SignalException as stopped:
        raise typer.Exit(128 + stopped.sigval) from stopped
    except ChildFailedError as failed:
        _, failure = failed.get_first_failure()
        if failure.exitcode < 0:
            raise UserError(
                f"process {failure.local_rank} of the run was killed by signal {-failure.exitcode}, most likely for "
                f"want of memory if that is 9; the run goes on from its last checkpoint with run.resume=true."
            ) from failed
        raise typer.Exit(failure.exitcode) from failed
