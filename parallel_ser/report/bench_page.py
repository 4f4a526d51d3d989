"""A benchmark as one HTML file that needs no network: verdict, sortable table, pictures, machine."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallel_ser.report.bench import cells
from parallel_ser.system.files import write_text

_TEMPLATE = "bench.html.jinja"


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        title: of the page.
        data: what was measured on, in words.
        note: how the table is to be read.
        headings: key and text of each column.
        rows: of ``page_row`` or ``text_row``.
        said: the verdict, in sentences.
    """

    title: str
    data: str
    note: str
    headings: Sequence[tuple[str, str]]
    rows: Sequence[Mapping[str, Any]]
    said: Sequence[str]


def write_page(path: Path, page: Page, figures: Sequence[tuple[Path, str]], machine: Mapping[str, Any]) -> None:
    """Write the page.

    Args:
        path: of the file.
        page: what it shows.
        figures: PNG files with what each shows; they are put into the page.
        machine: names and values.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(loader=PackageLoader("parallel_ser.report", "."), autoescape=select_autoescape(["jinja"]))
    text = environment.get_template(_TEMPLATE).render(
        page=page,
        figures=[(one.name, text, base64.b64encode(one.read_bytes()).decode()) for one, text in figures],
        machine=[(name, value) for name, value in machine.items() if value not in ("", None)],
    )
    write_text(path, text)


def page_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Texts to show and values to sort by, of a row of ``bench.analyse.table``."""
    text = cells(row)
    values = {key: row.get(key) if isinstance(row.get(key), (int, float)) else shown for key, shown in text.items()}
    values["speedup_text"] = 1.0 if row["reference"] else "" if row["speedup"] is None else row["speedup"]
    values["quartiles"] = row["step_ms"] if row["step_ms"] is not None else ""
    return {"cells": text, "order": values, "reference": row["reference"], "flags": row["flags"]}


def text_row(texts: Sequence[str]) -> dict[str, Any]:
    """The same of a row of texts, whose columns are known by their numbers."""
    text = {str(place): one for place, one in enumerate(texts)}
    return {"cells": text, "order": text, "reference": False, "flags": []}
