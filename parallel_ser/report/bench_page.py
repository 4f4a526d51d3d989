"""A benchmark as one HTML file that needs no network: verdict, sortable table, pictures, machine."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parallel_ser.files import write_text
from parallel_ser.report.bench import cells, headings

_TEMPLATE = "bench.html.jinja"


def write_page(
    path: Path,
    title: str,
    data: str,
    rows: Sequence[Mapping[str, Any]],
    said: Sequence[str],
    figures: Sequence[tuple[Path, str]],
    machine: Mapping[str, Any],
) -> None:
    """Write the page.

    Args:
        path: of the file.
        title: of the page.
        data: what was trained on, in words.
        rows: of ``bench.analyse.table``.
        said: the verdict, in sentences.
        figures: PNG files with what each shows; they are put into the page.
        machine: names and values.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(loader=PackageLoader("parallel_ser.report", "."), autoescape=select_autoescape(["jinja"]))
    shown = headings(rows)
    page = environment.get_template(_TEMPLATE).render(
        title=title,
        data=data,
        said=said,
        headings=shown,
        rows=[_row(row) for row in rows],
        figures=[(one.name, text, base64.b64encode(one.read_bytes()).decode()) for one, text in figures],
        machine=[(name, value) for name, value in machine.items() if value not in ("", None)],
    )
    write_text(path, page)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Texts to show and values to sort by."""
    text = cells(row)
    values = {key: row.get(key) if isinstance(row.get(key), (int, float)) else shown for key, shown in text.items()}
    values["speedup_text"] = 1.0 if row["reference"] else "" if row["speedup"] is None else row["speedup"]
    values["quartiles"] = row["step_ms"] if row["step_ms"] is not None else ""
    return {"cells": text, "values": values, "reference": row["reference"], "flags": row["flags"]}
