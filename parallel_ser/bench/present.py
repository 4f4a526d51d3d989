"""A benchmark's folder: record, tables, pictures and the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parallel_ser.bench.analyse import verdict
from parallel_ser.bench.record import Record
from parallel_ser.files import write_text
from parallel_ser.report import bench_figures
from parallel_ser.report.bench import comma_separated, markdown
from parallel_ser.report.bench_page import write_page

Rows = Sequence[dict[str, Any]]

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
    cores = record.environment.get("cores", "?")
    return (
        f"{record.suite}: {record.rows[0].job.size} network, {cores} cores, {record.environment.get('processor', '')}"
    )


def sentences(record: Record, rows: Rows) -> list[str]:
    """The verdict of each group of rows that has a reference; of the micro-batches, how near the bubble came."""
    if record.suite == "microbatches":
        return [
            f"{row['name']}: idle {row['idle']:.1%} of the step, expected {row['expected_bubble']:.1%}."
            for row in rows
            if row["idle"] is not None and row["expected_bubble"] is not None
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
    versions = record.environment.get("versions", {})
    machine = {name: value for name, value in record.environment.items() if name != "versions"}
    machine |= {"versions": ", ".join(f"{name} {value}" for name, value in versions.items())}
    write_page(folder / "report.html", title(record), record.data, rows, said, figures, machine)
