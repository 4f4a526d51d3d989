"""``parallel-ser profile``: where a step's time goes, and how far each block is from what the machine can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parallel_ser.commands.options import Wide


def profile(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Such as model.size=m train.batch=32 train.precision=bf16."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML with settings.")] = None,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="Threads; 0 takes every core.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, max=600.0, help="Of a typical utterance.")] = 2.0,
    classes: Annotated[int, typer.Option(min=2, help="Emotions.")] = 8,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the record to FILE.json.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record instead of the table.")] = False,
    wide: Wide = False,
) -> None:
    """Time each block of the network in one process, beside what its arithmetic and bytes allow here (the roofline).

    The machine's matrix peak and memory bandwidth are measured first, with as many threads and in the same precision.
    A micro-batch is train.batch over strategy.microbatches.
    """
    import json as encoder
    from dataclasses import asdict

    import torch

    from parallel_ser.bench.roofline import measure_peaks, passes
    from parallel_ser.config import load
    from parallel_ser.models.registry import build, title
    from parallel_ser.parallel.comm.context import choose_device
    from parallel_ser.parallel.cost.block_profile import measure
    from parallel_ser.report.roofline import print_roofline
    from parallel_ser.report.terminal import screen
    from parallel_ser.system.cores import threads_a_rank
    from parallel_ser.system.environment import environment
    from parallel_ser.system.files import write_text
    from parallel_ser.training.data import input_shape

    settings = load(config, overrides or [])
    used = threads_a_rank(threads or settings.train.threads, 1)
    torch.set_num_threads(used)
    device = choose_device(settings.train.device, 0)
    rows, frames = input_shape(settings, seconds)
    shape = (-(-settings.train.batch // settings.strategy.microbatches), 1, rows, frames)
    bf16 = settings.train.precision == "bf16"
    chain = build(settings.model, rows, classes, settings.train.seed).to(device)
    peaks = measure_peaks(device, torch.bfloat16 if bf16 else torch.float32)
    found = passes(measure(chain.to(memory_format=torch.channels_last), shape, bf16), peaks)
    record = {
        "model": title(settings.model),
        "shape": shape,
        "precision": settings.train.precision,
        "threads": used,
        "device": str(device),
        "peaks": asdict(peaks),
        "blocks": [{**asdict(one), "achieved": one.achieved} for one in found],
        "environment": environment(1, used),
    }
    if out is not None:
        write_text(out, encoder.dumps(record, indent=1) + "\n")
    if json:
        typer.echo(encoder.dumps(record, indent=1))
    else:
        print_roofline(screen(wide), record)
