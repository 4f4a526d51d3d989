"""``parallel-ser bench``: strategies against each other, fairly."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from parallel_ser.errors import UserError


class Suite(str, Enum):
    """What is measured."""

    strategies = "strategies"
    scaling = "scaling"
    microbatches = "microbatches"
    classical = "classical"
    features = "features"
    accuracy = "accuracy"


class Size(str, Enum):
    """Of the network."""

    s = "s"
    m = "m"
    l = "l"  # noqa: E741
    xl = "xl"


def bench(
    suite: Annotated[Suite, typer.Argument(help="What to measure.")] = Suite.strategies,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the training, such as features.n_mels=40."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML with settings.")] = None,
    nproc: Annotated[int, typer.Option("--nproc", "-n", min=2, max=1024, help="Processes.")] = 2,
    model: Annotated[Size, typer.Option("--model", help="Size of the network.")] = Size.s,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Utterances of a step.")] = 32,
    microbatches: Annotated[int, typer.Option("--microbatches", min=1, help="Of a pipeline's step.")] = 4,
    strategies: Annotated[
        str | None, typer.Option("--strategies", help="Rows to keep, by how their names begin: pipeline,ddp.")
    ] = None,
    corpus: Annotated[str | None, typer.Option("--corpus", help="Such as ravdess; the built-in one without.")] = None,
    root: Annotated[Path | None, typer.Option("--root", help="The corpus's folder.")] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Rounds at the most.")] = 5,
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="No round begins later: 90s, 10m.")] = "3m",
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the results.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in --out where a stop left it.")] = False,
    compare: Annotated[
        Path | None, typer.Option("--compare", help="An older records.json; exit status 1 on a regression.")
    ] = None,
    systems: Annotated[
        Path | None, typer.Option("--systems", help="YAML of the suite accuracy, such as benchmarks/accuracy.yaml.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record instead of tables.")] = False,
) -> None:
    """Measure training, recognition, memory and traffic of every strategy on the same cores, and say which wins.

    Rounds of fresh processes go through all rows in turn; a row whose losses leave the single process's is INVALID.
    """
    from rich.console import Console

    from parallel_ser.bench import analyse, present, record
    from parallel_ser.bench.measure import Asked, measure
    from parallel_ser.report.bench import print_bench

    settings = [f"corpus.name={corpus}"] if corpus else []
    settings += [f"corpus.root={root}"] if root else []
    if suite.value in ("classical", "features", "accuracy"):
        _plain(suite.value, [*settings, *(overrides or [])], config, systems, min(repeats, 3), out, json)
        return
    asked = Asked(
        suite=suite.value,
        config=config,
        overrides=(*settings, *(overrides or [])),
        ranks=nproc,
        size=model.value,
        batch=batch,
        microbatches=microbatches,
        wanted=tuple(one.strip() for one in strategies.split(",")) if strategies else (),
        rounds=repeats,
        budget=_seconds(budget),
        out=out,
        resume=resume,
    )
    older = record.read(compare) if compare else None
    folder, found = measure(asked)
    rows = analyse.table(found)
    present.write(folder, found, rows)
    if json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        console = Console()
        print_bench(console, present.title(found), rows, present.sentences(found, rows))
        console.print(f"Results folder: {folder}", highlight=False, soft_wrap=True)
    if older is not None:
        lost = analyse.regressions(rows, analyse.table(older))
        for one in lost:
            typer.echo(f"slower than before: {one}", err=True)
        if lost:
            raise typer.Exit(1)


def _plain(
    suite: str,
    settings: list[str],
    config: Path | None,
    systems: Path | None,
    repeats: int,
    out: Path | None,
    json: bool,
) -> None:
    """A suite whose rows are no training steps."""
    import json as encoder
    import os

    from rich.console import Console

    from parallel_ser.bench.plain import Plain
    from parallel_ser.report.bench import print_plain
    from parallel_ser.report.terminal import rounds
    from parallel_ser.training.run_folder import stamped

    folder = out or stamped(f"bench-{suite}")
    cores = len(os.sched_getaffinity(0))
    given = [*settings, *(["--config", str(config)] if config else [])]
    with rounds() as told:
        found: Plain
        if suite == "classical":
            from parallel_ser.bench import classical

            counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= cores]
            found = classical.measure(given, counts, repeats, told)
        elif suite == "features":
            from parallel_ser.bench import features
            from parallel_ser.config import load
            from parallel_ser.training.data import corpora_of

            files = [one.path for one in corpora_of(load(config, settings))[0].utterances]
            found = features.measure(files[:: max(1, len(files) // 60)][:60], cores, repeats, told)
        else:
            from parallel_ser.bench import accuracy

            if systems is None:
                raise UserError("the suite accuracy needs its systems: --systems benchmarks/accuracy.yaml.")
            found = accuracy.measure(accuracy.read(systems), given, folder, told)
    record = found.write(folder, cores)
    if json:
        typer.echo(encoder.dumps(record, indent=1))
        return
    print_plain(Console(), found.suite, found.headings, found.rows, found.said)
    typer.echo(f"Results folder: {folder}")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", text.strip())
    if match is None:
        raise UserError(f"--budget {text} is no time; give such as 90s or 10m.")
    return float(match[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}[match[2]]
