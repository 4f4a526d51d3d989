"""Cutting a list's parts of recordings into files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commanding import refused, said

from parallel_ser.corpora import manifest
from parallel_ser.corpora.cut import cut
from parallel_ser.errors import UserError

RATE = 8000


@pytest.fixture
def recording(tmp_path: Path) -> np.ndarray:
    """23 seconds of 16-bit noise in two channels, as ``talk.flac``."""
    samples = np.random.default_rng(0).integers(-32768, 32768, (23 * RATE, 2)).astype(np.int16)
    soundfile.write(tmp_path / "talk.flac", samples, RATE, subtype="PCM_16")
    return samples


def listed(folder: Path, *lines: str) -> Path:
    path = folder / "list.csv"
    path.write_text("\n".join(["file,start,end,speaker,emotion,room", *lines]) + "\n")
    return path


def test_parts_have_the_recordings_samples(tmp_path: Path, recording: np.ndarray) -> None:
    lines = (
        "talk.flac,8.5,21.25,p1,joy,a",  # over two borders of what is decoded at a time
        "talk.flac,0 days 00:00:01,0 days 00:00:01.5,p2,anger,b",
        "talk.flac,20,,p1,fear,c",
        "talk.flac,10,20,p2,joy,d",
    )
    assert cut(listed(tmp_path, *lines), tmp_path / "out") == (4, [])
    corpus = manifest.read(tmp_path / "out/utterances.csv")
    spans = [(8.5, 21.25), (1, 1.5), (20, 23), (10, 20)]
    for utterance, (start, end) in zip(corpus.utterances, spans, strict=True):
        samples, rate = soundfile.read(utterance.path, dtype="int16")
        assert rate == RATE
        np.testing.assert_array_equal(samples, recording[round(start * RATE) : round(end * RATE)])
        assert utterance.fields["recording"].endswith("talk.flac")
        assert (float(utterance.fields["from_s"]), float(utterance.fields["to_s"])) == (start, end)
    assert [one.emotion for one in corpus.utterances] == ["joy", "anger", "fear", "joy"]
    assert [one.fields["room"] for one in corpus.utterances] == list("abcd")


def test_what_16_bits_do_not_hold_stays_float(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).standard_normal(RATE).astype(np.float32) * 3
    soundfile.write(tmp_path / "loud.wav", samples, RATE, subtype="FLOAT")
    cut(listed(tmp_path, "loud.wav,0.25,0.75,p,joy,a"), tmp_path / "out")
    found, _ = soundfile.read(next((tmp_path / "out").glob("*.wav")), dtype="float32")
    np.testing.assert_array_equal(found, samples[RATE // 4 : 3 * RATE // 4])


def test_what_cannot_be_cut_is_said_and_takes_no_other(tmp_path: Path, recording: np.ndarray) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFFnothing")
    lines = (
        "talk.flac,1,2,p1,joy,a",
        "talk.flac,22,24,p1,joy,a",
        "talk.flac,30,31,p1,joy,a",
        "talk.flac,5,5,p1,joy,a",
        "gone.wav,0,1,p1,joy,a",
        "bad.wav,0,1,p1,joy,a",
        "talk.flac,soon,2,p1,joy,a",
        "talk.flac,1,-2,p1,joy,a",
        "talk.flac,1,nan,p1,joy,a",
        "talk.flac,1,1e999,p1,joy,a",
    )
    result = said("corpus", "cut", listed(tmp_path, *lines), "--to", tmp_path / "out")
    assert result.exit_code == 2
    assert "1 utterance:" in result.stdout
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    wanted = [
        "line 5.* ends at 5 s",
        r"line 6.*gone\.wav",
        "line 3.*ends before 24 s",
        "line 4.*ends before 31 s",
        "bad.wav",
        "line 8.*start 'soon' is no time",
        "line 9.*end '-2' is no time",
        "line 10.*end 'nan' is no time",
        "line 11.*end '1e999' is no time",
    ]
    assert len(notes) == 9
    for pattern in wanted:
        assert any(re.search(pattern, note) for note in notes), (pattern, notes)
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert "is there already" in refused("corpus", "cut", tmp_path / "list.csv", "--to", tmp_path / "out")


def test_nothing_to_cut(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"could be cut: .*there is no gone\.wav"):
        cut(listed(tmp_path, "gone.wav,0,1,p,joy,a"), tmp_path / "out")
    assert not (tmp_path / "out/utterances.csv").exists()


@pytest.mark.parametrize("there", ["list.csv", "list.csv/below", "/proc/below"])
def test_a_folder_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, recording: np.ndarray, there: str
) -> None:
    file = listed(tmp_path, "talk.flac,1,2,p1,joy,a")
    assert "cannot " in refused("corpus", "cut", file, "--to", tmp_path / there)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.csv", "talk.flac"]
