"""Pictures of benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from parallel_ser.report import bench_figures


@pytest.fixture
def drawn(keep: Callable[..., list[Figure]]) -> list[Figure]:
    """The figures that are saved, to be asked what is on them."""
    return keep(bench_figures)


def test_names_of_near_points_do_not_lie_on_each_other(tmp_path: Path, drawn: list[Figure]) -> None:
    costs = {"conformer": 15.0, "CNN": 22.0, "the same, larger": 21.0, "SVM": 0.5}
    points: list[dict[str, Any]] = [
        {"name": name, "cost": cost, "value": 0.6, "low": 0.5, "high": 0.7} for name, cost in costs.items()
    ]
    bench_figures.costs_picture(points, "minutes", "UAR", "models", tmp_path / "models.png")
    labels = [one for one in drawn[0].findobj(Annotation) if isinstance(one, Annotation)]
    assert {one.get_text() for one in labels} == set(costs)
    boxes = [one.get_window_extent() for one in labels]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
