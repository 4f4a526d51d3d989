"""What decoding a corpus reveals; every fault is made on purpose, next to sound files that must stay unnamed."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from parallel_ser.corpora import ravdess, tess
from parallel_ser.corpora.base import Corpus, Problem, Utterance
from parallel_ser.corpora.check import check, inspect
from parallel_ser.corpora.content import audio_id, clipped_share
from parallel_ser.report.corpus import print_report

RATE = 16000
DATA = Path(__file__).parents[2] / "../shared/data"
needs_ravdess = pytest.mark.skipif(not (DATA / "ravdess").is_dir(), reason="real RAVDESS is not on this machine")
needs_tess = pytest.mark.skipif(not (DATA / "tess").is_dir(), reason="real TESS is not on this machine")


def sound(seed: int = 0, peak: float = 0.5, frames: int = 4000) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(frames)
    return peak * x / np.abs(x).max()


def trouble(path: Path) -> str | None:
    found = inspect(path).trouble
    return found and found[0]


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("keep", [0.999, 0.5, 0.01])
def test_truncated_file_is_undecodable(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, sound(), RATE)
    assert trouble(path) is None
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    assert trouble(path) == "undecodable"


def test_wav_with_odd_chunks_and_streamed_length_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, sound(), RATE)
    whole = path.read_bytes()
    at = whole.index(b"data")
    path.write_bytes(whole[:at] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + whole[at:])
    assert trouble(path) is None
    path.write_bytes(whole[: at + 4] + struct.pack("<I", 0xFFFFFFFF) + whole[at + 8 :])
    assert trouble(path) is None


def write(samples: np.ndarray, subtype: str = "PCM_16") -> Callable[[Path], None]:
    return lambda path: soundfile.write(path, samples, RATE, subtype=subtype)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (write(np.zeros(0)), "empty"),
        (lambda path: path.write_bytes(b"<html>not found</html>" * 9), "undecodable"),
        (lambda path: None, "missing"),
        (write(np.zeros(4000)), "silent"),
        (write(sound(peak=0.0009), "FLOAT"), "silent"),
        (write(sound(peak=0.002), "FLOAT"), None),
        (write(np.where(np.arange(4000) == 7, np.nan, sound()), "FLOAT"), "non-finite"),
        (write(np.where(np.arange(4000) == 7, np.inf, sound()), "FLOAT"), "non-finite"),
        (write(np.clip(3 * np.sin(np.arange(4000) / 20), -1, 1)), "clipped"),
        (write(0.99 * np.clip(3 * np.sin(np.arange(4000) / 20), -1, 1)), "clipped"),
        (write(np.clip(3 * np.sin(np.arange(4000) / 20), -1, 1), "ULAW"), "clipped"),
        (write(sound(peak=1.0)), None),
        (write(np.stack([sound(1), sound(2)], axis=1)), None),
    ],
    ids=[
        "0 bytes", "0 samples", "web page", "absent", "zeros", "-61 dB", "-54 dB", "NaN", "inf", "clipped",
        "clipped, then quieter", "clipped mu-law", "touches full scale", "stereo",
    ],
)  # fmt: skip
def test_one_fault_one_kind(tmp_path: Path, make: Callable[[Path], object], kind: str | None) -> None:
    path = tmp_path / "x.wav"
    make(path)
    assert trouble(path) == kind


def test_clipped_share_counts_flat_tops() -> None:
    x = np.zeros(1000, dtype=np.float32)
    x[[10, 20, 21]] = 1.0  # a touch and a pair do not count
    assert clipped_share(x) == 0
    x[100:105] = 1.0
    x[200:203] = -1.0
    assert clipped_share(x) == pytest.approx(8 / 1000)
    assert clipped_share(np.stack([x, np.zeros_like(x)], axis=1)) == pytest.approx(4 / 1000)
    assert clipped_share(0.9 * x) == 0
    assert clipped_share(np.zeros(0)) == 0


def test_audio_id_is_of_the_samples_not_of_the_coding() -> None:
    x = np.round(sound() * 2**15) / 2**15
    decoded = []
    for form, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("WAV", "DOUBLE")):
        memory = io.BytesIO()
        soundfile.write(memory, x, RATE, format=form, subtype=subtype)
        memory.seek(0)
        decoded.append(soundfile.read(memory, dtype="float32", always_2d=True)[0])
    assert {audio_id(y) for y in decoded} == {audio_id(x)}
    assert audio_id(-np.zeros(3)) == audio_id(np.zeros(3))
    assert len({audio_id(y) for y in (x, x[:-1], x[::-1], x.reshape(-1, 2))}) == 4


def tree(root: Path) -> Path:
    """Two actors; actor 2 holds a copy of actor 1, actor 1 the same take twice, and there is one broken file."""
    for index, name in enumerate(
        ("01/03-01-01-01-01-01-01", "01/03-01-01-01-01-02-01", "01/03-01-05-01-01-01-01",
         "02/03-01-01-01-01-01-02", "02/03-01-04-01-01-01-02")
    ):  # fmt: skip
        path = root / f"Actor_{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound(index if index not in (1, 3) else 0), 48000 if index == 4 else RATE)
    (root / "Actor_02/03-01-03-01-01-01-02.wav").write_bytes(b"")
    (root / "Actor_02/odd.wav").write_bytes(b"")
    return root


def test_report_of_a_corpus(tmp_path: Path) -> None:
    root = tree(tmp_path)
    steps: list[tuple[int, int]] = []
    report = check(ravdess.read(root), root, jobs=2, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(n, 6) for n in range(1, 7)]
    told = [(problem.kind, problem.path.name) for problem in report.problems]
    assert told == [
        ("duplicate", "03-01-01-01-01-02-01.wav"),
        ("misplaced", "03-01-01-01-01-01-02.wav"),
        ("empty", "03-01-03-01-01-01-02.wav"),
        ("unparsable name", "odd.wav"),
    ]
    assert report.files == 6
    assert report.minutes == pytest.approx((4 * 4000 / RATE + 4000 / 48000) / 60)
    assert dict(report.sample_rates) == {RATE: 4, 48000: 1}
    assert dict(report.channels) == {1: 5}
    assert report.counts["ravdess-01", "neutral"] == 2
    assert report.counts["ravdess-02", "happy"] == 1
    assert dict(report.sexes) == {"ravdess-01": "male", "ravdess-02": "female"}
    assert report == check(ravdess.read(root), root, jobs=1)


def test_printed_report(tmp_path: Path) -> None:
    root = tree(tmp_path)
    console = Console(width=100, record=True, file=io.StringIO())
    print_report(console, check(ravdess.read(root), root, jobs=1))
    lines = console.export_text().splitlines()
    assert lines[0] == "ravdess: 6 files, 0.0 minutes"
    row = next(line.split() for line in lines if line.strip().startswith("ravdess-01"))
    assert row == ["ravdess-01", "male", "2", "0", "0", "1", "3"]  # neutral, happy, sad, angry, all
    assert "sample rates: 16000 Hz (4 files), 48000 Hz (1 file)" in lines
    assert "4 problems: 1 duplicate, 1 empty, 1 misplaced, 1 unparsable name" in lines
    assert (
        "misplaced        Actor_02/03-01-01-01-01-01-02.wav  same samples as Actor_01/03-01-01-01-01-01-01.wav, "
        "which is ravdess-01, neutral"
    ) in lines


def test_what_is_not_there_is_said_before_there_are_no_problems(tmp_path: Path) -> None:
    names = ["03-01-01-01-01-01-01", "03-02-01-01-01-01-01"]
    for seed, name in enumerate(names):
        soundfile.write(tmp_path / f"{name}.wav", sound(seed), RATE)
    console = Console(width=60, record=True, file=io.StringIO())
    print_report(console, check(ravdess.read(tmp_path), tmp_path, jobs=1))
    lines = console.export_text().splitlines()
    assert lines[-3:] == [
        "note: left out of ravdess: songs (1)",
        "note: 1 of the 24 speakers of ravdess is here: 02, 03, 04, 05, 06, 07, 08, 09, 10, 11, 12, 13 and 11 more are "
        "missing",
        "no problems found in the files that are read",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_eight_classes_fit_a_terminal(width: int) -> None:
    utterances = tuple(Utterance(Path("x"), "ravdess", "ravdess-01", "female", e) for e in ravdess.CLASSES)
    console = Console(width=width, record=True, file=io.StringIO())
    print_report(console, check(Corpus("ravdess", utterances, ravdess.CLASSES), jobs=1))
    lines = [line.split() for line in console.export_text().splitlines()]
    row = next(line for line in lines if line[:1] == ["ravdess-01"])
    assert [cell for cell in row[1:] if cell != "female"] == ["1"] * 8 + ["8"]
    heads = next(line for line in lines if line[:1] == ["speaker"])
    assert all(emotion.startswith(head) for emotion, head in zip(ravdess.CLASSES, heads[-9:]))


def test_printed_names_are_not_markup(tmp_path: Path) -> None:
    path = tmp_path / "[red]x[blue].wav"
    soundfile.write(path, sound(), RATE)
    corpus = Corpus(
        "mine", (Utterance(path, "mine", "[b]", "unknown", "joy"),), ("joy",), (Problem(path, "duplicate", "[/i]"),)
    )
    console = Console(width=100, record=True, file=io.StringIO())
    print_report(console, check(corpus, tmp_path, jobs=1))
    assert "duplicate  [red]x[blue].wav  [/i]" in console.export_text()


@needs_ravdess
def test_real_ravdess_holds_one_pair_and_no_false_alarm() -> None:
    root = DATA / "ravdess"
    report = check(ravdess.read(root), root)
    assert (report.files, len(report.sexes), len(report.classes)) == (1200, 20, 8)
    assert sum(report.counts.values()) == 1200
    assert {count for (_, emotion), count in report.counts.items() if emotion != "neutral"} == {8}
    assert [(p.kind, p.path.stem) for p in report.problems] == [("duplicate", "03-01-03-01-02-02-07")]
    assert "03-01-03-01-02-01-07" in report.problems[0].detail


@needs_tess
def test_real_tess_has_two_speakers() -> None:
    corpus = tess.read(DATA / "tess")
    assert len(corpus.utterances) == 2800
    assert {utterance.speaker for utterance in corpus.utterances} == {"tess-OAF", "tess-YAF"}
    assert len({utterance.text for utterance in corpus.utterances}) == 200
    report = check(corpus, DATA / "tess")
    assert set(report.counts.values()) == {200}
    assert len(report.counts) == 14
    assert report.problems == ()
