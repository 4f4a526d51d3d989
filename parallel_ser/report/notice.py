"""A notice for the people who are recorded, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rendered(record: Mapping[str, Any]) -> str:
    """The notice of a record: ``run``, ``emotions``, ``corpora``, and whether ``audio``, ``kept``, ``voices``."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("parallel_ser.report", "."), autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("notice.md.jinja").render(one=record)
