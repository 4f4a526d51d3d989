"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Wide = Annotated[bool, typer.Option("--wide", help="Print every column, however wide.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
