"""A long recording with known labels, analysed: time, memory, borders, recall and what was told from speech.

    python benchmarks/long_recording.py RUN --minutes 60 --out benchmarks/results/long_recording.json
    python benchmarks/long_recording.py --borders FOLDER… --minutes 10

The speech is what a fold of the run was tested on, where its corpus lies (or below --corpus). Between utterances are
pauses; every tenth gap holds music, noise or digital silence, which are made here. The figures are of the folds' models
together, so of a run of several folds the fold given must be its only one for the recall to be of unseen speakers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from parallel_ser.analysis.analyse import Segment, analyse
from parallel_ser.analysis.listen import Listener
from parallel_ser.analysis.segments import Span
from parallel_ser.analysis.settings import AnalysisSettings
from parallel_ser.audio.load import load
from parallel_ser.audio.pitch import Pitch
from parallel_ser.audio.preprocess import levels
from parallel_ser.corpora.folder import audio_files
from parallel_ser.system.process import reset_peak, status
from parallel_ser.training.inference import Run

RATE = 16000
_HOP = 80
_SPEECH_BELOW = 25.0  # dB
NEAR = 0.2  # s


@dataclass(frozen=True)
class Part:
    """A stretch of the recording: of an emotion, or ``music``, ``noise``, ``silence``, ``chord``."""

    start: float
    end: float
    kind: str
    speech: bool


def music(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A melody of struck notes over chords."""
    count = round(seconds * RATE)
    out = np.zeros(count)
    scale = 220.0 * 2.0 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12.0)
    for start in np.arange(0.0, seconds, 0.25):
        beat = [] if (start * 4) % 4 else list(rng.choice(scale, 3, replace=False) / 2)
        length = min(count - round(start * RATE), RATE)
        at = np.arange(length) / RATE
        for note in [*beat, rng.choice(scale)]:
            struck = sum(np.sin(2 * np.pi * note * k * at) * np.exp(-3.0 * k * at) / k for k in range(1, 7))
            out[round(start * RATE) : round(start * RATE) + length] += struck
    return out


def noise(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """White, pink or brown."""
    count = round(seconds * RATE)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    return np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 20) ** (rng.integers(0, 3) / 2), count)


