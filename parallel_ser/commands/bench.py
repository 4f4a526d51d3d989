"""``parallel-ser bench``: strategies against each other, fairly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from parallel_ser.commands.options import Wide

_SUITES = "strategies, scaling, memory, microbatches, classical, features, accuracy, models, efficiency"


def bench(
    suite: Annotated[str, typer.Argument(help=f"{_SUITES}; or a YAML with a suite and its options.")] = "strategies",
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the training, such as features.n_mels=40."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML with settings.")] = None,
    nproc: Annotated[int | None, typer.Option("--nproc", "-n", help="Processes; 2 without.")] = None,
    model: Annotated[str | None, typer.Option(help="Size of the network, such as m or base; s without.")] = None,
    batch: Annotated[int | None, typer.Option(help="Utterances of a step; 32 without.")] = None,
    microbatches: Annotated[int | None, typer.Option(help="Of a pipeline's step; 4 without.")] = None,
    strategies: Annotated[
        str | None,
        typer.Option("--strategies", help="Rows to keep, by name or how it begins: pipeline,ddp."),
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Such as ravdess; the built-in one without.")] = None,
    root: Annotated[Path | None, typer.Option(help="The corpus's folder.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Rounds at the most; 5 without.")] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="No round begins later: 90s, 10m; 200s without.")
    ] = None,
    memory_per_rank: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Limit of the suite memory; 1GiB without.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in --out where a stop left it.")] = False,
    compare: Annotated[Path | None, typer.Option(help="An older records.json; exit status 1 on a regression.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record instead of tables.")] = False,
    wide: Wide = False,
) -> None:
    """Measure training, recognition, memory and traffic of every strategy on the same cores, and say which wins.

    Rounds of fresh processes go through all rows in turn; a row whose losses leave the single process's is INVALID.
    """
    from parallel_ser.bench import analyse, present, record
    from parallel_ser.bench.asked import asked
    from parallel_ser.bench.measure import measure
    from parallel_ser.bench.plain import Plain
    from parallel_ser.errors import UserError
    from parallel_ser.report.bench import print_bench, print_plain
    from parallel_ser.report.terminal import screen

    typed: dict[str, Any] = {
        **{"config": config, "nproc": nproc, "model": model, "batch": batch, "microbatches": microbatches},
        **{"strategies": strategies, "corpus": corpus, "root": root, "repeats": repeats, "budget": budget},
        **{"memory_per_rank": memory_per_rank, "out": out, "settings": settings, "resume": resume or None},
    }
    if "=" in suite:  # a setting in the suite's place
        suite, typed["settings"] = "strategies", [suite, *(settings or [])]
    asked_for = asked(suite, {name: value for name, value in typed.items() if value is not None})
    older = record.read(compare) if compare else None
    if older is not None and older.suite != asked_for.suite:
        raise UserError(f"{compare} is of the suite {older.suite}, which is not compared with {asked_for.suite}.")
    folder, found = measure(asked_for)
    console = screen(wide)
    if isinstance(found, Plain):
        present.write_plain(folder, found)
        if not json:
            print_plain(console, found.suite, found.headings, found.rows, found.said)
    else:
        rows = analyse.table(found)
        present.write(folder, found, rows)
        if not json:
            print_bench(console, present.title(found), rows, present.sentences(found, rows))
    if json:
        typer.echo((folder / "records.json").read_text(encoding="utf-8"))
        return
    console.print(f"Results folder: {folder}", highlight=False, soft_wrap=True)
    if older is not None and not isinstance(found, Plain):
        lost = analyse.regressions(rows, analyse.table(older))
        for one in lost:
            typer.echo(f"slower than before: {one}", err=True)
        if lost:
            raise typer.Exit(1)
