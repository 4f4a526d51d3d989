"""``parallel-ser predict``: the emotion of recordings, with the confidence in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from parallel_ser.commands.changes import changed
from parallel_ser.commands.options import Wide
from parallel_ser.errors import UserError


class EnrolCommand(TyperCommand):
    """``--enrol A B -- FILE``: all that stands between the option and ``--`` enrols."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write ``--enrol A B`` as click takes it, ``--enrol A --enrol B``."""
        if "--enrol" in args and "--" in args[args.index("--enrol") :]:
            start = args.index("--enrol")
            end = args.index("--", start)
            between: list[str] = []
            for text in args[start + 1 : end]:
                if text.startswith("--"):
                    break
                between += ["--enrol", text]
            rest = args[start + 1 + len(between) // 2 :]
            args = [*args[:start], *between, *rest]
        return super().parse_args(ctx, args)


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... [run.jobs=N]",
            help="Recordings, folders, or patterns such as 'rec/*.wav': WAV, FLAC, OGG, MP3, or what ffmpeg reads; of "
            "one speaker.",
        ),
    ],
    enrol: Annotated[
        list[Path] | None,
        typer.Option(
            "--enrol",
            metavar="FILE… --",
            help="Further recordings of the same speaker, which are not answered: --enrol A B -- FILE.",
        ),
    ] = None,
    error: Annotated[
        float | None,
        typer.Option("--error", help="Say 'uncertain' rather than be wrong in more than this share of the answers."),
    ] = None,
    text: Annotated[
        str, typer.Option("--text", help="What is said in the one file, for a network that reads the words.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a file instead of a table.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all answers, and what failed, to FILE.csv or FILE.json.")
    ] = None,
    wide: Wide = False,
) -> None:
    """Name the emotion heard in each file: the one with the highest confidence, which is printed beside it.

    Of the settings run.jobs=N may be given: processes that make the features of many files.
    A file that cannot be read is said so and does not stop the others; exit status 2 when there was one.
    """
    import json as encoder

    from parallel_ser.corpora.folder import all_asked_for
    from parallel_ser.decision.confidence import decide
    from parallel_ser.report.tables import NOTICE, print_decisions
    from parallel_ser.report.terminal import screen
    from parallel_ser.system.files import require_writable, write_text
    from parallel_ser.training import conditions, run_folder
    from parallel_ser.training.calibrate import thresholds
    from parallel_ser.training.inference import Run

    if out is not None:
        if out.suffix not in (".csv", ".json"):
            raise UserError(f"--out {out} must end in .csv or .json.")
        require_writable(out.parent)
    given, changes = _parted(words)
    files, unnamed = all_asked_for(given)
    if text and len(files) > 1:
        raise UserError(
            "--text is what one recording says, and there are several: predict them one by one, or list them with a "
            "column text in a CSV for parallel-ser evaluate."
        )
    trained = Run.open(run)
    jobs = changed(trained, run, changes, ("run.jobs",), "predict").run.jobs or -1
    least = thresholds(trained, error) if error is not None else 0.0
    if enrol and not trained.by_speaker:
        raise UserError(f"--enrol is for runs that standardise by speaker, and {run} does not: leave it out.")
    data, answers, problems = trained.recognise([*files, *(enrol or [])], text, jobs)
    problems = {**unnamed, **problems}
    asked, usual = set(files), conditions.read(trained.settings_file.parent)
    rows: list[dict[str, Any]] = []
    for utterance, measures in zip(data.utterances, data.measures, strict=True):
        if utterance.path in asked and utterance.path in answers:
            (decision,) = decide(answers[utterance.path][None], trained.classes)
            rows.append(
                {
                    "file": str(utterance.path),
                    "emotion": decision.emotion if decision.confidence >= least else "uncertain",
                    "confidence": decision.confidence,
                    "probabilities": dict(decision.ranked),
                    "seconds": measures["duration_s"],
                    "snr_db": measures["snr_db"],
                    "notes": conditions.notes(usual, measures),
                }
            )
    if json:
        for row in rows:
            typer.echo(encoder.dumps(row))
    elif rows:
        console = screen(wide)
        print_decisions(console, rows)
        console.print(NOTICE)
    for note in _notes(rows):
        typer.echo(f"note: {note}.", err=True)
    if rows and trained.by_speaker:
        typer.echo(
            f"note: this run standardises by speaker, so the {len(data.utterances)} file(s) were taken as one "
            f"speaker's; with fewer than about 10 of several emotions the answers are poor.",
            err=True,
        )
    if out is not None:
        failed = [{"file": str(path), "error": problem} for path, problem in problems.items()]
        if out.suffix == ".csv":
            write_text(out, _table(rows, failed, trained.classes))
        else:
            run_folder.write_json(out, [*rows, *failed])
    for problem in problems.values():
        typer.echo(f"error: {problem}", err=True)
    if problems:
        raise typer.Exit(2)


def _parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Recordings, and settings: words such as ``run.jobs=2`` of which there is no file."""
    settings = [word for word in words if re.match(r"[a-z_]+(\.[a-z_]+)+=", word) and not Path(word).exists()]
    files = [word for word in words if word not in settings]
    if not files:
        raise UserError("name recordings: parallel-ser predict RUN FILE…")
    return files, settings


def _notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How recordings differ from those trained on: each way once, of its first file, whatever the figures."""
    from parallel_ser.system.terminal import printable

    alike: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        for note in row["notes"]:
            alike.setdefault(re.sub(r"[\d.]+", "", note), []).append((row["file"], note))
    found = []
    for (file, note), *others in alike.values():
        more = f"; it is alike with {len(others)} other file{'s' if len(others) > 1 else ''}" if others else ""
        found.append(f"{printable(file)} {note}{more}")
    return found


def _table(rows: list[dict[str, Any]], failed: list[dict[str, str]], classes: Sequence[str]) -> str:
    """One line a file; of a failed one its name and what is wrong."""
    from parallel_ser.system.csv_text import csv_text

    titles = (
        "file",
        "emotion",
        "confidence",
        *(f"p.{name}" for name in classes),
        "seconds",
        "snr_db",
        "notes",
        "error",
    )
    lines = [
        [
            row["file"],
            row["emotion"],
            row["confidence"],
            *(row["probabilities"][name] for name in classes),
            row["seconds"],
            row["snr_db"],
            "; ".join(row["notes"]),
            "",
        ]
        for row in rows
    ]
    lines += [[one["file"], *[""] * (len(titles) - 2), one["error"]] for one in failed]
    return csv_text([titles, *lines])
