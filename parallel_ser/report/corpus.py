"""A corpus's check as tables and lines in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from parallel_ser.corpora.check import CheckReport, relative
from parallel_ser.system.terminal import printable


def print_report(console: Console, report: CheckReport) -> None:
    """Print files, minutes, speakers × emotions, sample rates, notes, and each problem: ``kind  path  detail``."""
    console.print(Text(f"{report.name}: {_count(report.files, 'file')}, {report.minutes:.1f} minutes", style="bold"))
    console.print(speakers_table(report))
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


def speakers_table(report: CheckReport) -> Table:
    """Utterances by speaker and emotion, with the sums of both."""
    # Eight classes fit 80 columns: the box alone keeps the columns apart.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("speaker", no_wrap=True)
    table.add_column("sex")
    for emotion in (*report.classes, "all"):
        table.add_column(Text(printable(emotion)), justify="right", overflow="fold")
    for speaker, sex in report.sexes.items():
        row = [report.counts.get((speaker, emotion), 0) for emotion in report.classes]
        table.add_row(Text(printable(speaker)), sex, *map(str, row), str(sum(row)))
    table.add_section()
    sums = [sum(report.counts.get((speaker, e), 0) for speaker in report.sexes) for e in report.classes]
    table.add_row(_count(len(report.sexes), "speaker"), "", *map(str, sums), str(sum(sums)))
    return table


def _histogram(histogram: Mapping[int, int], unit: str) -> str:
    return ", ".join(f"{value}{unit} ({_count(files, 'file')})" for value, files in histogram.items()) or "none"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
