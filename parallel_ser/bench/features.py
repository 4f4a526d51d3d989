"""How fast the front end is: each feature, all of it on one core and on all, and librosa doing the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from parallel_ser.audio.extract import Extractor, read
from parallel_ser.audio.frames import FrameFeatures
from parallel_ser.audio.pitch import Pitch
from parallel_ser.audio.rhythm import rhythm
from parallel_ser.audio.settings import AudioSettings, FeatureSettings, Stream
from parallel_ser.bench.plain import Kept, Plain, bars, spread
from parallel_ser.report.terminal import Rounds
from parallel_ser.system.leftovers import begun, workers

PLAIN: tuple[Stream, ...] = (
    *("logmel", "mfcc", "mfcc_delta", "mfcc_delta2"),
    *("pitch", "voicing", "loudness", "intensity"),
)
STREAMS: tuple[Stream, ...] = (*PLAIN, "spectral", "quality")
RATE, HOP, WINDOW, FFT = 16000, 160, 400, 512
_PLAIN = "from files: log-mel, MFCC, pitch, loudness, rhythm"
_WHOLE = "from files: these, spectral shape and voice quality"


def measure(files: Sequence[Path], cores: int, rounds: int, kept: Kept, told: Rounds) -> Plain:
    """Measure audio-seconds a second over files, in rounds through all rows in turn.

    What one core does is counted in seconds of its processor, so that a shared machine's other work counts little; what
    all cores do in seconds of the clock.
    """
    import torch

    torch.set_num_threads(1)
    audio = AudioSettings()
    signals = [read(path, audio)[0] for path in files]
    seconds = sum(map(len, signals)) / RATE
    rows: dict[str, Callable[[], float]] = {"decoding alone": lambda: _each(lambda path: read(path, audio), files)}
    for name, streams in (
        ("log-mel and MFCC", STREAMS[:4]),
        ("pitch and voicing", STREAMS[4:6]),
        ("loudness and intensity", STREAMS[6:8]),
        ("spectral shape", STREAMS[8:9]),
        ("voice quality, with its pitch", STREAMS[9:]),
    ):
        part = FrameFeatures(audio, FeatureSettings(streams=streams, n_mels=40))
        rows[name] = partial(_each, _without_gradients(part), [torch.from_numpy(one) for one in signals])
    pitch = Pitch(RATE, HOP)
    pitched = [(one, pitch(one)[0]) for one in map(torch.from_numpy, signals)]
    given_pitch = _without_gradients(lambda one: rhythm(one[0], RATE, one[1]))
    rows["rhythm, given the pitch"] = partial(_each, given_pitch, pitched)
    plain, whole = (Extractor(audio, FeatureSettings(streams=streams, n_mels=40)) for streams in (PLAIN, STREAMS))
    rows[_PLAIN] = partial(_each, partial(_all_of, plain), [files])
    rows[f"librosa: {_PLAIN}"] = lambda: _each(by_librosa, files)
    rows[_WHOLE] = partial(_each, partial(_all_of, whole), [files])
    rows[f"librosa: {_WHOLE}"] = lambda: _each(partial(by_librosa, shape=True), files)
    for name, extractor in ((_PLAIN, plain), (_WHOLE, whole)):
        rows[f"{name}, {cores} processes"] = partial(_in_processes, extractor, files, cores)
    speeds: dict[str, list[float]] = {name: [] for name in rows}
    for row in rows.values():
        row()  # tables are made, workers start
    for number in range(rounds):
        for place, (name, row) in enumerate(rows.items()):
            told(f"round {number + 1}", place, len(rows))
            speeds[name].append(kept.sample(name, number, partial(_speed, seconds, row)))
        told(f"round {number + 1}", len(rows), len(rows))
    said = ["librosa's pitch is librosa.yin: pyin takes 40 times as long. It has no loudness, voice quality or noise."]
    for name in (_PLAIN, _WHOLE):
        ratio = median(one / other for one, other in zip(speeds[name], speeds[f"librosa: {name}"], strict=False))
        said.append(f"{name}: {ratio:.1f} times as fast as librosa on one core, the median over rounds.")
    table = [(name, spread(own)) for name, own in speeds.items()]
    headings = ("what", "audio-seconds a second, median (least to most)")
    data = f"{len(files)} files, {seconds:.0f} s of speech"
    return Plain("features", data, headings, table, said, "audio-seconds a second", bars(speeds))


def _speed(seconds: float, row: Callable[[], float]) -> float:
    return seconds / row()


def _each(function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    began = time.process_time()
    for one in items:
        function(one)
    return time.process_time() - began


def _without_gradients(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    import torch

    def run(one: Any) -> Any:
        with torch.inference_mode():
            return function(one)

    return run


def _in_processes(extractor: Extractor, files: Sequence[Path], cores: int) -> float:
    from joblib import Parallel, delayed

    with workers():
        began = time.perf_counter()
        chunks = [files[start::cores] for start in range(cores)]
        list(begun(Parallel(n_jobs=cores, return_as="generator"), (delayed(_all_of)(extractor, one) for one in chunks)))
        return time.perf_counter() - began


def _all_of(extractor: Extractor, files: Sequence[Path]) -> int:
    return len(list(extractor.files(files)))


def by_librosa(path: Path, shape: bool = False) -> dict[str, np.ndarray]:
    """What librosa has of the same: trimmed, log-mel, MFCC with Δ and ΔΔ, pitch, level, onsets, perhaps the shape."""
    import librosa

    signal, _ = librosa.load(path, sr=RATE)
    signal, _ = librosa.effects.trim(signal, top_db=35, frame_length=800, hop_length=HOP)
    spectrum = np.abs(librosa.stft(signal, n_fft=FFT, hop_length=HOP, win_length=WINDOW))
    bands = librosa.power_to_db(librosa.feature.melspectrogram(S=spectrum**2, sr=RATE, n_mels=40))
    mfcc = librosa.feature.mfcc(S=bands, n_mfcc=20)
    first = librosa.feature.delta(mfcc)

    def rolloff(part: float) -> np.ndarray:
        return np.asarray(librosa.feature.spectral_rolloff(S=spectrum, sr=RATE, roll_percent=part))

    found = {
        "bands": bands,
        "mfcc": mfcc,
        "delta": first,
        "delta2": librosa.feature.delta(first),
        "pitch": librosa.yin(signal, fmin=60, fmax=500, sr=RATE, hop_length=HOP),
        "rms": librosa.feature.rms(y=signal, frame_length=WINDOW, hop_length=HOP),
        "onsets": librosa.onset.onset_strength(S=bands, sr=RATE, hop_length=HOP),
        "pauses": librosa.effects.split(signal, top_db=25, frame_length=FFT, hop_length=HOP),
    }
    if shape:
        found |= {f"rolloff {part}": rolloff(part) for part in (0.25, 0.5, 0.75, 0.9)} | {
            "centroid": librosa.feature.spectral_centroid(S=spectrum, sr=RATE),
            "bandwidth": librosa.feature.spectral_bandwidth(S=spectrum, sr=RATE),
            "flatness": librosa.feature.spectral_flatness(S=spectrum),
        }
    return found
