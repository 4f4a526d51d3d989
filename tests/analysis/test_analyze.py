"""``parallel-ser analyze`` from end to end, on a tiny run and a recording whose speech is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commanding import done, said
from recorded import Recording

from parallel_ser.analysis.analyse import analyse
from parallel_ser.analysis.folder import FILES
from parallel_ser.analysis.settings import AnalysisSettings
from parallel_ser.errors import UserError
from parallel_ser.training.inference import Run

ENERGY = ("--vad", "energy")


@pytest.fixture(scope="module")
def folder(run: Path, recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    done("analyze", run, recording.path, "--out", out, *ENERGY)
    return out


@pytest.fixture(scope="module")
def record(folder: Path) -> dict[str, Any]:
    text = (folder / "check-in_2026-03-01" / "analysis.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def test_all_files_are_there_and_none_names_a_folder_outside(folder: Path, run: Path, recording: Recording) -> None:
    own = folder / "check-in_2026-03-01"
    assert sorted(path.name for path in own.iterdir()) == sorted(FILES)
    assert (folder / "notice.md").exists()
    for path in folder.rglob("*.*"):
        content = path.read_bytes()
        assert str(recording.path.parent).encode() not in content
        assert str(run.parent).encode() not in content
        assert str(folder).encode() not in content


def test_the_speech_is_found(record: dict[str, Any], recording: Recording) -> None:
    segments = record["segments"]
    assert record["seconds"] == pytest.approx(recording.seconds, abs=1e-3)
    for start, end in recording.speech:
        own = [one for one in segments if one["start"] < end and one["end"] > start]
        assert own[0]["start"] == pytest.approx(start, abs=0.2)
        assert own[-1]["end"] == pytest.approx(end, abs=0.2)
    silent = recording.seconds - sum(end - start for start, end in recording.speech)
    assert record["totals"]["silent"] == pytest.approx(silent, abs=0.2 * len(segments))
    assert sum(record["totals"].values()) == pytest.approx(recording.seconds, abs=1e-3)


def test_probabilities_are_what_predict_gives(
    run: Path, record: dict[str, Any], recording: Recording, tmp_path: Path
) -> None:
    one = next(one for one in record["segments"] if one["status"] == "answered")
    signal, rate = soundfile.read(recording.path, dtype="float32")
    cut = tmp_path / "cut.wav"
    soundfile.write(cut, signal[round(one["start"] * rate) : round(one["end"] * rate)], rate, subtype="FLOAT")
    told = json.loads(done("predict", run, cut, "--json").stdout)
    assert told["probabilities"] == pytest.approx(one["probabilities"], abs=1e-4)
    assert (told["emotion"], told["confidence"]) == (one["emotion"], pytest.approx(one["confidence"], abs=1e-4))


def test_shares_are_of_the_segments_that_are_recognised(record: dict[str, Any]) -> None:
    own = [one for one in record["segments"] if one["probabilities"]]
    seconds = sum(one["end"] - one["start"] for one in own)
    for share in record["shares"]:
        heard = sum(one["end"] - one["start"] for one in own if one["emotion"] == share["emotion"])
        assert share["raw"] == pytest.approx(heard / seconds)
    assert sum(one["raw"] for one in record["shares"]) == pytest.approx(1.0)


def test_below_the_threshold_it_is_uncertain(run: Path, recording: Recording, tmp_path: Path) -> None:
    from parallel_ser.system.digests import write_json

    copy = Path(shutil.copytree(run, tmp_path / "run"))
    answers = analyse(Run.open(copy), recording.path, AnalysisSettings(vad="energy")).segments
    middle = float(np.median([one.confidence for one in answers if one.emotion]))
    kept = {"coverage": 0.5, "answered_error": 0.1, "binomial_bound": 0.2, "speaker_bound": None}
    promise = {"error": 0.2, "level": 0.95, "threshold": middle, "smallest_error": 0.1, "reason": None, **kept}
    for fold in Run.open(copy).folds:
        write_json(copy / f"fold-{fold}" / "calibration.json", {"method": "none", "promises": [promise]})
    analysis = analyse(Run.open(copy), recording.path, AnalysisSettings(vad="energy"))
    assert (analysis.threshold.confidence, analysis.threshold.error) == (middle, 0.2)
    status = {one.status for one in analysis.segments if one.emotion and one.confidence < middle}
    assert status == {"uncertain"}
    assert {one.status for one in analysis.segments if one.emotion and one.confidence >= middle} == {"answered"}
    del promise["coverage"]
    write_json(copy / "fold-0" / "calibration.json", {"method": "none", "promises": [promise]})
    with pytest.raises(UserError, match=r"calibration\.json is damaged"):
        analyse(Run.open(copy), recording.path, AnalysisSettings(vad="energy"))


def test_blocks_of_the_file_change_nothing(run: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    import parallel_ser.analysis.listen as listen
    from parallel_ser.audio.stream import mono_blocks

    whole = analyse(Run.open(run), recording.path, AnalysisSettings(vad="energy"))
    monkeypatch.setattr(listen, "mono_blocks", lambda path, rate: mono_blocks(path, rate, seconds=0.7))
    monkeypatch.setattr(listen, "voice_activity", _Whole(recording.path))
    parts = analyse(Run.open(run), recording.path, AnalysisSettings(vad="energy", batch=3))
    assert [(one.start, one.end, one.emotion) for one in parts.segments] == [
        (one.start, one.end, one.emotion) for one in whole.segments
    ]
    np.testing.assert_array_equal(parts.envelope, whole.envelope)


class _Whole:
    """Energy listens to blocks of its caller, in which the loudest differs: here it is given the file at once."""

    def __init__(self, path: Path):
        self.signal, _ = soundfile.read(path, dtype="float32")

    def __call__(self, method: str) -> Any:
        from parallel_ser.audio.stream import SECONDS
        from parallel_ser.audio.vad import FRAME, Energy

        energy, size = Energy(), round(SECONDS * 16000)
        starts = range(0, len(self.signal), size)
        found = [energy(self.signal[start : start + size], start + size >= len(self.signal)) for start in starts]
        every, count = np.concatenate(found), 0

        def next_part(block: np.ndarray, last: bool = False) -> np.ndarray:
            nonlocal count
            own = every[count : count + -(-len(block) // FRAME)]
            count += len(own)
            return own

        return next_part


def test_without_sound_none_is_stored(run: Path, recording: Recording, tmp_path: Path) -> None:
    done("analyze", run, recording.path, "--out", tmp_path, "--redact", *ENERGY)
    page = (tmp_path / "check-in_2026-03-01" / "report.html").read_text()
    assert 'id="clips"' not in page
    assert "<audio" not in page
    assert "No sound is stored" in page


def test_a_person_is_kept_and_forgotten(run: Path, recording: Recording, tmp_path: Path) -> None:
    store, out = tmp_path / "store" / "people.sqlite", tmp_path / "out"
    second = tmp_path / "check-in_2026-03-08.wav"
    shutil.copy(recording.path, second)
    with second.open("ab") as file:
        file.write(b"LIST\x04\x00\x00\x00INFO")
    options = ("--person", "anna-k-17", "--store", store, "--out", out, *ENERGY)
    done("analyze", run, second, recording.path, *options)
    page = json.loads((out / "check-in_2026-03-08" / "analysis.json").read_text())
    assert [one["date"] for one in page["series"]["sessions"]] == ["2026-03-01", "2026-03-08"]
    assert [one["this"] for one in page["series"]["sessions"]] == [False, True]
    told = done("analyze", "--forget", "anna-k-17", "--store", store).stdout
    assert told.startswith(f"Erased 2 session(s) of anna-k-17 and {2 * len(FILES)} file(s)")
    left = [path for path in tmp_path.rglob("*") if path.is_file() and b"anna-k-17" in path.read_bytes()]
    assert left == []
    assert not store.exists()
    assert said("analyze", "--forget", "anna-k-17", "--store", store).exit_code == 2


def test_what_cannot_be_read_does_not_stop_the_others(run: Path, recording: Recording, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(recording.path.read_bytes()[:4000])
    result = said("analyze", run, broken, recording.path, tmp_path / "none.wav", "--out", tmp_path / "out", *ENERGY)
    assert result.exit_code == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "truncated" in errors[0]
    assert "none.wav" in errors[1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["check-in_2026-03-01", "notice.md"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "name a run, recordings and --out FOLDER"),
        (("--vad", "x"), "--vad 'x' is not there"),
        (("--person", ""), "a person's ID is empty"),
        (("--date", "soon"), "--date 'soon' is no date"),
        (("--error", "0.2"), "has no threshold for an error of 0.2"),
    ],
)
def test_what_is_asked_wrongly_is_said(
    run: Path, recording: Recording, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    out = ("--out", tmp_path / "out") if options else ()
    result = said("analyze", run, recording.path, *out, *options)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_is_taken_whole_and_by_processes(run: Path, tmp_path: Path) -> None:
    tone = 0.1 * np.sin(np.arange(32000) / 8.0)
    for name in ("a.wav", "a.ogg", "sub/b.mp3"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone, 16000)
    done("analyze", run, tmp_path / "in", "--out", tmp_path / "out", "--nproc", 2, *ENERGY)
    names = {json.loads(path.read_text())["file"] for path in (tmp_path / "out").glob("*/analysis.json")}
    assert names == {"a.wav", "a.ogg", "b.mp3"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "a-2", "b", "notice.md"]


def test_silence_gives_a_report_that_says_so(run: Path, tmp_path: Path) -> None:
    quiet = tmp_path / "quiet.wav"
    soundfile.write(quiet, np.zeros(32000), 16000)
    done("analyze", run, quiet, "--out", tmp_path, *ENERGY)
    page = (tmp_path / "quiet" / "report.html").read_text()
    assert "No segment was recognised" in page
    assert "There is no speech to measure" in page


def test_the_notice_is_filled_from_the_run(folder: Path, record: dict[str, Any]) -> None:
    notice = (folder / "notice.md").read_text()
    assert ", ".join(record["classes"]) in notice
    for word in ("synthetic", "2 August 2026", "50(3)", "can be played", "erasure"):
        assert word in notice
    assert "Measures of each of your sessions" not in notice


def test_the_notice_comes_before_a_recording(run: Path, tmp_path: Path) -> None:
    done("analyze", run, "--out", tmp_path, "--person", "P07", "--redact", "--speakers", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["notice.md"]
    notice = (tmp_path / "notice.md").read_text()
    for words in ("without sound", "Measures of each of your sessions", "numerical description of each voice"):
        assert words in notice
    assert "P07" not in notice


def test_a_way_of_finding_speech_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="--vad 'rnn' is not there: it is silero or energy"):
        AnalysisSettings(vad="rnn")  # type: ignore[arg-type]
