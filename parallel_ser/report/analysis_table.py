"""What was found in recordings, as a table in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from parallel_ser.report.columns import Column, print_table
from parallel_ser.report.tables import NOTICE
from parallel_ser.system.terminal import printable


def print_analyses(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a recording: seconds recognised, uncertain, rejected; what was heard the most, arousal, speech rate."""

    def numbers(name: str, digits: int, sign: str = "") -> list[str]:
        return ["–" if row[name] is None else f"{row[name]:{sign}.{digits}f}" for row in rows]

    columns = (
        Column("file", [Text(printable(row["file"])) for row in rows], left=True, least=16),
        Column("s", numbers("seconds", 0)),
        Column("answered", numbers("answered", 0)),
        Column("uncertain", numbers("uncertain", 0)),
        Column("rejected", numbers("rejected", 0)),
        Column("other", numbers("other", 0), drop=4),
        Column("no speech", numbers("silent", 0), drop=3),
        Column("arousal", numbers("arousal", 2, "+"), drop=2),
        Column("heard most", [Text(row["most"]) for row in rows], drop=1, left=True),
        Column("syllables/s", numbers("speech_rate", 1), drop=5),
    )
    print_table(console, columns, "Seconds of each recording, and what was heard in it")
    for note in dict.fromkeys(note for row in rows for note in row["notes"]):
        console.print(Text(f"Note: {note}."))
    console.print(NOTICE)
