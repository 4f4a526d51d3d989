"""The command line as tests use it, in this process."""

from __future__ import annotations

from click.testing import Result
from typer.testing import CliRunner

from parallel_ser.cli import app


def said(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200", "PARALLEL_SER_DEBUG": ""})


def done(*arguments: object) -> Result:
    result = said(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refused(*arguments: object) -> str:
    """The one sentence that a refusal is."""
    result = said(*arguments)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0].removeprefix("error: ")
