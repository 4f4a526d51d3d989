"""Audio-seconds a second of the whole front end on one core, beside librosa doing the same.

``python benchmarks/front_end.py FOLDER [--files N] [--rounds N]``. Both read the same files, cut silence off the ends,
and measure log-mel, MFCC with Δ and ΔΔ, pitch and voicing, level, spectral shape, and rhythm, every 10 ms; librosa's
pitch is ``librosa.yin`` (``pyin`` is 40 times as slow). Rounds in turn, in seconds of the processor (one thread), so
that a shared machine's other work counts little; ours measures more (loudness, voice quality, SNR).
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch

from parallel_ser.audio.extract import Extractor
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.training.run_folder import environment

RATE, HOP, WINDOW, FFT = 16000, 160, 400, 512


def by_librosa(path: Path) -> dict[str, np.ndarray]:
    signal, _ = librosa.load(path, sr=RATE)
    signal, _ = librosa.effects.trim(signal, top_db=35, frame_length=800, hop_length=HOP)
    spectrum = np.abs(librosa.stft(signal, n_fft=FFT, hop_length=HOP, win_length=WINDOW))
    power = spectrum**2
    bands = librosa.power_to_db(librosa.feature.melspectrogram(S=power, sr=RATE, n_mels=40))
    mfcc = librosa.feature.mfcc(S=bands, n_mfcc=20)
    first = librosa.feature.delta(mfcc)
    rms = librosa.feature.rms(y=signal, frame_length=WINDOW, hop_length=HOP)
    return {
        "bands": bands,
        "mfcc": mfcc,
        "delta": first,
        "delta2": librosa.feature.delta(first),
        "pitch": librosa.yin(signal, fmin=60, fmax=500, sr=RATE, hop_length=HOP),
        "rms": rms,
        "centroid": librosa.feature.spectral_centroid(S=spectrum, sr=RATE),
        "bandwidth": librosa.feature.spectral_bandwidth(S=spectrum, sr=RATE),
        "flatness": librosa.feature.spectral_flatness(S=spectrum),
        **{f"rolloff{part}": rolloff(spectrum, part) for part in (0.25, 0.5, 0.75, 0.9)},
        "onsets": librosa.onset.onset_strength(S=bands, sr=RATE, hop_length=HOP),
        "pauses": librosa.effects.split(signal, top_db=25, frame_length=512, hop_length=HOP),
    }


def rolloff(spectrum: np.ndarray, part: float) -> np.ndarray:
    return librosa.feature.spectral_rolloff(S=spectrum, sr=RATE, roll_percent=part)


def seconds(function: Callable[[Path], Any], files: list[Path]) -> float:
    began = time.process_time()
    for path in files:
        function(path)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    files = [path for path in sorted(given.folder.rglob("*")) if path.suffix in (".wav", ".flac")][: given.files]
    streams = ("logmel", "mfcc", "mfcc_delta", "mfcc_delta2", "pitch", "voicing", "loudness", "intensity", "spectral")
    ours = Extractor(AudioSettings(), FeatureSettings(streams=(*streams, "quality"), n_mels=40))
    audio = sum(librosa.get_duration(path=path) for path in files)
    sides: dict[str, Callable[[Path], Any]] = {"ours": ours.file, "librosa": by_librosa}
    for function in sides.values():
        seconds(function, files[:5])  # filter tables, compiled code
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(given.rounds):
        for name, function in sides.items():
            times[name].append(seconds(function, files))
    print("| front end | audio-seconds a second, median (least to most) |\n| --- | --- |")
    for name, own in times.items():
        print(f"| {name} | {audio / statistics.median(own):.0f} ({audio / max(own):.0f} to {audio / min(own):.0f}) |")
    ratio = statistics.median(other / one for one, other in zip(times["ours"], times["librosa"]))
    print(f"\nOurs is {ratio:.1f} times as fast, the median over rounds.")
    record = {"audio_seconds": audio, "seconds": times, "environment": environment(1, 1)}
    Path("benchmarks/results/front_end.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
