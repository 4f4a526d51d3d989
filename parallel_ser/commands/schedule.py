"""``parallel-ser schedule``: what a pipeline's schedule would cost, without running it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parallel_ser.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from parallel_ser.parallel.schedule.descriptor import Schedule
    from parallel_ser.parallel.schedule.simulate import Simulation, Times

LONGEST = 1e9
"""Of a time that is given."""
_MANY_BLOCKS = 4096  # no schedule is refused for want of them


def schedule(
    name: Annotated[
        str | None, typer.Argument(help="Such as 1f1b or zbv, as in strategy.schedule; without it their list.")
    ] = None,
    ranks: Annotated[int, typer.Option("--ranks", "-r", min=1, max=64, help="Processes of the pipeline.")] = 4,
    microbatches: Annotated[
        int, typer.Option("--microbatches", "-m", min=1, max=1024, help="Parts of the batch that follow each other.")
    ] = 8,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="A schedule of your own: a CSV row a rank, with cells such as 0F3."),
    ] = None,
    times: Annotated[
        str,
        typer.Option(
            metavar="F,I,W[,B]",
            help="How long a stage's forward pass takes, the gradients of its input and weights, and both at once.",
        ),
    ] = "1,1,1",
    transfer: Annotated[
        float, typer.Option(min=0.0, help="How long what passes between two ranks is on its way.")
    ] = 0.0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Draw the timeline: FILE.svg or FILE.png.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Play a schedule on paper: how long a step takes, what is idle and how many activations a rank holds.

    All stages take alike. Nothing is trained and no process is started. Give a name or --file; strategy.schedule takes
    both. A file that leaves work out or would wait for ever is refused.
    """
    import json as encoder

    from rich.console import Console

    from parallel_ser.parallel.schedule.registry import from_file
    from parallel_ser.parallel.schedule.simulate import simulate
    from parallel_ser.report.timeline import check_picture, print_schedule, timeline_picture

    if name and file:
        raise UserError(f"give the name {name} or --file {file}, not both.")
    if not (name or file):
        _list(Console())
        return
    if out is not None:
        check_picture(out)
    taken = _times(times)
    plan = from_file(file) if file else _named(name or "")
    if plan.fixed:
        ranks, microbatches = plan.fixed
    else:
        _check(plan.name, ranks, microbatches)
    if not transfer <= LONGEST:  # nan
        raise UserError(f"--transfer {transfer:g} is not a time of 0 to 1e9; give a number such as 0.25.")
    played = simulate(plan.orders(ranks, microbatches), taken, transfer)
    record = _record(plan, ranks, microbatches, played) | {"transfer": transfer}
    record["times"] = {kind: taken.of(kind, 0) for kind in ("F", "I", "W", "B")}
    if out is not None:
        timeline_picture(record["actions"], out, _title(record))
    if json:
        typer.echo(encoder.dumps(record))
        return
    print_schedule(Console(), record, _title(record))
    if out is not None:
        typer.echo(f"drawn in {out}")


def _times(text: str) -> Times:
    from parallel_ser.parallel.schedule.simulate import Times

    try:
        times = [float(time) for time in text.split(",")]
    except ValueError:
        times = []
    if len(times) not in (3, 4) or not all(0 <= time <= LONGEST for time in times) or not any(times):
        raise UserError(f"--times {text} is not three or four times of 0 to 1e9, not all of them 0; try 1,1,1.")
    return Times(*times)


def _list(console: Console) -> None:
    """The schedules that there are."""
    from parallel_ser.parallel.schedule.registry import schedules
    from parallel_ser.report.columns import Column, print_table

    known = schedules().values()
    columns = (
        Column("strategy.schedule", [one.name for one in known], left=True),
        Column("stages a rank", [str(one.per_rank) for one in known]),
        Column("order", [one.summary for one in known], left=True, least=26),
        Column("source", [one.source for one in known], drop=1, left=True, least=14),
    )
    print_table(console, columns, more="docs/schedules.md")


def _named(name: str) -> Schedule:
    from parallel_ser.parallel.schedule.registry import schedules

    if name not in (known := schedules()):
        raise UserError(
            f"no schedule is called {name}{did_you_mean(name, known)}; there is {', '.join(known)}, or --file."
        )
    return known[name]


def _check(name: str, ranks: int, microbatches: int) -> None:
    """Refuse by the rules of a run, in the words of this command."""
    from parallel_ser.parallel.requirements import validate
    from parallel_ser.parallel.schedule.registry import SEQUENTIAL
    from parallel_ser.parallel.settings import StrategySettings

    strategy = {"name": name} if name == SEQUENTIAL else {"schedule": name}
    settings = StrategySettings.model_validate({**strategy, "microbatches": microbatches})
    try:
        validate(settings, ranks, blocks=_MANY_BLOCKS)
    except UserError as error:
        said = re.sub(r"--nproc (\d+) \([^)]*\)", r"--ranks \1", str(error))
        said = re.sub(r"strategy\.microbatches=(\d+)", r"--microbatches \1", said)
        raise UserError(said.replace("strategy.microbatches", "--microbatches")) from error


def _record(plan: Schedule, ranks: int, microbatches: int, played: Simulation) -> dict[str, Any]:
    ideal, theory = max(played.busy), plan.theory_bubble(ranks, microbatches) if plan.overhead else None
    return {
        "schedule": Path(plan.name).name,
        "ranks": ranks,
        "microbatches": microbatches,
        "step": played.step,
        "bubble": played.bubble,
        "ideal_step": ideal,
        "theory_step": None if theory is None else ideal / (1 - theory),
        "theory_bubble": theory,
        "per_rank": [
            {
                "rank": rank,
                "busy": played.busy[rank],
                "idle": played.idle[rank],
                "bubble": played.bubbles[rank],
                "in_flight": played.in_flight[rank],
                "theory_in_flight": plan.theory_in_flight(ranks, microbatches, rank) if plan.in_flight else None,
            }
            for rank in range(ranks)
        ],
        "actions": played.record()["actions"],
    }


def _title(record: Mapping[str, Any]) -> str:
    ranks, parts = record["ranks"], record["microbatches"]
    title = f"{record['schedule']}: {ranks} rank{'s'[ranks == 1 :]}, {parts} micro-batch{'es'[2 * (parts == 1) :]}"
    if record["times"] != {"F": 1.0, "I": 1.0, "W": 1.0, "B": 2.0}:
        title += "".join(f", {kind} {time:g}" for kind, time in record["times"].items())
    return title + (f", transfer {record['transfer']:g}" if record["transfer"] else "")
