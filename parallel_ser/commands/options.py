"""What several commands share: options, and how their help is set."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

Wide = Annotated[bool, typer.Option("--wide", help="Print every column, however wide.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the run folder alone, and what goes wrong.")]


class Commands(TyperGroup):
    """Commands whose help fills the terminal's width, and whose list says the first paragraph of each whole."""

    def get_command(self, ctx: Any, name: str) -> Any:
        """The command of that name, each paragraph of its help as one line."""
        command = super().get_command(ctx, name)
        if command is not None and command.help:
            command.help = flowing(command.help)
            command.short_help = command.short_help or command.help.partition("\n\n")[0]  # else cut at a line's end
        return command


def flowing(text: str) -> str:
    r"""Paragraphs without the line ends within them.

    >>> flowing("What it does.\n\nMore, in\n    two lines.")
    'What it does.\n\nMore, in two lines.'
    """
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
