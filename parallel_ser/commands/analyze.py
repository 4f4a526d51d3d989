"""``parallel-ser analyze``: recordings of any length as timelines, measures and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from parallel_ser.errors import UserError


def analyze(
    run: Annotated[Path | None, typer.Argument(help="The folder of a run or a fusion.")] = None,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Recordings of any length, folders, or patterns such as 'rec/*.wav': WAV, FLAC, OGG, MP3, or what "
            "ffmpeg reads."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder to write, with one folder a recording.")] = None,
    person: Annotated[
        str | None, typer.Option("--person", metavar="ID", help="Keep the sessions of this person, and compare them.")
    ] = None,
    forget: Annotated[
        str | None, typer.Option("--forget", metavar="ID", help="Erase all that is kept of a person, and end.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", metavar="FILE", help="Where sessions are kept; by default the user's own.")
    ] = None,
    task: Annotated[
        str, typer.Option("--task", help="What was asked of the person: sessions of one task alone are compared.")
    ] = "free speech",
    date: Annotated[
        str | None, typer.Option("--date", metavar="YYYY-MM-DD", help="Of the recording; else by its name or its file.")
    ] = None,
    rttm: Annotated[Path | None, typer.Option("--rttm", metavar="FILE", help="Who speaks when (RTTM).")] = None,
    speakers: Annotated[
        int, typer.Option("--speakers", min=0, max=8, help="Tell so many people apart by their voices.")
    ] = 0,
    speaker: Annotated[
        str, typer.Option("--speaker", help="Whose speech is analysed: a name in the RTTM, or 1 for who speaks most.")
    ] = "1",
    error: Annotated[
        float | None, typer.Option("--error", help="Answer only as far as calibrate promises this share of errors.")
    ] = None,
    smooth: Annotated[
        float, typer.Option("--smooth", min=0.0, max=600.0, help="Seconds over which the timeline is smoothed.")
    ] = 5.0,
    vad: Annotated[str, typer.Option("--vad", help="What finds speech: silero, or energy (any sound).")] = "silero",
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Recognise what is unlike the training recordings too, and say so.")
    ] = False,
    redact: Annotated[bool, typer.Option("--redact", help="Store no sound in the report.")] = False,
    nproc: Annotated[int, typer.Option("--nproc", min=1, help="Processes, each of which takes a recording.")] = 1,
) -> None:
    """Write for each recording a report, and its segments as CSV, Parquet, JSON, WebVTT, TextGrid and ELAN.

    Nothing leaves this machine. Without recordings the notice for the people recorded is written, to be handed to them
    before. A recording that cannot be read is said so and does not stop the others; exit status 2
    when there was one.
    """
    from parallel_ser.analysis.store import Store, default_path

    if "" in (person, forget):
        raise UserError("a person's ID is empty: give a pseudonym, such as P07.")
    kept = Store(store or default_path())
    if forget is not None:
        sessions, erased = kept.forget(forget)
        typer.echo(f"Erased {sessions} session(s) of {forget} and {erased} file(s) that were written of them.")
        return
    if run is None or out is None:
        raise UserError("name a run, recordings and --out FOLDER: parallel-ser analyze RUN FILE… --out FOLDER.")
    if not files:
        _notice(run, out, kept=person is not None, speakers=speakers, audio=not redact)
        return
    failed = _analyse(
        run, files, out, {"person": person, "store": kept, "task": task, "date": _checked(date)}, nproc,
        vad=vad, smooth=smooth, error=error, lenient=lenient, rttm=rttm, speakers=speakers, speaker=speaker,
        audio=not redact,
    )  # fmt: skip
    if failed:
        raise typer.Exit(2)


def _analyse(run: Path, files: list[Path], out: Path, session: dict[str, Any], nproc: int, **asked: Any) -> bool:
    """Analyse and tell; whether a recording failed."""
    from parallel_ser.analysis.many import Session, analyse_all
    from parallel_ser.analysis.notice import FILE as NOTICE
    from parallel_ser.analysis.settings import AnalysisSettings
    from parallel_ser.corpora.folder import all_asked_for
    from parallel_ser.report.analysis_table import print_analyses
    from parallel_ser.report.terminal import progress, screen
    from parallel_ser.system.files import require_writable
    from parallel_ser.system.terminal import printable

    paths, unnamed = all_asked_for(files)
    require_writable(out)
    with progress("analyse") as advance:
        results = analyse_all(run, paths, out, AnalysisSettings(**asked), Session(**session), nproc, advance)
    rows = [one.row for one in results if one.row is not None]
    if rows:
        print_analyses(screen(False), rows)
        page = f"{rows[0]['folder'] if len(rows) == 1 else out / 'NAME'}/report.html"
        typer.echo(f"Report{'s' * (len(rows) > 1)}: {printable(page)}")
        typer.echo(f"A notice for the people recorded: {printable(str(out / NOTICE))}")
    problems = [*unnamed.values(), *(one.problem for one in results if one.problem)]
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    return bool(problems)


def _notice(run: Path, out: Path, kept: bool, **asked: Any) -> None:
    from parallel_ser.analysis import notice
    from parallel_ser.analysis.settings import AnalysisSettings
    from parallel_ser.training.inference import Run

    notice.write(out / notice.FILE, Run.open(run), AnalysisSettings(**asked), kept)
    typer.echo(
        f"{out / notice.FILE}: fill in what stands in [brackets], and hand it to the people before they are recorded."
    )


def _checked(date: str | None) -> str | None:
    import datetime

    if date is None:
        return None
    try:
        return datetime.date.fromisoformat(date).isoformat()
    except ValueError as error:
        raise UserError(f"--date {date!r} is no date such as 2026-03-01.") from error
