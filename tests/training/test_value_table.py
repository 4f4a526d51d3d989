"""Tables of utterances and named values."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from classical_runs import CORPUS
from commanding import done, refused

from parallel_ser.audio.extract import Extractor
from parallel_ser.audio.functionals import Functionals
from parallel_ser.config import load
from parallel_ser.corpora.base import Utterance
from parallel_ser.training import data
from parallel_ser.training.baseline import BASE
from parallel_ser.training.value_table import write

ABOUT = ["path", "corpus", "speaker", "sex", "emotion", "text"]


def test_parquet_and_csv_hold_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("values.parquet", "values.csv"):
        printed = done("features", "--out", tmp_path / name, *CORPUS, "run.jobs=1").stdout
        assert printed.startswith(f"{tmp_path / name}: 84 utterances × ")
    table = parquet.read_table(tmp_path / "values.parquet")
    with (tmp_path / "values.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == table.column_names
    assert head[:6] == ABOUT
    assert len(set(head)) == len(head)
    for place, name in enumerate(head):
        column = table[name].to_pylist()
        expected = [row[place] for row in rows] if place < 6 else [float(row[place]) for row in rows]
        assert column == expected, name
    # and what the extractor measures of a file
    config = load(None, CORPUS, BASE)
    extractor = Extractor(config.audio, config.features)
    functionals = Functionals(extractor.names, config.functionals, config.features.hop)
    assert head[6:] == functionals.names
    features = extractor.file(Path(rows[40][0]))
    vector = functionals(features.frames, features.measures)
    np.testing.assert_array_equal(np.array(rows[40][6:], dtype=float), vector.astype(float))
    assert {"mfcc3.delta.p95", "pitch.voiced.mean", "speech_rate", "hnr.mean", "slope500.std"} <= set(head)


@pytest.mark.parametrize("name", ["values.xlsx", "values", "values.parquet.gz", "values.CSV "])
def test_other_endings_are_refused_before_any_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worked(*_: object) -> None:
        raise AssertionError("the corpus was read although the table cannot be written")

    monkeypatch.setattr(data, "corpora_of", worked)
    sentence = refused("features", "--out", tmp_path / name, *CORPUS)
    assert sentence.endswith("must end in .parquet or .csv.")


def test_parquet_without_its_package_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    sentence = refused("features", "--out", tmp_path / "values.parquet", *CORPUS)
    assert "pip install 'parallel-ser[parquet]', or name a .csv file" in sentence


def test_awkward_names_come_back(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    utterances = [Utterance(Path('a "b",\nc.wav'), "made", "s1", "female", "joy", "ä, ö\r\nü")]
    for name in ("values.csv", "values.parquet"):
        write(tmp_path / name, utterances, np.array([[np.float32(0.1)]]), ["x"])
    with (tmp_path / "values.csv").open(newline="", encoding="utf-8") as file:
        _, row = csv.reader(file)
    assert row == ['a "b",\nc.wav', "made", "s1", "female", "joy", "ä, ö\r\nü", repr(float(np.float32(0.1)))]
    assert list(parquet.read_table(tmp_path / "values.parquet").to_pylist()[0].values())[:6] == row[:6]


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sentence = refused("features", "--out", tmp_path / "file" / "values.csv", *CORPUS, "run.jobs=1")
    assert sentence.startswith("cannot write ")
