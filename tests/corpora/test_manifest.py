"""A CSV manifest: what it accepts, and the file and line of what it does not."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

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
        ("path speaker emotion\naudio/a.wav p1 joy\n", "line 1 lacks .*separated by commas"),
        ("", "line 1 lacks the columns path, speaker, emotion"),
        ("path,speaker,emotion,path\n", "line 1 names a column twice"),
        (HEADER, "lists no recordings"),
        (HEADER + "audio/none.wav,p1,joy\naudio/gone.wav,p1,joy\n", "lists none is there, such as .*none.wav"),
        (HEADER + "audio/a.wav,p1,joy\naudio/b.wav,p1,joy\naudio/../audio/a.wav,p2,joy\n", "line 4 .*which line 2 has"),
        (HEADER + "audio/a.wav,  ,joy\n", "line 2 has no speaker"),
        (HEADER + "audio/a.wav,p1,\n", "line 2 has no emotion"),
        (HEADER + "audio/a.wav,p1,joy,extra\n", "line 2 has 4 cells"),
        (HEADER + "audio/a.wav,p1\n", "line 2 has 2 cells"),
        (HEADER + 'audio/a.wav,p1,"joy\n', "line 2 is not valid CSV"),
        ("path,speaker,emotion,sex\naudio/a.wav,p1,joy,x\n", "line 2: sex 'x'"),
        ("path,speaker,emotion,duration\naudio/a.wav,p1,joy,-1\n", "line 2: duration '-1' is no time"),
        ("path,speaker,emotion,duration\naudio/a.wav,p1,joy,long\n", "line 2: duration 'long' is no time"),
    ],
)
def test_refused_with_file_and_line(folder: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=f"mine.csv.*{told}") as caught:
        manifest.read(write(folder, text))
    assert "\n" not in str(caught.value)


def test_recordings_that_are_not_there_are_problems(folder: Path) -> None:
    (folder / "audio/pipe.wav").mkdir()
    rows = "audio/a.wav,p1,joy\naudio/none.wav,p1,joy\naudio/b.wav,p2,fear\naudio/pipe.wav,p2,joy\n"
    corpus = manifest.read(write(folder, HEADER + rows))
    assert [one.path.name for one in corpus.utterances] == ["a.wav", "b.wav"]
    assert [(one.path.name, one.kind, one.detail) for one in corpus.problems] == [
        ("none.wav", "missing", "listed in line 3, but there is no such file"),
        ("pipe.wav", "missing", "listed in line 5, but there is no such file"),
    ]


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


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header", ["path,speaker,emotion,sex", "file,speaker,emotion,gender", "Filename,Speaker,Emotion,Gender"]
)
def test_separators_and_the_headers_of_other_tools(folder: Path, delimiter: str, header: str) -> None:
    text = f"{header}\r\naudio/a.wav,p1,joy,female\r\n".replace(",", delimiter)
    (found,) = manifest.read(write(folder, text, "utf-8-sig")).utterances
    assert (found.path, found.speaker, found.emotion, found.sex, dict(found.fields)) == (
        folder / "audio/a.wav", "manifest-p1", "joy", "female", {},
    )  # fmt: skip


def test_a_column_beside_the_one_of_its_other_name_is_a_field(folder: Path) -> None:
    (found,) = manifest.read(write(folder, "path,speaker,emotion,file\naudio/a.wav,p1,joy,x7\n")).utterances
    assert dict(found.fields) == {"file": "x7"}


def test_paths_of_windows(folder: Path) -> None:
    (found,) = manifest.read(write(folder, HEADER + "audio\\a.wav,p1,joy\n")).utterances
    assert found.path == folder / "audio/a.wav"
    (folder / "audio\\a.wav").write_bytes(b"x")  # a backslash in a name, as this system has it
    (found,) = manifest.read(write(folder, HEADER + "audio\\a.wav,p1,joy\n")).utterances
    assert found.path == folder / "audio\\a.wav"


@pytest.mark.parametrize("disk", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_composed_and_decomposed_letters(tmp_path: Path, disk: str, written: str) -> None:
    name = "wäv é/Sprüch #1, neutral 😀 0.wav"
    on_disk = tmp_path / unicodedata.normalize(disk, "wäv é") / unicodedata.normalize(disk, name.split("/")[1])
    on_disk.parent.mkdir()
    on_disk.write_bytes(b"x")
    (found,) = manifest.read(write(tmp_path, f'{HEADER}"{unicodedata.normalize(written, name)}",p1,joy\n')).utterances
    assert found.path == on_disk


def test_dimensions_are_not_categories(folder: Path) -> None:
    with pytest.raises(UserError, match="has arousal and valence and no column emotion: what is learned are categor"):
        manifest.read(write(folder, "path,speaker,arousal,valence\naudio/a.wav,p1,4.5,1.5\n"))


@pytest.mark.parametrize(
    ("start", "end", "whole"),
    [
        ("0 days", "0 days 00:00:01.500000", True),
        ("0 days 00:00:00", "", True),
        ("0", "1.49", True),
        ("", "NaT", True),
        ("0 days 00:00:00.250000", "0 days 00:00:01.500000", False),
        ("0", "1.2", False),
        ("0:00:01", "", False),
    ],
)
def test_segments_of_audformat(tmp_path: Path, start: str, end: str, whole: bool) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(12000), 8000)
    file = write(tmp_path, f"file,start,end,speaker,emotion\na.wav,{start},{end},p1,joy\n")
    if whole:
        assert len(manifest.read(file).utterances) == 1
    else:
        with pytest.raises(UserError, match=r"line 2 lists a part of .*of 1\.50 s.*corpus cut"):
            manifest.read(file)


def test_a_time_that_is_none(folder: Path) -> None:
    with pytest.raises(UserError, match="line 2: end 'soon' is no time in seconds"):
        manifest.read(write(folder, "file,start,end,speaker,emotion\naudio/a.wav,0,soon,p1,joy\n"))


def test_empty_columns_at_the_end_as_spreadsheets_write_them(folder: Path) -> None:
    text = "path;speaker;emotion;sex;;\naudio/a.wav;p1;joy;;;\n;;;;;\naudio/b.wav;p1;joy;female;;\n"
    assert [one.sex for one in manifest.read(write(folder, text)).utterances] == ["unknown", "female"]
    with pytest.raises(UserError, match="line 2 has 5 cells where the header has 4 columns"):
        manifest.read(write(folder, text.replace("joy;;;", "joy;;x;", 1)))


def test_one_speaker_in_two_spellings_of_unicode_is_one(folder: Path) -> None:
    names = [unicodedata.normalize(form, "Jürgen") for form in ("NFC", "NFD")]
    rows = "".join(f"audio/{file},{name},joy\n" for file, name in zip(("a.wav", "b.wav"), names))
    assert {one.speaker for one in manifest.read(write(folder, HEADER + rows)).utterances} == {f"manifest-{names[0]}"}


def test_speakers_that_differ_in_capitals_alone_are_said(folder: Path) -> None:
    rows = "audio/a.wav,Ana,joy\naudio/b.wav,ana,joy\n"
    (note,) = manifest.read(write(folder, HEADER + rows)).notes
    assert note.startswith("speakers manifest-Ana, manifest-ana differ in capitals alone")
    assert manifest.read(write(folder, HEADER + rows.replace("Ana", "Eva"))).notes == ()
