"""A corpus's check as tables and lines in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from parallel_ser.corpora.check import CheckReport, relative
from parallel_ser.report.columns import Column, print_table, short_names
from parallel_ser.system.terminal import printable


def print_report(console: Console, report: CheckReport) -> None:
    """Print files, minutes, speakers × emotions, sample rates, notes, and each problem: ``kind  path  detail``."""
    console.print(Text(f"{report.name}: {_count(report.files, 'file')}, {report.minutes:.1f} minutes", style="bold"))
    print_table(console, _speakers(report), foot=1)
    console.print(Text("sample rates: " + _histogram(report.sample_rates, " Hz")))
    console.print(Text("channels: " + _histogram(report.channels, "")))
    for note in report.notes:
        console.print(Text(printable(f"note: {note}"), style="bold"), soft_wrap=True)
    if not report.problems:
        console.print(Text("no problems found in the files that are read" if report.notes else "no problems found"))
        return
    kinds = Counter(problem.kind for problem in report.problems)
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    console.print(Text(f"{_count(len(report.problems), 'problem')}: {told}", style="bold"))
    width = max(map(len, kinds))
    for problem in report.problems:
        line = f"{problem.kind:<{width}}  {relative(problem.path, report.root)}  {problem.detail}"
        console.print(Text(printable(line)), soft_wrap=True)  # a line stays one line, for grep


def report_record(report: CheckReport) -> dict[str, Any]:
    """The same as plain data; ``utterances`` has a mapping of emotions for each speaker."""
    utterances = {
        speaker: {emotion: report.counts.get((speaker, emotion), 0) for emotion in report.classes}
        for speaker in report.sexes
    }
    return {
        "corpus": report.name,
        "files": report.files,
        "seconds": report.seconds,
        "speakers": dict(report.sexes),
        "emotions": list(report.classes),
        "utterances": utterances,
        "sample_rates": dict(report.sample_rates),
        "channels": dict(report.channels),
        "notes": list(report.notes),
        "problems": [
            {"kind": one.kind, "path": str(relative(one.path, report.root)), "detail": one.detail}
            for one in report.problems
        ],
    }


def _speakers(report: CheckReport) -> list[Column]:
    """Utterances by speaker and emotion, with the sums of both."""
    names = [Text(printable(speaker)) for speaker in report.sexes]
    columns = [
        Column("speaker", [*names, _count(len(report.sexes), "speaker")], left=True),
        Column("sex", [*report.sexes.values(), ""], drop=1, left=True),
    ]
    all_of = [0] * len(names)
    for emotion, short in zip(report.classes, short_names(report.classes), strict=True):
        counts = [report.counts.get((speaker, emotion), 0) for speaker in report.sexes]
        all_of = [sum(pair) for pair in zip(all_of, counts, strict=True)]
        columns.append(Column(printable(emotion), [*map(str, counts), str(sum(counts))], short=printable(short)))
    return [*columns, Column("all", [*map(str, all_of), str(sum(all_of))])]


def _histogram(histogram: Mapping[int, int], unit: str) -> str:
    return ", ".join(f"{value}{unit} ({_count(files, 'file')})" for value, files in histogram.items()) or "none"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
