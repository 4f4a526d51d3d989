"""``parallel-ser features``: a table of utterances and named values."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from parallel_ser.errors import UserError


class ViewName(str, Enum):
    """Sets of values, each of one vector an utterance."""

    functionals = "functionals"
    correlations = "correlations"
    egemaps = "egemaps"
    compare = "compare"


def features(
    out: Annotated[Path, typer.Option("--out", help="The table to write: .parquet or .csv.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as corpus.name=tess corpus.root=FOLDER."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML with settings; without it the built-in corpus.")
    ] = None,
    view: Annotated[ViewName, typer.Option("--set", help="Our functionals or correlations, or openSMILE's sets.")] = (
        ViewName.functionals
    ),
) -> None:
    """Write one row an utterance: what it is (path, speaker, emotion, …), then its values, each with a name.

    Nothing is standardised. Read it with pandas.read_parquet, or anything that reads CSV.
    """
    from parallel_ser.config import load
    from parallel_ser.report.terminal import progress
    from parallel_ser.training.baseline import BASE
    from parallel_ser.training.data import corpora_of, usable
    from parallel_ser.training.sample import licence_notes, table
    from parallel_ser.training.value_table import check_kind, write

    check_kind(out)
    settings = load(config, overrides or [], BASE)
    corpus, _ = corpora_of(settings)
    if not corpus.utterances:
        raise UserError(f"corpus {corpus.name} has no utterances; check corpus.root and corpus.labels.")
    with progress("features") as advance:
        data, _ = usable(settings, [corpus], advance)
        values, names = table(data, settings, view.value, advance)
    write(out, data.utterances, values, names)
    for note in (*data.notes, *licence_notes([view.value])):
        typer.echo(f"note: {note}.", err=True)
    typer.echo(f"{out}: {len(values)} utterances × {len(names)} values")
