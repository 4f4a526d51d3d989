"""``parallel-ser export``: a run's models for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parallel_ser.errors import UserError


def export(
    run: Annotated[Path, typer.Argument(help="The folder of a run of a network or a classical system.")],
    kind: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to; RUN/onnx without.")] = None,
) -> None:
    """Write each fold's model, from features to calibrated probabilities, and check it against the run's answers.

    export.json beside the files says how they are fed.
    """
    from parallel_ser.system.files import require_writable
    from parallel_ser.training import export as exporting
    from parallel_ser.training.inference import Run

    if kind != "onnx":
        raise UserError(f"--format {kind} is not one of the formats; there is onnx.")
    folder = out or run / "onnx"
    trained = Run.open(run)
    require_writable(folder.parent)
    made = exporting.export(trained, folder)
    for name in made["files"]:
        typer.echo(str(folder / name))
    for note in made["notes"]:
        typer.echo(f"note: {note}.", err=True)
    typer.echo(f"onnxruntime's probabilities are the run's own to {made['difference']:.1g}.")
