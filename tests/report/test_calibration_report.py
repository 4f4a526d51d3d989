"""Pictures and tables of calibration, from a record written out by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from rich.console import Console

from parallel_ser.errors import UserError
from parallel_ser.report import calibration
from parallel_ser.report.calibration import reliability_picture, risk_coverage_picture
from parallel_ser.report.tables import print_calibration

Record = dict[str, Any]


@pytest.fixture
def drawn(keep: Callable[..., list[Figure]]) -> list[Figure]:
    """The figures that are saved, to be asked what is on them."""
    return keep(calibration)


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def printed(record: Record, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_calibration(Console(width=80), record)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_pictures_are_whole_png_files(tmp_path: Path, calibrated: Record) -> None:
    for draw, size in ((reliability_picture, (8.5, 5.6)), (risk_coverage_picture, (7.5, 4.6))):
        path = tmp_path / "new" / f"{draw.__name__}.png"
        draw(calibrated, path)
        pixels = imread(path)
        assert pixels.shape[1::-1] == pytest.approx(np.array(size) * 150, abs=1)
        assert pixels[..., :3].std() > 0.05
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_both_sides_of_a_calibration_are_drawn_as_they_are(
    tmp_path: Path, calibrated: Record, drawn: list[Figure]
) -> None:
    reliability_picture(calibrated, tmp_path / "r.png")
    text = texts(drawn[0])
    assert "Before calibration\nECE 0.200, log loss 1.100" in text
    assert "After calibration (temperature)\nECE 0.010, log loss 0.910" in text
    assert "840 utterances of 24 speakers" in text
    for axes, side in zip(drawn[0].axes[:2], ("before", "after")):
        heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
        assert heights == [row["accuracy"] for row in calibrated[side]["reliability"] if row["n"]]
    assert sum(bar.get_height() for bar in drawn[0].axes[2].patches) == 840  # type: ignore[attr-defined]


def test_a_promise_lies_where_it_was_observed(tmp_path: Path, calibrated: Record, drawn: list[Figure]) -> None:
    risk_coverage_picture(calibrated, tmp_path / "r.png")
    text = texts(drawn[0])
    assert "error ≤ 5%: cannot be promised" in text
    assert "error ≤ 12.5%: from confidence 0.812 on; 45% answered, 6.1% wrong" in text
    assert "all answered: error 30.0%" in text
    assert "area 0.123" in text
    points = {tuple(line.get_xydata()[0]) for line in drawn[0].axes[0].lines if len(line.get_xydata()) == 1}
    assert points == {(0.45, 0.0611)}


def test_odd_records_are_drawn(tmp_path: Path, calibrated: Record) -> None:
    """One utterance; no promise asked for; a threshold that nothing reaches; more promises than marks; no error."""
    one = copy.deepcopy(calibrated)
    one.update(n=1, speakers=1, promises=[], risk_coverage={"area": 0.0, "coverage": [1.0], "risk": [0.0]})
    for side in ("before", "after"):
        for row in one[side]["reliability"]:
            row.update(n=0, confidence=None, accuracy=None)
        one[side]["reliability"][9].update(n=1, confidence=1.0, accuracy=1.0)
    calibrated["promises"] = [{**calibrated["promises"][1], "coverage": 0.0, "answered_error": None}] * 7
    for name, record in (("one", one), ("many", calibrated)):
        reliability_picture(record, tmp_path / f"{name}-r.png")
        risk_coverage_picture(record, tmp_path / f"{name}-c.png")
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("draw", [reliability_picture, risk_coverage_picture])
def test_a_folder_that_cannot_be_written_is_the_users_to_mend(
    tmp_path: Path, calibrated: Record, draw: Callable[[Record, Path], None]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        draw(calibrated, tmp_path / "file" / "r.png")


def test_measures_stand_side_by_side(calibrated: Record, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(calibrated, capsys)
    assert lines[0] == "Calibration on 840 utterances of 24 speakers"
    assert "measure (lower is better) before after (temperature)" in lines
    assert "ECE (expected calibration error) 0.200 0.010" in lines
    assert "Brier score (0 to 2) 0.600 0.410" in lines
    assert "log loss (nats) 1.100 0.910" in lines


def test_promises_are_told_with_a_threshold_that_keeps_them(
    calibrated: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(calibrated, capsys)
    assert "Answering only where the confidence is high enough (level 95%)" in lines
    assert "error allowed confidence from answered of these wrong least possible" in lines
    assert "5% none 0.0% – 7.2%" in lines
    assert "12.5% 0.813 45.0% 6.1% 7.2%" in lines
    assert "all 100.0% 30.0%" in lines
    assert "Area under risk and coverage (AURC): 0.123." in lines


def test_a_reason_is_told_where_nothing_can_be_promised(calibrated: Record, capsys: pytest.CaptureFixture[str]) -> None:
    calibrated["promises"] = [{**calibrated["promises"][0], "smallest_error": None}] * 2
    text = " ".join(printed(calibrated, capsys))
    assert text.count("no threshold will do.") == 1
    assert "5% none 0.0% – –" in text
