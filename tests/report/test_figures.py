from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from starting import run

from parallel_ser.errors import UserError
from parallel_ser.report import figures
from parallel_ser.report.figures import confusion_picture, summary_picture, training_curves

Draw = Callable[[Any, Path], None]


def history(epochs: int = 12) -> list[dict[str, Any]]:
    return [
        {"epoch": e + 1, "loss": 2 / (e + 1), "select_uar": e / 20, "select_wa": e / 19, "lr": 1e-3, "seconds": 4.0}
        for e in range(epochs)
    ]


@pytest.fixture
def drawn(keep: Callable[..., list[Figure]]) -> list[Figure]:
    """The figures that are saved, to be asked what is on them."""
    return keep(figures)


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_pictures_are_whole_png_files_of_the_expected_size(tmp_path: Path, record: dict[str, Any]) -> None:
    side = 8 * 0.62
    sizes = {"confusion": (side + 2.0, side + 1.5), "summary": (side + 6.5, side + 1.5), "curves": (7.0, 5.0)}
    confusion_picture(record, tmp_path / "new" / "confusion.png")
    summary_picture(record, tmp_path / "new" / "summary.png")
    training_curves(history(), tmp_path / "new" / "curves.png")
    assert {path.stem for path in (tmp_path / "new").iterdir()} == set(sizes)
    for name, (width, height) in sizes.items():
        path = tmp_path / "new" / f"{name}.png"
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        pixels = imread(path)
        assert pixels.shape[:2] == pytest.approx((height * 150, width * 150), abs=1)
        assert pixels[..., :3].std() > 0.05


def test_cells_say_share_and_count_and_the_title_what_is_claimed(
    tmp_path: Path, record: dict[str, Any], drawn: list[Figure]
) -> None:
    confusion_picture(record, tmp_path / "c.png")
    text = texts(drawn[0])
    row = record["confusion"][4]
    assert f"{row[4] / sum(row):.0%}\n{row[4]}" in text
    assert "UAR 0.654 (95% interval 0.601 to 0.703)" in text
    assert "protocol: speaker" in text
    assert "of 20 speakers" in text
    image = drawn[0].axes[0].images[0].get_array()
    assert np.asarray(image).sum(axis=1) == pytest.approx(np.ones(8))


def test_a_title_tells_of_speakers_on_both_sides_and_of_a_missing_audit(
    tmp_path: Path, record: dict[str, Any], drawn: list[Figure]
) -> None:
    other = copy.deepcopy(record)
    other["audit"]["test"]["speakers"]["shared"] = 4
    record["audit"] = record["uar"]["interval"] = None
    confusion_picture(other, tmp_path / "a.png")
    summary_picture(record, tmp_path / "b.png")
    assert "SAME SPEAKERS IN TRAINING" in texts(drawn[0])
    assert "not audited" in texts(drawn[1])
    assert "no interval" in texts(drawn[1])


def test_the_best_epoch_is_the_one_of_the_highest_uar(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = history(6)
    rows[3]["select_uar"] = 0.9
    rows[4]["select_uar"] = None
    training_curves(rows, tmp_path / "t.png")
    assert "Highest selection UAR 0.900, epoch 4 of 6" in texts(drawn[0])
    assert drawn[0].axes[0].lines[0].get_ydata().tolist() == [row["loss"] for row in rows]  # type: ignore[union-attr]


def test_odd_records_are_drawn(tmp_path: Path, record: dict[str, Any]) -> None:
    """An absent class, names that look like mathematics, an epoch alone, losses that are not numbers."""
    record["classes"] = ["$x", r"\frac{", *record["classes"][2:]]
    record["per_class"][0] = {"name": "$x", "support": 0, "recall": None}
    record["confusion"][0] = [0] * 8
    record["per_speaker"] = record["per_speaker"][:1]
    record["audit"]["protocol"] = "$a_{$"
    confusion_picture(record, tmp_path / "c.png")
    summary_picture(record, tmp_path / "s.png")
    rows = history(1)
    training_curves(rows, tmp_path / "one.png")
    rows[0].update(loss=float("nan"), select_uar=None, select_wa=None)
    training_curves(rows, tmp_path / "nan.png")
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("draw", [confusion_picture, summary_picture])
def test_nothing_is_left_where_drawing_fails(
    tmp_path: Path, record: dict[str, Any], draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Figure, file: Any, **_: Any) -> None:
        file.write(b"\x89PNG")
        raise OSError(28, "No space left on device")

    (tmp_path / "old.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(UserError, match="No space left"):
        draw(record, tmp_path / "old.png")
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_a_training_without_an_epoch_has_no_curve(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no epoch was finished"):
        training_curves([], tmp_path / "t.png")
    assert not list(tmp_path.iterdir())


def test_no_global_state_of_matplotlib_is_used(tmp_path: Path) -> None:
    import sys

    code = "import sys, parallel_ser.report.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
