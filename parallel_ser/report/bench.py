"""A benchmark's rows as tables: in a terminal, as Markdown and as CSV, from plain rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from parallel_ser.report.columns import Column, print_table
from parallel_ser.system.csv_text import csv_text

COLUMNS: Sequence[tuple[str, str, str]] = (
    ("name", "strategy", "{}"),
    ("speedup_text", "against single", "{}"),
    ("utterances_s", "utterances/s", "{:.1f}"),
    ("audio_s", "audio s/s", "{:.0f}"),
    ("step_ms", "step ms", "{:.1f}"),
    ("quartiles", "quartiles", "{}"),
    ("cores", "processes × threads", "{}"),
    ("efficiency", "efficiency", "{:.0%}"),
    ("of_peak", "of the matrix peak", "{:.0%}"),
    ("memory_mib", "MiB, fullest", "{:.0f}"),
    ("memory_all_mib", "MiB, all", "{:.0f}"),
    ("sent_mib", "MiB sent a step", "{:.1f}"),
    ("communication", "communication", "{:.0%}"),
    ("idle", "idle", "{:.0%}"),
    ("expected_bubble", "of equal stages", "{:.0%}"),
    ("predicted_idle", "predicted", "{:.0%}"),
    ("infer_s", "recognised/s", "{:.0f}"),
    ("p50_ms", "latency p50 ms", "{:.1f}"),
    ("p95_ms", "p95", "{:.1f}"),
    ("p99_ms", "p99", "{:.1f}"),
    ("joules", "joules", "{:.0f}"),
    ("uar", "UAR", "{:.3f}"),
    ("flags_text", "remarks", "{}"),
)
"""Key of a row, heading, format; a column that no row has is left out."""

_FIRST = [
    "name",
    "step_ms",
    "speedup_text",
    "memory_mib",
    "utterances_s",
    "communication",
    "efficiency",
    "idle",
    "infer_s",
]
"""What a terminal shows first; the last ones go first."""
_STAY = 3
_SHORT = {
    "utterances_s": "utt/s",
    "speedup_text": "× single",
    "memory_mib": "MiB",
    "communication": "comm.",
    "efficiency": "eff.",
    "infer_s": "rec/s",
}
"""Headings for a terminal: training speed, ratio to the single process, the fullest process, shares, recognition."""
_BROKEN = 26
"""Characters down to which a text may be broken."""


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Each column's text of a row of ``bench.analyse.table``; empty where there is nothing."""
    full = {
        **row,
        "cores": f"{row['ranks']} × {row['threads']}",
        "quartiles": f"{row['step_low']:.1f} to {row['step_high']:.1f}" if row["step_ms"] is not None else None,
        "speedup_text": _speedup(row),
        "flags_text": "; ".join(row["flags"]),
    }
    return {key: "" if full[key] is None else form.format(full[key]) for key, _, form in COLUMNS}


def _speedup(row: Mapping[str, Any]) -> str:
    if row["reference"]:
        return "1"
    if any(flag.startswith("INVALID") for flag in row["flags"]):
        return "INVALID"
    if row["speedup"] is None:
        return ""
    interval = row["speedup_interval"]
    between = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{row['speedup']:.2f}{between}"


def headings(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Key and heading of the columns that some row has."""
    every = [cells(row) for row in rows]
    return [(key, heading) for key, heading, _ in COLUMNS if any(one[key] for one in every)]


def print_bench(console: Console, title: str, rows: Sequence[Mapping[str, Any]], said: Sequence[str]) -> None:
    """The table, as much of it as a terminal has room for, remarks below it, and the verdict in words."""
    texts, every = [cells(row) for row in rows], dict(headings(rows))
    columns = []
    for key in sorted(every, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST)):
        drop = _FIRST.index(key) - _STAY if key in _FIRST else len(_FIRST)
        own = [Text(text[key]) for text in texts]
        left = key in ("name", "flags_text")
        least = _BROKEN if key == "name" else 0
        columns.append(Column(every[key], own, max(0, drop + 1), left, least, _SHORT.get(key, "")))
    styles = ["bold" if row["reference"] else "red" if row["flags"] else "" for row in rows]
    print_table(console, columns, title, styles, more="--wide or table.md")
    for row in rows:
        for flag in row["flags"]:
            console.print(Text(f"{row['name']}: {flag}"), style="red")
    for sentence in said:
        console.print(Text(sentence))


def print_plain(
    console: Console, title: str, titles: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str]
) -> None:
    """As many columns of texts as a terminal has room for, the first ones first, and the verdict."""
    columns = [
        Column(heading, list(map(Text, own)), drop=max(0, place - 1), left=not place, least=_BROKEN)
        for place, (heading, *own) in enumerate(zip(titles, *rows, strict=True))
    ]
    print_table(console, columns, title, more="--wide or table.md")
    for sentence in said:
        console.print(Text(sentence))


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str]) -> str:
    """A table of texts in Markdown, and the verdict."""
    lines = [f"| {' | '.join(row)} |" for row in (titles, *rows)]
    lines.insert(1, f"|{' --- |' * len(titles)}")
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in said), ""])


def markdown(rows: Sequence[Mapping[str, Any]], said: Sequence[str]) -> str:
    """A Markdown table and the verdict."""
    shown = headings(rows)
    texts = [cells(row) for row in rows]
    return markdown_table([heading for _, heading in shown], [[text[key] for key, _ in shown] for text in texts], said)


def comma_separated(rows: Sequence[Mapping[str, Any]]) -> str:
    """All values unrounded, one line a row."""
    names = [name for name in rows[0] if name not in ("flags", "speedup_interval")]
    lines: list[list[Any]] = [[*names, "speedup_low", "speedup_high", "flags"]]
    for row in rows:
        interval = row["speedup_interval"] or ("", "")
        lines.append([*(row[name] for name in names), *interval, "; ".join(row["flags"])])
    return csv_text(lines, str)
