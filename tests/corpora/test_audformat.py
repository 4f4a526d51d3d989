"""An audformat database, written by hand as the audformat package writes one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from parallel_ser.corpora import audformat, emodb
from parallel_ser.corpora.registry import recognise
from parallel_ser.errors import UserError

HEADER = """name: mini
source: ''
usage: unrestricted
languages: [deu]
schemes:
  duration: {dtype: time}
  emotion:
    dtype: str
    labels:
      anger: {}
      happiness: {}
  speaker:
    dtype: int
    labels:
      3: {gender: male, age: 31}
      8: {gender: female, age: 34}
  transcription:
    dtype: str
    labels: {a01: Der Lappen, a02: Das will}
splits:
  test: {type: test}
  train: {type: train}
tables:
  emotion.test:
    type: filewise
    split_id: test
    columns:
      emotion: {scheme_id: emotion}
  emotion.train:
    type: filewise
    split_id: train
    columns:
      gold: {scheme_id: emotion}
      gold.confidence: {}
  files:
    type: filewise
    columns:
      speaker: {scheme_id: speaker}
      transcription: {scheme_id: transcription}
      duration: {scheme_id: duration}
"""
TABLES = {
    "emotion.test": "file,emotion\nwav/c.wav,anger\n",
    "emotion.train": "file,gold,gold.confidence\nwav/a.wav,anger,0.9\nwav/b.wav,happiness,\n",
    "files": (
        "file,speaker,transcription,duration\n"
        "wav/a.wav,3,a01,0 days 00:00:00.500000\nwav/b.wav,3,a02,0 days 00:00:00.500000\n"
        "wav/c.wav,8,a01,0 days 00:00:00.500000\nwav/d.wav,8,a02,0 days 00:00:00.500000\n"
    ),
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return write(tmp_path, HEADER, TABLES)


def write(root: Path, header: str, tables: dict[str, str]) -> Path:
    (root / "wav").mkdir()
    for name in "abcd":
        soundfile.write(root / "wav" / f"{name}.wav", np.full(4000, 0.1), 8000)
    (root / "db.yaml").write_text(header)
    for name, text in tables.items():
        (root / f"db.{name}.csv").write_text(text)
    return root


def test_tables_join_by_file(database: Path) -> None:
    corpus = audformat.read(database)
    told = [(u.path.name, u.speaker, u.sex, u.emotion, u.text, u.duration, dict(u.fields)) for u in corpus.utterances]
    assert told == [
        ("a.wav", "mini-3", "male", "anger", "Der Lappen", 0.5, {"gold.confidence": "0.9", "split": "train"}),
        ("b.wav", "mini-3", "male", "joy", "Das will", 0.5, {"split": "train"}),
        ("c.wav", "mini-8", "female", "anger", "Der Lappen", 0.5, {"split": "test"}),
    ]
    assert (corpus.classes, corpus.problems) == (("joy", "anger"), ())
    assert corpus.notes == ("left out of mini: files without an emotion (1)",)
    assert recognise(database, "--name").name == "audformat"


def test_segments_and_people_of_a_misc_table(tmp_path: Path) -> None:
    header = """name: seg
schemes:
  speaker: {dtype: str, labels: people}
tables:
  segments:
    type: segmented
    columns:
      emotion: {}
      speaker: {scheme_id: speaker}
misc_tables:
  people:
    levels: {speaker: str}
    columns:
      gender: {}
"""
    tables = {
        "segments": "file,start,end,emotion,speaker\nwav/a.wav,0 days,0 days 00:00:00.5,anger,s3\n"
        "wav/b.wav,0 days,,sadness,s8\n",
        "people": "speaker,gender\ns3,male\ns8,female\n",
    }
    corpus = audformat.read(write(tmp_path, header, tables))
    assert [(u.speaker, u.sex, u.emotion) for u in corpus.utterances] == [
        ("seg-s3", "male", "anger"), ("seg-s8", "female", "sadness"),
    ]  # fmt: skip
    for rows, told in (
        ("wav/a.wav,0 days,0 days 00:00:00.2,anger,s3\n", "lists a part of"),
        ("wav/a.wav,0 days,0 days 00:00:00.2,anger,s3\nwav/a.wav,0 days 00:00:00.2,,joy,s3\n", "several rows"),
    ):
        (tmp_path / "db.segments.csv").write_text("file,start,end,emotion,speaker\n" + rows)
        with pytest.raises(UserError, match=told):
            audformat.read(tmp_path)


def test_a_database_of_a_known_corpus_is_a_database(tmp_path: Path) -> None:
    tables = {"emotion": "file,emotion,speaker\nwav/03a01Fa.wav,happiness,3\nwav/a.wav,anger,8\n"}
    header = "name: emodb\ntables:\n  emotion: {type: filewise, columns: {emotion: {}, speaker: {}}}\n"
    root = write(tmp_path, header, tables)
    (root / "wav/b.wav").rename(root / "wav/03a01Fa.wav")
    assert recognise(root, "--name").name == "audformat"
    assert emodb.read(root).name == "emodb"  # which can still be asked for


def test_parquet(database: Path) -> None:
    table = pytest.importorskip("pyarrow").table(
        {"file": ["wav/a.wav", "wav/b.wav"], "gold": ["anger", None], "gold.confidence": [0.9, 0.5]}
    )
    pytest.importorskip("pyarrow.parquet").write_table(table, database / "db.emotion.train.parquet")
    (database / "db.emotion.train.csv").unlink()
    corpus = audformat.read(database)
    assert [(u.path.name, u.emotion) for u in corpus.utterances] == [("a.wav", "anger"), ("c.wav", "anger")]
    (database / "db.emotion.train.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        audformat.read(database)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("db.files.csv", "wav/a.wav,3,", "wav/a.wav,,"), "wav/a.wav has no speaker in any table"),
        (("db.emotion.test.csv", "wav/c.wav,anger", "wav/a.wav,fear"), "a.wav is anger in the table emotion.train"),
        (("db.yaml", "name: mini", "name: ["), "db.yaml cannot be read as YAML"),
        (("db.yaml", "tables:", "tablets:"), "it has no tables"),
        (("db.yaml", "emotion.test:", "emotion.dev:"), r"has no db.emotion.dev.csv"),
        (("db.yaml", "gender: male", "gender: x"), "sex 'x' is not one of"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(database: Path, change: tuple[str, str, str], told: str) -> None:
    file = database / change[0]
    text = file.read_text()
    assert change[1] in text
    file.write_text(text.replace(change[1], change[2]))
    with pytest.raises(UserError, match=f"^audformat: .*{told}"):
        recognise(database, "--name")
    with pytest.raises(UserError, match=f"^audformat: .*{told}") as caught:
        audformat.read(database)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_here_is_a_problem(database: Path) -> None:
    (database / "wav/b.wav").unlink()
    corpus = audformat.read(database)
    assert [(p.kind, p.path.name) for p in corpus.problems] == [("missing", "b.wav")]
    assert len(corpus.utterances) == 2


def test_no_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*db.yaml; expected the folder of a database"):
        audformat.read(tmp_path)
