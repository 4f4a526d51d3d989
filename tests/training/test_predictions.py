from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel_ser.errors import UserError
from parallel_ser.training.predictions import Predictions, concatenate


def example(fold: int = 0) -> Predictions:
    return Predictions(
        paths=("a,b.wav", 'say "hi".wav', "naïve\n.wav"),
        speakers=("s1", "s2", "s2"),
        sexes=("female", "male", "male"),
        folds=np.full(3, fold),
        truth=("sad", "joy", "fear"),
        classes=("joy", "fear", "sad"),
        probabilities=np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]]),
    )


def same(left: Predictions, right: Predictions) -> bool:
    names = ("paths", "speakers", "sexes", "truth", "classes")
    return (
        all(getattr(left, name) == getattr(right, name) for name in names)
        and np.array_equal(left.folds, right.folds)
        and np.array_equal(left.probabilities, right.probabilities)
    )


def test_predicted_follows_the_columns_and_ties_take_the_first_class() -> None:
    assert example().predicted == ("sad", "joy", "joy")
    assert example().truth_indices.tolist() == [2, 0, 1]


def test_csv_columns(tmp_path: Path) -> None:
    example(4).to_csv(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == "path,speaker,sex,fold,truth,predicted,confidence,p.joy,p.fear,p.sad"
    assert rows[0]["path"] == "a,b.wav"
    assert (rows[0]["predicted"], rows[0]["confidence"], rows[0]["p.sad"]) == ("sad", "0.7", "0.7")
    assert {row["fold"] for row in rows} == {"4"}
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\r\nb", "\r", "=1+1", " a ", "a,b", 'a"b'])
def test_csv_brings_back_names_with_line_ends_and_quotes(tmp_path: Path, name: str) -> None:
    said = replace(example(), speakers=(name, "s2", name), classes=("joy", "fear", name), truth=(name, "joy", "fear"))
    said.to_csv(tmp_path / "p.csv")
    assert same(Predictions.from_csv(tmp_path / "p.csv"), said)


def test_csv_brings_back_names_that_are_not_utf8(tmp_path: Path) -> None:
    said = replace(example(), paths=(b"\xff\xe9.wav".decode("utf-8", "surrogateescape"), "b", "c"))
    said.to_csv(tmp_path / "p.csv")
    assert same(Predictions.from_csv(tmp_path / "p.csv"), said)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_csv_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)
    paths = data.draw(st.lists(text, min_size=1, max_size=5, unique=True))
    classes = data.draw(st.lists(text, min_size=1, max_size=4, unique=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    said = Predictions(
        tuple(paths),
        tuple(data.draw(text) for _ in paths),
        ("female",) * len(paths),
        rng.integers(0, 5, len(paths)),
        tuple(classes[index] for index in rng.integers(0, len(classes), len(paths))),
        tuple(classes),
        rng.dirichlet(np.full(len(classes), 0.3), len(paths)),
    )
    path = tmp_path_factory.mktemp("round") / "p.csv"
    said.to_csv(path)
    assert same(Predictions.from_csv(path), said)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.array([[0.1, 0.2, 0.7], [np.nan, 0.5, 0.5], [1, 0, 0]])}, "not a finite"),
        ({"probabilities": np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.1], [1, 0, 0]])}, "sum to 1.1"),
        ({"probabilities": np.array([[0.1, 0.2, 0.7], [-0.5, 1.0, 0.5], [1, 0, 0]])}, "at least 0"),
        ({"truth": ("sad", "Joy", "fear")}, "'Joy' is not one of the classes joy, fear, sad"),
        ({"paths": ("x.wav", "x.wav", "y.wav")}, "x.wav occurs twice in fold 0"),
    ],
)
def test_what_is_not_a_prediction_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(example(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"speakers": ("s1", "s2")},
        {"folds": np.zeros(2)},
        {"classes": ("joy", "fear")},
        {"classes": ("joy", "fear", "joy")},
        {"probabilities": np.full((2, 3), 1 / 3)},
        {"probabilities": np.full(3, 1.0)},
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|but"):
        replace(example(), **change)  # type: ignore[arg-type]


def test_sums_are_held_to_one_part_in_ten_thousand() -> None:
    row = np.full((3, 3), 1 / 3)
    replace(example(), probabilities=row + 0.9e-4 / 3)
    with pytest.raises(UserError):
        replace(example(), probabilities=row + 1.1e-4 / 3)


HEADER = "path,speaker,sex,fold,truth,predicted,confidence,p.joy,p.sad\n"
GOOD = "a.wav,s1,female,0,joy,joy,0.9,0.9,0.1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the columns must be path"),
        ("path,speaker\n", "line 1: the columns"),
        (HEADER.replace("p.sad", "p.joy"), "line 1: the columns"),
        (HEADER.replace("p.sad", "sad"), "line 1: the columns"),
        (HEADER + GOOD + "b.wav,s1,female,0,joy,joy\n", "line 3: 6 fields where the header has 9"),
        (HEADER + GOOD + GOOD.replace("a.wav", "b.wav").replace("0.1", "much"), "line 3: not a number"),
        (HEADER + GOOD.replace(",0,", ",one,"), "line 2: not a number"),
        (HEADER + GOOD + "\n" + GOOD, "line 4: a.wav occurs twice"),
        (HEADER + GOOD.replace("0.1", "0.4"), "line 2: the probabilities"),
        (HEADER + GOOD.replace("0.1", "nan"), "line 2: a probability is not a finite"),
        (HEADER + GOOD.replace("joy,joy", "fear,joy"), "line 2: the true emotion 'fear'"),
        (HEADER + GOOD.replace("joy,joy", "joy,sad"), "line 2: predicted says 'sad' but .* 'joy'"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"broken\.csv, {message}"):
        Predictions.from_csv(path)


def test_a_file_in_other_hands(tmp_path: Path) -> None:
    """A spreadsheet writes a byte-order mark and its own line ends."""
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + GOOD).replace("\n", "\r\n").encode())
    assert Predictions.from_csv(path).predicted == ("joy",)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            Predictions.from_csv(path)


def test_concatenate_keeps_order() -> None:
    both = concatenate([example(1), example(0)])
    assert both.folds.tolist() == [1, 1, 1, 0, 0, 0]
    assert both.paths == example().paths * 2
    assert np.array_equal(both.probabilities[3:], example().probabilities)


def test_concatenate_refuses_other_classes_and_repeats() -> None:
    other = replace(example(1), classes=("fear", "joy", "sad"))
    with pytest.raises(ValueError, match="cannot join"):
        concatenate([example(), other])
    with pytest.raises(UserError, match="twice in fold 0"):
        concatenate([example(), example()])
    with pytest.raises(ValueError, match="no predictions"):
        concatenate([])


def test_merged_classes_have_the_sum_of_their_probabilities() -> None:
    merged = example().merged({"joy": "high", "fear": "fear", "sad": "fear"})
    assert merged.classes == ("high", "fear")
    assert merged.truth == ("fear", "high", "fear")
    np.testing.assert_allclose(merged.probabilities, [[0.1, 0.9], [0.5, 0.5], [1 / 3, 2 / 3]])
    assert merged.predicted == ("fear", "high", "fear")


def test_the_arrays_cannot_change() -> None:
    source = np.full((3, 3), 1 / 3)
    said = replace(example(), probabilities=source)
    source[:] = 0
    assert said.probabilities.min() > 0.3
    with pytest.raises(ValueError, match="read-only"):
        said.probabilities[0, 0] = 1
