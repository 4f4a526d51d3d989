"""A CSV manifest: what it accepts, and the file and line of what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_ser.corpora import manifest
from parallel_ser.errors import UserError

HEADER = "path,speaker,emotion\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "audio").mkdir()
    for name in ("a.wav", "b.wav", "c, d.ogg"):
        (tmp_path / "audio" / name).write_bytes(b"x")
    return tmp_path


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "mine.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_all_columns_in_any_order(folder: Path) -> None:
    text = (
        "emotion, path ,speaker,sex,text,corpus,duration,room\n"
        'ANG,audio/a.wav,p1,F,"Hello, you",ward,1.5,quiet\n'
        "\n"
        f"wistful,{folder / 'audio' / 'b.wav'},p2,,,,,\n"
        'Angry,"audio/c, d.ogg",manifest-p3,male,,,,loud\n'
    )
    corpus = manifest.read(write(folder, text, "utf-8-sig"))
    first, second, third = corpus.utterances
    assert (first.path, first.speaker, first.sex, first.emotion) == (
        folder / "audio/a.wav", "ward-p1", "female", "anger",
    )  # fmt: skip
    assert (first.text, first.corpus, first.duration, dict(first.fields)) == (
        "Hello, you",
        "ward",
        1.5,
        {"room": "quiet"},
    )
    assert (second.path, second.speaker, second.sex) == (folder / "audio/b.wav", "manifest-p2", "unknown")
    assert (second.emotion, second.duration) == ("wistful", None)
    assert (third.speaker, third.path.name) == ("manifest-p3", "c, d.ogg")
    assert corpus.classes == ("anger", "wistful")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,speaker\naudio/a.wav,p1\n", "line 1 lacks the column emotion"),
        ("path;speaker;emotion\naudio/a.wav;p1;joy\n", "line 1 lacks .*separated by commas"),
        ("", "line 1 lacks the columns path, speaker, emotion"),
        ("path,speaker,emotion,path\n", "line 1 names a column twice"),
        (HEADER, "lists no recordings"),
        (HEADER + "audio/a.wav,p1,joy\naudio/none.wav,p1,joy\n", "line 3: there is no file .*none.wav"),
        (HEADER + "audio/a.wav,p1,joy\naudio/b.wav,p1,joy\naudio/../audio/a.wav,p2,joy\n", "line 4 .*which line 2 has"),
        (HEADER + "audio/a.wav,  ,joy\n", "line 2 has no speaker"),
        (HEADER + "audio/a.wav,p1,\n", "line 2 has no emotion"),
        (HEADER + "audio/a.wav,p1,joy,extra\n", "line 2 has 4 cells"),
        (HEADER + "audio/a.wav,p1\n", "line 2 has 2 cells"),
        (HEADER + 'audio/a.wav,p1,"joy\n', "line 2 is not valid CSV"),
        ("path,speaker,emotion,sex\naudio/a.wav,p1,joy,x\n", "line 2: sex 'x'"),
        ("path,speaker,emotion,duration\naudio/a.wav,p1,joy,-1\n", "line 2: duration '-1'"),
        ("path,speaker,emotion,duration\naudio/a.wav,p1,joy,long\n", "line 2: duration 'long'"),
    ],
)
def test_refused_with_file_and_line(folder: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=f"mine.csv.*{told}") as caught:
        manifest.read(write(folder, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["speaker", "emotion", "corpus"])
def test_a_name_that_would_reach_the_terminal_raw_is_refused(folder: Path, column: str) -> None:
    cells = {"path": "a.wav", "speaker": "s", "emotion": "joy", "corpus": "c"} | {column: "x\x1b[2J"}
    file = write(folder, "\n".join([",".join(cells), ",".join(cells.values())]))
    with pytest.raises(UserError, match=rf"line 2: {column} holds characters that do not print") as caught:
        manifest.read(file)
    assert str(caught.value).isprintable()


def test_line_number_counts_lines_of_the_file(folder: Path) -> None:
    text = 'path,speaker,emotion,text\naudio/a.wav,p1,joy,"two\nlines"\n\naudio/b.wav,,joy,\n'
    with pytest.raises(UserError, match="line 5 has no speaker"):
        manifest.read(write(folder, text))


def test_not_a_readable_file(folder: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        manifest.read(folder / "none.csv")
    with pytest.raises(UserError, match="is not a file"):
        manifest.read(folder / "audio")
    with pytest.raises(UserError, match="not text in UTF-8"):
        manifest.read(write(folder, HEADER + "audio/ä.wav,p1,joy\n", "latin-1"))
