"""``parallel-ser corpus``: looking at corpora and fetching them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from parallel_ser.commands.options import Commands, Json, Wide
from parallel_ser.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from parallel_ser.corpora.base import Corpus
    from parallel_ser.corpora.check import CheckReport

app = typer.Typer(cls=Commands, help="Check the recordings of a corpus, or fetch them.", no_args_is_help=True)

Jobs = Annotated[int, typer.Option("--jobs", "-j", min=0, help="Files decoded at a time; 0 means one a core.")]


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="The corpus's folder, or the CSV file of a manifest.")],
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Such as ravdess; by default what the files look like.")
    ] = None,
    jobs: Jobs = 0,
    json: Json = False,
    wide: Wide = False,
) -> None:
    """Decode every file and say what the corpus holds and what is wrong with it.

    Prints files, minutes, speakers by emotion, sample rates and each problem. Exit status 1 when there are any.
    """
    if _show(read(root, name), root, jobs, json, wide).problems:
        raise typer.Exit(1)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="ravdess or tess.")],
    to: Annotated[Path, typer.Option("--to", help="Becomes the corpus's folder.")],
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", "--accept-license", help="You have read the licence and accept it."),
    ] = False,
    mirror: Annotated[
        str | None, typer.Option("--mirror", help="Address of a folder that serves the same archive.")
    ] = None,
    jobs: Jobs = 0,
) -> None:
    """Download a corpus from its authors' archive, verify it, unpack it and check it.

    Without --accept-licence it shows the licence and stops. The same command goes on with a broken download.
    """
    from rich.console import Console

    from parallel_ser.corpora import fetch as archive
    from parallel_ser.report.terminal import progress

    known = archive.sources()
    if name not in known:
        raise UserError(f"cannot fetch {name}{did_you_mean(name, known)}; there is {' and '.join(known)}.")
    console = Console()
    with progress(f"fetching {name}", of_bytes=True) as advance:
        folder = archive.fetch(
            cast(Literal["ravdess", "tess"], name),
            to,
            accept_licence,
            mirror,
            advance,
            lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True),
        )
    _show(read(folder, name), folder, jobs)


@app.command()
def cut(
    file: Annotated[Path, typer.Argument(metavar="LIST", help="A CSV file with path, start and end (seconds).")],
    to: Annotated[Path, typer.Option("--to", help="The folder of the new files and of their list.")],
) -> None:
    """Cut a list's parts of recordings into files of their own, with a list that is a corpus.

    Exit status 2 when some could not be cut; the others are.
    """
    from parallel_ser.corpora.cut import LIST
    from parallel_ser.corpora.cut import cut as cut_list
    from parallel_ser.report.terminal import progress

    with progress("cutting") as advance:
        count, failed = cut_list(file, to, advance)
    for sentence in failed:
        typer.echo(f"note: {sentence}", err=True)
    typer.echo(f"{count:,} utterance{'s' * (count != 1)}: {to / LIST}")
    if failed:
        raise typer.Exit(2)


def read(root: Path, name: str | None) -> Corpus:
    """Read the corpus at ``root``, of the kind that its files look like when ``name`` is None.

    Raises:
        UserError: no such corpus, nothing at ``root``, or files that look like no corpus or like more than one.
    """
    from parallel_ser.corpora.registry import READERS, recognise

    if name is not None:
        if name not in READERS:
            raise UserError(f"no corpus is called {name}{did_you_mean(name, READERS)}; there is {', '.join(READERS)}.")
        return READERS[name](root)
    return recognise(root, "--name")


def _show(corpus: Corpus, root: Path, jobs: int, json: bool = False, wide: bool = False) -> CheckReport:
    import json as encoder

    from parallel_ser.corpora.check import check as check_files
    from parallel_ser.report.corpus import print_report, report_record
    from parallel_ser.report.terminal import progress, screen

    with progress("decoding") as advance:
        report = check_files(corpus, root, jobs or None, advance)
    if json:
        typer.echo(encoder.dumps(report_record(report), indent=1))
    else:
        print_report(screen(wide), report)
    return report
