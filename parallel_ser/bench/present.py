"""A benchmark's folder: record, tables, pictures and the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from parallel_ser.bench.analyse import verdict
from parallel_ser.bench.plain import RECORD, Plain
from parallel_ser.bench.record import Record
from parallel_ser.report import bench_figures
from parallel_ser.report.bench import comma_separated, headings, markdown, markdown_table
from parallel_ser.report.bench_page import Page, page_row, text_row, write_page
from parallel_ser.system.csv_text import csv_text
from parallel_ser.system.files import write_text
from parallel_ser.training.run_folder import read_json

Rows = Sequence[dict[str, Any]]

STEPS = (
    "Medians over rounds of fresh processes; quartiles of the slowest rank's step; ratios within a round, with 95% "
    "intervals over the rounds."
)
"""What the page says of a table of training steps."""

_PICTURES: dict[str, list[tuple[str, Callable[[Rows, str, Path], None], str]]] = {
    "strategies": [
        ("speed.png", bench_figures.speed_picture, "Speed against the single process, and where each step goes"),
        ("memory.png", bench_figures.memory_picture, "Throughput against memory"),
    ],
    "scaling": [("scaling.png", bench_figures.scaling_picture, "Efficiency over processes, with the ideal line")],
    "microbatches": [
        ("microbatches.png", bench_figures.bubble_picture, "Throughput and idle share, with what the schedule expects")
    ],
}


def title(record: Record) -> str:
    """Of tables and page."""
    cores, file = record.environment.get("cores", "?"), record.settings.get("model", {}).get("file")
    network = PurePath(file).name if file else f"{record.rows[0].job.size} network"
    return f"{record.suite}: {network}, {cores} cores, {record.environment.get('processor', '')}"


def sentences(record: Record, rows: Rows) -> list[str]:
    """The verdict of each group of rows that has a reference; of the micro-batches, how near the bubble came."""
    if record.suite == "microbatches":
        return [
            f"{row['name']}: idle {row['idle']:.1%} of the step; the simulator says {row['predicted_idle']:.1%} for "
            f"these stages, {row['expected_bubble']:.1%} for equal ones."
            for row in rows
            if row["idle"] is not None and row["predicted_idle"] is not None
        ]
    said = []
    for group in dict.fromkeys(row["group"] for row in rows):
        said += verdict([row for row in rows if row["group"] == group])
    return said


def write(folder: Path, record: Record, rows: Rows) -> None:
    """Write ``table.csv``, ``table.md``, the pictures and ``report.html`` beside ``records.json``."""
    said = sentences(record, rows)
    write_text(folder / "table.csv", comma_separated(rows))
    write_text(folder / "table.md", markdown(rows, said))
    figures = []
    for name, draw, shows in _PICTURES[record.suite]:
        draw(rows, title(record), folder / name)
        figures.append((folder / name, shows))
    page = Page(title(record), record.data, STEPS, headings(rows), [page_row(row) for row in rows], said)
    write_page(folder / "report.html", page, figures, _machine(record.environment, record.command))


def write_plain(folder: Path, found: Plain) -> None:
    """The same of a suite whose rows are no training steps."""
    record = read_json(folder / RECORD)
    write_text(folder / "table.csv", csv_text([found.headings, *found.rows], str))
    write_text(folder / "table.md", markdown_table(found.headings, found.rows, found.said))
    picture = folder / f"{found.suite}.png"
    drawn = [asdict(one) for one in found.bars]
    if found.cost:
        bench_figures.costs_picture(drawn, found.cost, found.axis, found.suite, picture)
    else:
        bench_figures.bars_picture(drawn, found.axis, found.suite, picture)
    columns = [(str(place), heading) for place, heading in enumerate(found.headings)]
    rows = [text_row(row) for row in found.rows]
    environment = record["environment"]
    name = f"{found.suite}: {environment.get('cores', '?')} cores, {environment.get('processor', '')}"
    page = Page(name, found.data, "", columns, rows, found.said)
    write_page(folder / "report.html", page, [(picture, found.axis)], _machine(environment, record["command"]))
    made = {"data": found.data, "headings": found.headings, "rows": found.rows, "said": found.said}
    write_text(folder / RECORD, json.dumps(record | made, indent=1) + "\n")


def _machine(environment: Mapping[str, Any], command: str) -> dict[str, Any]:
    """What the page says of the machine."""
    versions = environment.get("versions", {})
    machine = {name: value for name, value in environment.items() if name != "versions"}
    return machine | {"command": command, "versions": ", ".join(f"{name} {value}" for name, value in versions.items())}
