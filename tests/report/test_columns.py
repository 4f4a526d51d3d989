"""Tables at every width: whatever goes, no figure loses a digit, and what has gone is said."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from parallel_ser.report.columns import Column, break_text, fit, print_table

COLUMNS = (
    Column("strategy", ["pipeline zbv, 8 micro-batches", "single"], left=True),
    Column("step ms", ["123,456.7", "9.1"]),
    Column("MiB", ["12,345", "678"], drop=1),
    Column("cuts", ["1,2,3,4", ""], drop=3),
    Column("bubble", ["12%", "0%"], drop=2),
)


def printed(width: int, *columns: Column, **options: object) -> str:
    out = io.StringIO()
    print_table(Console(file=out, width=width), columns or COLUMNS, "A title", **options)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize("width", range(42, 100))
def test_no_line_is_wider_than_the_terminal_and_no_cell_is_cut(width: int) -> None:
    text = printed(width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    blocks, gone = fit(COLUMNS, width)
    for column in COLUMNS:
        assert all(cell in text for cell in column.cells) or column in gone
    assert {one.heading for block in blocks for one in block} | {one.heading for one in gone} == {
        one.heading for one in COLUMNS
    }


def test_columns_go_in_the_order_of_their_numbers() -> None:
    gone = [{one.heading for one in fit(COLUMNS, width)[1]} for width in (65, 64, 55, 47)]
    assert gone == [set(), {"cuts"}, {"cuts", "bubble"}, {"cuts", "bubble", "MiB"}]


def test_what_has_gone_is_said_with_where_it_is() -> None:
    assert "No room for cuts, bubble: see --wide." in printed(55)
    assert "No room" not in printed(80)


def test_what_never_goes_continues_below_with_the_first_column_again() -> None:
    counts = [Column(f"class {k}", [f"{k}000", f"{k}111"]) for k in range(6)]
    text = printed(40, Column("", ["anger", "joy"], left=True), *counts)
    assert max(map(len, text.splitlines())) <= 40
    assert all(f"{k}000" in text and f"{k}111" in text for k in range(6))
    assert text.count("anger") == 2


def test_long_texts_are_broken_and_not_cut() -> None:
    name = "a-recording-with-a-very-long-name-that-fills-more-than-one-line.wav"
    text = printed(40, Column("file", [name], left=True, least=20), Column("confidence", ["0.98"]))
    assert max(map(len, text.splitlines())) <= 40
    assert name in "".join(line.split()[0] for line in text.splitlines()[3:] if line.strip())
    assert "0.98" in text


@pytest.mark.parametrize("width", range(30, 100, 3))
def test_a_name_is_broken_behind_its_signs_and_no_figure_in_it(width: int) -> None:
    name = "20261129-231310-synthetic-cnn-s-pipeline of 3.25 s and -0.125 dB, with_a_word"
    text = printed(width, Column("run", [name], left=True, least=18), Column("UAR", ["0.552"]))
    lines = [line.replace("0.552", "").strip() for line in text.splitlines()[3:] if line.strip()]
    assert "".join("".join(lines).split()) == "".join(name.split())
    words = set(re.split(r"[ _-]", name.replace(",", "")))
    assert all(set(re.split(r"[ _-]", line.replace(",", ""))) <= {*words, ""} for line in lines)
    assert any("-0.125" in line for line in lines)


def test_a_word_longer_than_a_line_is_broken_where_the_line_ends() -> None:
    assert str(break_text("x" * 25, 10)).splitlines() == ["x" * 10, "x" * 10, "x" * 5]
    assert str(break_text("\u4f60\u597d\u4f60\u597d", 4)).splitlines() == ["\u4f60\u597d", "\u4f60\u597d"]


def test_the_last_rows_are_parted_by_a_line() -> None:
    lines = printed(80, Column("n", ["1", "2", "3"]), foot=1).splitlines()
    assert lines.index("3") - lines.index("2") == 2 or lines[-2].strip() == "3"


def test_a_title_is_not_broken_by_a_narrow_table() -> None:
    out = io.StringIO()
    print_table(Console(file=out, width=40), [Column("n", ["1"])], "A title wider than its table")
    assert out.getvalue().splitlines()[0].rstrip() == "A title wider than its table"
