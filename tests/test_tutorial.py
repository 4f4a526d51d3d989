"""The tutorial: every cell runs, in order, and says what is kept of it."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def cells() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        import cells

        return cells


def notebook(*sources: str) -> dict[str, object]:
    return {"cells": [{"cell_type": "code", "source": one, "outputs": []} for one in sources]}


def test_cells_share_names_and_show_their_last_value(cells: ModuleType) -> None:
    made = notebook("x = 3\nprint('three')", "x + 1", "print(x)\n'text'", "x = None", "x")
    assert cells.execute(made) == ["three\n", "4\n", "3\n'text'\n", "", ""]
    assert cells.outputs(cells.keep(made, cells.execute(made))) == ["three\n", "4\n", "3\n'text'\n", "", ""]
    with pytest.raises(ZeroDivisionError):
        cells.execute(notebook("1 / 0"))


def likeness(text: str) -> list[str]:
    """What does not differ from machine to machine: all but figures, emotions and whether one is sure of them."""
    words = r"\b(anger|disgust|fear|joy|neutral|sadness|surprise|answered|uncertain|rejected)\b"
    return [" ".join(re.sub(rf"[-\d.e]*\d|{words}", "#", line).split()) for line in text.splitlines()]


def test_the_tutorial_runs_and_says_what_is_kept(
    cells: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = cells.read(DOCS / "tutorial.ipynb")
    outputs = cells.outputs(kept)
    assert sum(map(bool, outputs)) >= 6
    assert list(map(likeness, cells.execute(kept))) == list(map(likeness, outputs))
