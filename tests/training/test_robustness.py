"""What altered sound does to a run's answers, and the model's card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commanding import done, refused

from parallel_ser.training.inference import Run
from parallel_ser.training.robustness import ALTERATIONS, LOSS, UNCHANGED, Alteration, measure

RATE = 16000
BY_NAME = {one.name: one for one in ALTERATIONS}


def altered(name: str, signal: np.ndarray) -> np.ndarray:
    return BY_NAME[name].make(signal, RATE, np.random.default_rng(0))


def tone(hertz: float) -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)


def decibels(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(ours**2) / np.mean(theirs**2)))


def test_alterations_are_what_they_are_called() -> None:
    signal = tone(440.0)
    assert decibels(altered("6 dB louder", signal), signal) == pytest.approx(6.0)
    assert decibels(altered("6 dB quieter", signal), signal) == pytest.approx(-6.0)
    assert np.array_equal(altered("20 ms cut off at each end", signal), signal[320:-320])
    zeros = altered("100 ms of zeros behind", signal)
    assert np.array_equal(zeros[:RATE], signal)
    assert not zeros[RATE:].any()
    assert len(zeros) == RATE + 1600
    assert decibels(signal, altered("white noise at 20 dB", signal) - signal) == pytest.approx(20.0, abs=0.01)
    middle = slice(1000, -1000)
    for name, hertz, level in (
        ("high-pass filter at 50 Hz", 50.0, -3.0),
        ("low-pass filter at 7.5 kHz", 7500.0, -3.0),
        ("sampled at 8 kHz", 440.0, 0.0),
        ("MP3", 440.0, 0.0),
    ):
        sound = tone(hertz)
        assert decibels(altered(name, sound)[middle], sound[middle]) == pytest.approx(level, abs=0.2), name
    assert decibels(altered("sampled at 8 kHz", tone(6000.0))[middle], signal[middle]) < -40


def test_a_run_is_tried_with_altered_sound_and_its_card_says_so(svm_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(svm_run, run)
    before = (run / "card.md").read_text()
    assert "It was not tried with altered sound" in before
    assert "The classical system svm on functionals" in before
    metrics = json.loads((run / "metrics.json").read_text())
    assert f"| UAR (unweighted average recall) | {metrics['uar']['value']:.3f} |" in before
    told = done("evaluate", run, "--robustness").output
    found = json.loads((run / "robustness.json").read_text())
    first, *others = found["rows"]
    assert first["name"] == "as it is"
    assert (first["unchanged"], first["lost"]) == (1.0, 0.0)
    assert first["uar"] == pytest.approx(metrics["uar"]["value"])
    assert len(others) == len(ALTERATIONS) - 1
    for row in others:
        assert row["lost"] == pytest.approx(first["uar"] - row["uar"])
        assert row["kept"] == (row["unchanged"] >= UNCHANGED if row["light"] else row["lost"] <= LOSS)
        assert row["name"] in told
    after = (run / "card.md").read_text()
    assert "## With the sound altered" in after
    assert "not tried with altered sound" not in after
    assert all(sentence[1:] in after for sentence in found["short"])
    assert "leave --corpus and --merge out" in refused("evaluate", run, "--robustness", "--corpus", "tess")


def test_what_is_not_heard_any_more_is_not_recognised(svm_run: Path) -> None:
    run = Run.open(svm_run)
    silence = Alteration("silence", lambda signal, rate, rng: 0.0 * signal, False)
    _, row = measure(run, run.config, lambda *_: None, (ALTERATIONS[0], silence))["rows"]
    assert (row["uar"], row["unchanged"], row["kept"]) == (0.0, 0.0, False)
    assert row["unheard"] == 28
