"""Pages in Markdown that go with a run: the notice for the people who are recorded, and the model's card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def notice(record: Mapping[str, Any]) -> str:
    """The notice of a record: ``run``, ``emotions``, ``corpora``, and whether ``audio``, ``kept``, ``voices``."""
    return _rendered("notice", record)


def card(record: Mapping[str, Any]) -> str:
    """The card of a record.

    It has ``name``, ``system``, ``tta_copies``, ``version``, ``classes``, ``metrics`` as in ``metrics.json``,
    ``corpora`` with ``name``, ``licence`` and ``citation``, ``limits``, and ``robustness`` or None.
    """
    return _rendered("card", record)


def _rendered(name: str, record: Mapping[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("parallel_ser.report", "."), autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(f"{name}.md.jinja").render(one=record)