def chord(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Tones that do not change."""
    at = np.arange(round(seconds * RATE)) / RATE
    return sum(np.sin(2 * np.pi * hertz * at) for hertz in 220.0 * 2.0 ** (rng.choice(12, 3, replace=False) / 12.0))


def silence(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Digital silence."""
    return np.zeros(round(seconds * RATE))


MADE = {"music": music, "noise": noise, "chord": chord, "silence": silence}


def borders(signal: np.ndarray) -> tuple[float, float]:
    """Where the speech of an utterance begins and ends, in seconds, told without voice activity.

    What lies within 25 dB of the loudest 50 ms, from 0.25 s before the first to 0.25 s after the last voiced stretch of
    at least 50 ms: breaths and clicks further off are not speech.
    """
    level = levels(signal, RATE, _HOP)
    loud = level >= level.max() - _SPEECH_BELOW
    f0, _ = Pitch(RATE, _HOP)(torch.from_numpy(signal.astype(np.float32)))
    edges = np.flatnonzero(np.diff((f0.numpy() > 0.0) & loud, prepend=False, append=False))
    runs = [(a, b) for a, b in zip(edges[::2], edges[1::2]) if (b - a) * _HOP >= 0.05 * RATE]
    reach = round(0.25 * RATE / _HOP)
    first, last = max(0, runs[0][0] - reach), min(len(level), runs[-1][1] + reach)
    inside = np.flatnonzero(loud[first:last]) + first
    return inside[0] * _HOP / RATE, inside[-1] * _HOP / RATE


def build(path: Path, paths: list[Path], labels: list[str], minutes: float, seed: int = 0) -> list[Part]:
    """Write the recording as FLAC and return what is in it."""
    rng = np.random.default_rng(seed)
    parts: list[Part] = []
    written, order = 0, np.zeros(0, int)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16", format="FLAC") as file:

        def put(signal: np.ndarray) -> float:
            nonlocal written
            file.write((signal + 1e-4 * rng.standard_normal(len(signal))).astype(np.float32))
            written += len(signal)
            return written / RATE

        number = 0
        while written < minutes * 60 * RATE:
            if not len(order):
                order = rng.permutation(len(paths))
            place, order = order[0], order[1:]
            signal = load(paths[place], RATE).astype(np.float64)
            begins, ends = borders(signal)
            start = written / RATE
            put(signal)
            parts.append(Part(start + begins, start + ends, labels[place], True))
            put(np.zeros(round(rng.uniform(0.3, 1.5) * RATE)))
            number += 1
            if number % 10 == 0:
                kind = list(MADE)[number // 10 % len(MADE)]
                made = MADE[kind](rng.uniform(4.0, 12.0), rng)
                made = made / max(np.abs(made).max(), 1e-9) * rng.uniform(0.02, 0.3)
                start = written / RATE
                parts.append(Part(start, put(made), kind, False))
                put(np.zeros(RATE // 2))
    return parts


def overlap(one: Part, other: Segment | Span) -> float:
    """Seconds."""
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))


def uar(truth: list[str], said: list[str]) -> float:
    """Mean of the recalls."""
    pairs = list(zip(truth, said, strict=True))
    recalls = [np.mean([b == name for a, b in pairs if a == name]) for name in sorted(set(truth))]
    return float(np.mean(recalls))


def found(speech: list[Part], segments: Sequence[Segment | Span]) -> dict[str, Any]:
    """How many utterances were found, and how many with both borders near."""
    near, missed = 0, 0
    for true in speech:
        own = [other for other in segments if overlap(true, other) > 0.1]
        missed += not own
        near += bool(own) and abs(own[0].start - true.start) <= NEAR and abs(own[-1].end - true.end) <= NEAR
    return {"utterances": len(speech), "borders_near": near / len(speech), "missed": missed / len(speech)}


def borders_of(folders: list[Path], minutes: float) -> dict[str, Any]:
    """Of a recording of all utterances below the folders, without a run."""
    paths = sorted(path for folder in folders for path in audio_files(folder))
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "long.flac"
        parts = build(recording, paths, [""] * len(paths), minutes)
        spans = [heard.span for heard in Listener(recording, RATE, "silero")()]
    return found([one for one in parts if one.speech], spans)


def judge(parts: list[Part], segments: list[Segment]) -> dict[str, Any]:
    """What the analysis found of what is there."""
    speech = [one for one in parts if one.speech]
    truth, said = [], []
    for other in segments:
        best = max(speech, key=lambda one: overlap(one, other))
        if other.emotion and overlap(best, other) > 0.5 * (other.end - other.start):
            truth.append(best.kind)
            said.append(other.emotion)
    kinds: dict[str, float] = {}
    for kind in MADE:
        stretches = [one for one in parts if one.kind == kind and not one.speech]
        heard = sum(overlap(one, other) for one in stretches for other in segments if other.status == "answered")
        whole = sum(one.end - one.start for one in stretches)
        kinds[kind] = 1.0 - heard / whole if whole else float("nan")
    return {
        **found(speech, segments),
        "segments": len(segments),
        "segment_uar": uar(truth, said),
        "recognised_segments": len(said),
        "not_taken_for_speech": kinds,
        "rejected_seconds_of_speech": sum(one.end - one.start for one in segments if one.status == "rejected"),
    }


def main() -> None:
    """Build, analyse, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--borders", type=Path, nargs="+", help="folders of utterances: their borders alone, no run")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="where the test recordings lie now, found by their names")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.borders:
        print(json.dumps(borders_of(asked.borders, asked.minutes)))
        return
    run = Run.open(asked.run)
    said = run.tested()[asked.fold]
    paths = [Path(one) for one in said.paths]
    if asked.corpus:
        where = {one.name: one for one in asked.corpus.rglob("*") if one.is_file()}
        paths = [where[one.name] for one in paths]
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "long.flac"
        parts = build(recording, paths, list(said.truth), asked.minutes)
        reset_peak()
        before, busy = time.perf_counter(), time.process_time()
        analysis = analyse(run, recording, AnalysisSettings())
        seconds, busy = time.perf_counter() - before, time.process_time() - busy
    record = {
        "minutes": analysis.seconds / 60,
        "seconds": seconds,
        "processor_seconds": busy,
        "peak_mib": status()["VmHWM"] / 2**20,
        "utterance_uar": uar(list(said.truth), list(said.predicted)),
        **judge(parts, list(analysis.segments)),
        "totals": analysis.totals,
        "rejected": analysis.rejected,
    }
    print(json.dumps(record, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
