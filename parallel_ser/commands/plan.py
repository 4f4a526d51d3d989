"""``parallel-ser plan``: which way to split a model, before anything is trained."""

from __future__ import annotations

import json as encoder
import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from parallel_ser.commands.options import Wide
from parallel_ser.errors import UserError
from parallel_ser.quantities import memory as memory_of

if TYPE_CHECKING:
    from parallel_ser.parallel.cost.hardware_model import HardwareModel
    from parallel_ser.parallel.settings import StrategySettings
    from parallel_ser.training.settings import TrainSettings

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def plan(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Such as model.size=m train.batch=64."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML with settings.")] = None,
    nproc: Annotated[int, typer.Option("--nproc", "--ranks", "-n", min=1, max=4096, help="Processes.")] = 2,
    memory: Annotated[
        str | None, typer.Option("--memory-per-rank", "--device-memory", metavar="SIZE", help="Such as 2GiB.")
    ] = None,
    link: Annotated[
        str | None, typer.Option(metavar="RATE,LATENCY", help="Of a machine that is not here, such as 25GB/s,10us.")
    ] = None,
    machines: Annotated[
        int | None, typer.Option(min=2, help="Machines like this one that share the processes, joined by --link.")
    ] = None,
    flops: Annotated[
        float, typer.Option("--device-flops", min=0.0, help="Operations a second of a device that is not here.")
    ] = 0.0,
    seconds: Annotated[float, typer.Option(min=0.1, max=600.0, help="Of a typical utterance.")] = 2.0,
    classes: Annotated[int, typer.Option(min=2, max=10_000, help="Emotions.")] = 8,
    rows: Annotated[int, typer.Option(min=1, help="How many candidates to print.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print all candidates as JSON.")] = False,
    wide: Wide = False,
) -> None:
    """Predict step time, memory and traffic of every strategy, schedule and mesh, and rank them.

    The network is profiled once in one process, and this machine's links are measured once; both are kept. With --link
    and --device-flops the prediction is for a machine that is not here, by arithmetic instead of measured times; with
    --link and --machines for several machines like this one and the link that each has to the others. Below
    the table stands the command that trains by the fastest.
    """
    from dataclasses import asdict

    from parallel_ser.config import load
    from parallel_ser.models.registry import title
    from parallel_ser.report.plan import print_plan
    from parallel_ser.report.terminal import screen
    from parallel_ser.training.choose import facts_of, ranked
    from parallel_ser.training.data import input_shape

    limit = memory_of(memory, "--memory-per-rank") if memory else float("inf")
    settings = load(config, overrides or [])
    machine = _machine(nproc, link, flops, machines, settings.train)
    features, frames = input_shape(settings, seconds)
    facts = facts_of(settings, features, classes, frames, flops)
    found = ranked(settings, facts, nproc, limit, machine)
    records = [{**asdict(one), "settings": one.settings.model_dump(mode="json"), "name": one.name} for one in found]
    if json:
        typer.echo(encoder.dumps(records, indent=1))
        return
    batch = f"{settings.train.batch} utterances of {frames} frames"
    console = screen(wide)
    print_plan(console, records, f"{title(settings.model)}, {nproc} processes, {batch}", rows)
    typed = [*(["--config", str(config)] if config else []), *(overrides or [])]
    chosen = _changes(settings.strategy, found[0].settings)
    command = ["parallel-ser", "train", "--nproc", str(nproc)]
    if machines:  # an agent on each, which see one folder
        command = ["torchrun", f"--nnodes={machines}", f"--nproc_per_node={nproc // machines}"]
        command += ["--node_rank=NUMBER", "--master_addr=FIRST", "launch/train.py"]
        chosen = [*chosen, "run.folder=SHARED"]
    where = ", on each machine" if machines else ""
    command += map(quote, [*typed, *chosen])
    console.print(f"The fastest{where}: {' '.join(command)}", markup=False, highlight=False, soft_wrap=True)


def _changes(before: StrategySettings, after: StrategySettings) -> list[str]:
    """The overrides that make the settings ``before`` those ``after``."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return [
        f"strategy.{name}={encoder.dumps(value).strip(chr(34))}" for name, value in new.items() if value != old[name]
    ]


def _machine(
    ranks: int, link: str | None, flops: float, machines: int | None, settings: TrainSettings
) -> HardwareModel | None:
    """The machine that the options describe, or several; None is this one."""
    if link is None and not flops and machines is None:
        return None
    if link is None or bool(flops) == bool(machines):
        raise UserError(
            "a machine that is not here needs --link and --device-flops, such as 25GB/s,10us and 4e14, and several "
            "like this one need --link and --machines, such as 125MB/s,100us and 2."
        )
    from parallel_ser.parallel.cost.hardware_model import described, joined, probe
    from parallel_ser.system.cores import threads_a_rank

    rate, comma, latency = link.partition(",")
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|ms|us|µs|ns)", latency.strip())
    if not comma or not rate.strip().lower().endswith("/s") or match is None:
        raise UserError(f"--link {link} is not RATE,LATENCY, such as 25GB/s,10us.")
    seconds, speed = float(match[1]) * _SECONDS[match[2]], memory_of(rate.strip()[:-2], "--link")
    if machines is None:
        return described(ranks, seconds, speed, flops)
    if ranks % machines:
        raise UserError(f"--nproc {ranks} does not divide by --machines {machines}.")
    local = ranks // machines
    # of one process alone it is not known what a strategy takes beside computing
    here = probe(max(2, local), threads_a_rank(settings.threads, local), share=settings.shared_memory)
    return joined(here, machines, ranks, seconds, speed)
