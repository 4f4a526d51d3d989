"""Timelines of records written out by hand: the report room does not know how they come about."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from rich.console import Console
from starting import run

from parallel_ser.errors import UserError
from parallel_ser.report import timeline
from parallel_ser.report.timeline import check_picture, print_schedule, text_timeline, timeline_picture


def act(rank: int, kind: str, stage: int, microbatch: int, start: float, end: float) -> dict[str, Any]:
    return {"rank": rank, "kind": kind, "stage": stage, "microbatch": microbatch, "start": start, "end": end}


@pytest.fixture
def records() -> list[dict[str, Any]]:
    """Rank 0 has stages 0 and 3, rank 1 stages 1 and 2, where the backward pass is split; one micro-batch, number 7."""
    return [
        act(0, "F", 0, 7, 0, 1),
        act(1, "F", 1, 7, 1, 2),
        act(1, "F", 2, 7, 2, 3),
        act(0, "F", 3, 7, 3, 4),
        act(0, "B", 3, 7, 4, 6),
        act(1, "I", 2, 7, 6, 7),
        act(1, "I", 1, 7, 7, 8),
        act(0, "B", 0, 7, 8, 10),
        act(1, "W", 2, 7, 8, 9),
        act(1, "W", 1, 7, 9, 10),
    ]


@pytest.fixture
def drawn(keep: Callable[..., list[Figure]]) -> list[Figure]:
    """The figures that are saved, to be asked what is on them."""
    return keep(timeline, "_save")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def boxes(figure: Figure) -> list[tuple[str, float, float, float]]:
    """Colour, left, right and middle height of what is drawn as a box."""
    found = []
    for collection in figure.axes[0].findobj(PolyCollection):
        for path in collection.get_paths():
            (left, low), (right, high) = path.vertices.min(axis=0), path.vertices.max(axis=0)
            found.append((to_hex(collection.get_facecolor()[0]), left, right, (low + high) / 2))
    return found


def test_pictures_are_whole_files_of_the_suffixs_kind(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    timeline_picture(records, tmp_path / "new" / "t.png", "title")
    timeline_picture(records, tmp_path / "new" / "t.SVG", "title")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"t.png", "t.SVG"}
    assert imread(tmp_path / "new" / "t.png")[..., :3].std() > 0.05
    root = ElementTree.parse(tmp_path / "new" / "t.SVG").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_the_same_records_give_the_same_svg(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    for name in ("a.svg", "b.svg"):
        timeline_picture(records, tmp_path / name, "title")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_each_action_is_a_box_in_its_ranks_row_and_its_kinds_colour(
    tmp_path: Path, records: list[dict[str, Any]], drawn: list[Figure]
) -> None:
    timeline_picture(records, tmp_path / "t.svg")
    colours = {kind: colour.lower() for kind, (colour, _) in timeline._COLOURS.items()}
    assert len({*colours.values(), timeline._IDLE.lower()}) == 5
    wanted = [(colours[r["kind"]], r["start"], r["end"], r["rank"]) for r in records]
    behind = [(timeline._IDLE.lower(), 0, 10, rank) for rank in (0, 1)]
    assert sorted(boxes(drawn[0])) == sorted([*wanted, *behind])


def test_the_picture_says_what_it_shows(tmp_path: Path, records: list[dict[str, Any]], drawn: list[Figure]) -> None:
    timeline_picture(records, tmp_path / "t.svg", r"\frac{ $x: 2 ranks")
    said = texts(drawn[0])
    assert "\\frac{ $x: 2 ranks\nstep 10, bubble 40.0%" in said
    for part in ("rank 0", "rank 1", "forward", "backward", "input gradient", "weight gradient", "idle"):
        assert part in said
    assert "the rank's second stage" in said
    assert said.count("7") == len(records)


def test_only_what_there_is_stands_in_the_legend(tmp_path: Path, drawn: list[Figure]) -> None:
    timeline_picture([act(3, "F", 0, 0, 100, 101), act(3, "B", 0, 0, 101, 103)], tmp_path / "t.png")
    said = texts(drawn[0])
    assert "step 3, bubble 0.0%" in said
    assert "rank 3" in said
    assert not {"input gradient", "weight gradient", "the rank's second stage"} & set(said)
    assert [(left, right) for _, left, right, _ in boxes(drawn[0])] == [(0, 3), (0, 1), (1, 3)]


@pytest.mark.parametrize(("micro", "length"), [(2, 1.0), (12, 1.0), (30, 0.3), (400, 1.0)])
def test_nothing_overlaps(tmp_path: Path, drawn: list[Figure], micro: int, length: float) -> None:
    """Numbers stay within their boxes and are left out where they do not fit; title, axes and legend stand apart."""
    rows = [act(rank, "F", rank, one, one * length, (one + 1) * length) for rank in (0, 1) for one in range(micro)]
    rows += [act(rank, "B", rank, 0, micro * length, micro * length + 2) for rank in (0, 1)]
    timeline_picture(rows, tmp_path / "t.png", "a title that is about as long as a real one, 4 ranks, 8 micro-batches")
    figure = drawn[0]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[0]
    assert len(axes.texts) == (0 if micro == 400 else 2 * micro + 2)
    for text in axes.texts:
        x, row = text.get_position()
        (box,) = (r for r in rows if r["rank"] == row and r["start"] < x < r["end"])
        (left, _), (right, _) = axes.transData.transform([(box["start"], row), (box["end"], row)])
        extent = text.get_window_extent()
        assert text.get_text() == str(box["microbatch"])
        assert left < extent.x0 < extent.x1 < right
    title, legend = axes._left_title.get_window_extent(), figure.legends[0].get_window_extent()  # type: ignore[attr-defined]
    assert axes.get_window_extent().y1 <= title.y0 < title.y1 <= figure.bbox.y1
    assert figure.bbox.y0 <= legend.y0 < legend.y1 <= axes.xaxis.get_tightbbox().y0  # type: ignore[union-attr]
    assert figure.bbox.x0 <= min(title.x0, legend.x0)
    assert max(title.x1, legend.x1) <= figure.bbox.x1


@pytest.mark.parametrize("name", ["t.pdf", "t", ".svg"])
def test_another_suffix_is_refused_with_those_that_work(
    tmp_path: Path, records: list[dict[str, Any]], name: str
) -> None:
    for refuse in (lambda path: timeline_picture(records, path), check_picture):
        with pytest.raises(UserError, match=r"use \.svg or \.png"):
            refuse(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_no_records_no_picture(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was done"):
        timeline_picture([], tmp_path / "t.svg")
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_where_drawing_fails(
    tmp_path: Path, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Figure, file: Any, **_: Any) -> None:
        file.write(b"<svg")
        raise OSError(28, "No space left on device")

    (tmp_path / "old.svg").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(UserError, match="No space left"):
        timeline_picture(records, tmp_path / "old.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["old.svg"]
    assert (tmp_path / "old.svg").read_bytes() == b"old"


def test_actions_that_take_no_time_are_drawn(tmp_path: Path) -> None:
    rows = [act(0, "F", 0, 0, 0, 0), act(0, "B", 0, 0, 0, 0)]
    timeline_picture(rows, tmp_path / "t.png")
    timeline_picture([*rows, act(0, "F", 0, 1, 0, 1)], tmp_path / "u.png")
    assert text_timeline(rows) is not None
    assert len(list(tmp_path.iterdir())) == 2


def test_text(records: list[dict[str, Any]]) -> None:
    text = text_timeline(records)
    assert text is not None
    assert text.plain.splitlines() == [
        "rank 0  7 . . 7 7'7'. . 7'7'",
        "rank 1  . 7 7 . . . 7'7'7\"7\"",
    ]


def test_columns_of_text_are_as_wide_as_the_longest_number_and_begin_with_the_first_action() -> None:
    rows = [act(0, "F", 0, 9, 5.0, 5.5), act(10, "F", 1, 10, 5.5, 6.0), act(10, "W", 1, 9, 6.5, 7.0)]
    text = text_timeline(rows)
    assert text is not None
    assert text.plain.splitlines() == ["rank 0    9  .  .  .", 'rank 10   . 10  .  9"']


def test_text_that_does_not_fit_is_none(records: list[dict[str, Any]]) -> None:
    assert text_timeline(records, width=28) is not None
    assert text_timeline(records, width=27) is None


@pytest.fixture
def record(records: list[dict[str, Any]]) -> dict[str, Any]:
    ranks = [
        {"rank": r, "busy": 6.0, "idle": 4.0, "bubble": 0.4, "in_flight": 1.5, "theory_in_flight": 2.5} for r in (0, 1)
    ]
    figures = {"step": 10.0, "ideal_step": 6.0, "theory_step": 9.0, "bubble": 0.4, "theory_bubble": 1 / 3}
    return {**figures, "per_rank": ranks, "actions": records}


def printed(record: dict[str, Any], width: int) -> str:
    out = io.StringIO()
    print_schedule(Console(file=out, width=width), record, "[red]zbv: 2 ranks")
    return out.getvalue()


def test_a_schedule_is_printed_with_theory_and_ideal_beside_it(record: dict[str, Any]) -> None:
    text = printed(record, 80)
    rows = [line.split() for line in text.splitlines()]
    assert "[red]zbv: 2 ranks" in text
    assert ["0", "6", "4", "40.0%", "1.5", "2.5"] in rows
    assert ["step", "10", "9", "6"] in rows
    assert ["bubble", "40.0%", "33.3%", "0.0%"] in rows
    assert "rank 0  7 . . 7 7'7'. . 7'7'" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_timeline_wider_than_the_terminal_is_left_to_the_picture(record: dict[str, Any]) -> None:
    record["actions"] = [act(0, "F", 0, one, one, one + 1) for one in range(60)]
    assert "rank 0" not in printed(record, 80)
    assert "--out FILE.svg draws it" in printed(record, 80)


def test_no_global_state_of_matplotlib_is_used(tmp_path: Path) -> None:
    code = "import sys, parallel_ser.report.timeline; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
