"""What is written of an analysis: a folder a recording."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from parallel_ser.analysis import formats
from parallel_ser.analysis.analyse import Analysis, record
from parallel_ser.analysis.clips import kind
from parallel_ser.report.analysis_page import write_page
from parallel_ser.system.files import write_text
from parallel_ser.training.run_folder import write_json

FILES = (
    *("analysis.json", "segments.csv", "segments.parquet", "segments.vtt", "segments.TextGrid", "segments.eaf"),
    "report.html",
)
"""All that can be in a recording's folder."""


def write(
    folder: Path, analysis: Analysis, date: str, task: str, series: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write all files of a recording into a folder.

    Args:
        folder: for this recording alone.
        analysis: of it.
        date: of the recording, ISO 8601.
        task: what the person was asked to do.
        series: the person's sessions, see ``series.series``.

    Returns:
        The files, in full.
    """
    plain = {**record(analysis), "date": date, "task": task, "series": series}
    table = formats.rows(plain)
    write_json(folder / "analysis.json", plain)
    write_text(folder / "segments.csv", formats.comma_separated(table))
    formats.write_parquet(folder / "segments.parquet", table)
    write_text(folder / "segments.vtt", formats.webvtt(plain))
    write_text(folder / "segments.TextGrid", formats.text_grid(plain))
    write_text(folder / "segments.eaf", formats.elan(plain, _midnight(date)))
    write_page(folder / "report.html", plain, analysis.envelope, analysis.sound, kind())
    return [(folder / name).absolute() for name in FILES if (folder / name).exists()]


def summary(analysis: Analysis) -> dict[str, Any]:
    """What a series keeps of a session."""
    return {
        "seconds": analysis.seconds,
        "speech": analysis.speech,
        "measures": analysis.measures,
        "dimensions": analysis.dimensions,
        "totals": analysis.totals,
        "shares": {one.emotion: one.raw for one in analysis.shares},
        "run": analysis.run,
    }


def names(paths: Iterable[Path]) -> list[str]:
    """A folder's name for each recording, all different.

    >>> names([Path("a/x.wav"), Path("b/x.flac"), Path("y.wav")])
    ['x', 'x-2', 'y']
    """
    found: list[str] = []
    for path in paths:
        stem = re.sub(r"[^\w.-]+", "_", path.stem).strip(".") or "recording"
        name, number = stem, 2
        while name in found:
            name, number = f"{stem}-{number}", number + 1
        found.append(name)
    return found


def date_of(path: Path) -> str:
    """Date of a recording, ISO 8601, by its name (with 2026-03-01 or 20260301 in it), or else when it last changed.

    >>> date_of(Path("check-in_2026-03-01.wav"))
    '2026-03-01'
    """
    for year, month, day in re.findall(r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)(?!\d)", path.stem):
        try:
            return datetime.date(int(year), int(month), int(day)).isoformat()
        except ValueError:
            continue
    changed = path.stat().st_mtime if path.exists() else 0.0  # reading it says what is wrong
    return datetime.date.fromtimestamp(changed).isoformat()


def _midnight(date: str) -> datetime.datetime:
    return datetime.datetime.combine(datetime.date.fromisoformat(date), datetime.time(), datetime.timezone.utc)
