"""``parallel-ser calibrate``: make a run's confidence mean what it says, and know when not to answer."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from parallel_ser.commands.options import Wide
from parallel_ser.errors import UserError


class Method(str, Enum):
    """What ``decision.calibration`` knows."""

    temperature = "temperature"
    isotonic = "isotonic"
    none = "none"


def calibrate(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    method: Annotated[Method, typer.Option("--method", help="How the probabilities are calibrated.")] = (
        Method.temperature
    ),
    error: Annotated[
        list[float] | None,
        typer.Option("--error", help="An error among the answered utterances to promise; repeat for more."),
    ] = None,
    even_if_worse: Annotated[
        bool, typer.Option("--even-if-worse", help="Keep a calibration that makes the ECE of the test speakers worse.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    wide: Wide = False,
) -> None:
    """Calibrate each fold's model on speakers that it was not trained on, and judge that on its test speakers.

    Predict and evaluate then use it, unless it makes the ECE worse. With predict --error the run answers 'uncertain'
    below the threshold found here. Fitted on each fold's selection speakers, or where these are fewer than five on the
    test speakers of the other folds.
    """
    import json as encoder

    from parallel_ser.report.calibration import reliability_picture, risk_coverage_picture
    from parallel_ser.report.tables import NOTICE, print_calibration
    from parallel_ser.report.terminal import screen
    from parallel_ser.system.files import extra
    from parallel_ser.system.lock import writing
    from parallel_ser.training import run_folder
    from parallel_ser.training.calibrate import calibrate as calibrate_run
    from parallel_ser.training.inference import Run

    errors = error or [0.05, 0.1, 0.2]
    if wrong := [one for one in errors if not 0.0 < one < 1.0]:
        raise UserError(f"--error {wrong[0]:g} is no share of the answers: give one above 0 and below 1, such as 0.1.")
    trained = Run.open(run)
    with writing(run):
        found = calibrate_run(trained, method.value, errors, even_if_worse)
        record = found.record
        folder = run / "calibration"
        found.predictions.to_csv(folder / "predictions.csv")
        run_folder.write_json(folder / "calibration.json", record)
        extra(lambda: reliability_picture(record, folder / "reliability.png"))
        extra(lambda: risk_coverage_picture(record, folder / "risk-coverage.png"))
    if json:
        typer.echo(encoder.dumps(record, indent=1))
        return
    console = screen(wide)
    print_calibration(console, record)
    console.print(f"Fitted on {record['fitted_on']}.")
    if tried := record["tried"]:
        console.print(
            f"Not calibrated: {tried['method']} makes the ECE worse, {record['before']['ece']:.3f} before and "
            f"{tried['ece']:.3f} after. The probabilities stay as they are; --even-if-worse calibrates all the same."
        )
    console.print(NOTICE)
    console.print(f"Pictures: {folder}", highlight=False, soft_wrap=True)
