"""``parallel-ser predict``: the emotion of recordings, with the confidence in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings of one speaker: WAV, FLAC, OGG or MP3.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a file instead of a table.")] = False,
) -> None:
    """Name the emotion heard in each file: the one with the highest confidence, which is printed beside it.

    A file that cannot be read is said so and does not stop the others; exit status 2 when there was one.
    """
    import json as encoder

    from rich.console import Console

    from parallel_ser.decision.confidence import decide
    from parallel_ser.report.tables import NOTICE, decisions_table
    from parallel_ser.training.inference import Run, extract_each

    trained = Run.open(run)
    good, problems = extract_each(files, trained.config)
    rows = []
    if good:
        probabilities = trained.probabilities([one.frames for _, one in good], ["one speaker"] * len(good))
        for (path, features), decision in zip(good, decide(probabilities, trained.classes)):
            rows.append(
                {
                    "file": str(path),
                    "emotion": decision.emotion,
                    "confidence": decision.confidence,
                    "probabilities": dict(decision.ranked),
                    "seconds": features.measures["duration_s"],
                    "snr_db": features.measures["snr_db"],
                }
            )
    if json:
        for row in rows:
            typer.echo(encoder.dumps(row, ensure_ascii=False))
    elif rows:
        console = Console()
        console.print(decisions_table(rows))
        console.print(NOTICE)
    if rows and trained.config.train.normalise == "speaker":
        typer.echo(
            f"note: this run standardises by speaker, so the {len(rows)} file(s) were taken as one speaker's; "
            f"with fewer than about 10 of several emotions the answers are poor.",
            err=True,
        )
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if problems:
        raise typer.Exit(2)
