"""How the measures of a report agree with Praat's: rank correlation and mean error over real files.

    python benchmarks/praat.py FOLDER --files 50 --out benchmarks/results/praat.json

Praat runs inside praat-parselmouth (GPL-3), which is needed here alone: pip install praat-parselmouth.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import parselmouth
from parselmouth.praat import call
from scipy.stats import spearmanr

from parallel_ser.analysis.measures import measured, summary
from parallel_ser.audio.load import load
from parallel_ser.audio.voice import F_MAX, F_MIN, voice_pitch
from parallel_ser.corpora.folder import audio_files

RATE = 16000
_LINE = ("Straight", "Robust")


def praat(path: Path) -> dict[str, float]:
    """Praat's values of a file, with its default settings."""
    sound = parselmouth.Sound(load(path, RATE).astype(np.float64), RATE)
    pitch = call(sound, "To Pitch", 0.0, F_MIN, F_MAX)
    both = [sound, call([sound, pitch], "To PointProcess (cc)")]
    harmonicity = call(sound, "To Harmonicity (cc)", 0.01, F_MIN, 0.1, 1.0)
    cepstrogram = call(sound, "To PowerCepstrogram", 60.0, 0.002, 5000.0, 50.0)
    hertz = pitch.selected_array["frequency"]
    hertz = hertz[hertz > 0]
    return {
        "speech_rate": syllables(sound),
        "f0_median": float(np.median(hertz)) if len(hertz) else np.nan,
        "f0_variability": variability(sound, hertz),
        "jitter": 100.0 * call(both[1], "Get jitter (local)", 0, 0, 0.0001, 0.02, 1.3),
        "shimmer": 100.0 * call(both, "Get shimmer (local)", 0, 0, 0.0001, 0.02, 1.3, 1.6),
        "hnr": call(harmonicity, "Get mean", 0, 0),
        "cpp": call(cepstrogram, "Get CPPS", True, 0.02, 0.0005, 60, 330, 0.05, "Parabolic", 0.001, 0.05, *_LINE),
    }


def variability(sound: parselmouth.Sound, hertz: np.ndarray) -> float:
    """Deviation in semitones of the pitch in a second pass, by Hirst (2011): from 0.75 Q1 to 1.5 Q3 of the first."""
    low, high = np.quantile(hertz, [0.25, 0.75])
    again = call(sound, "To Pitch", 0.0, max(50.0, 0.75 * low), 1.5 * high).selected_array["frequency"]
    return float(np.std(12.0 * np.log2(again[again > 0])))


def syllables(sound: parselmouth.Sound) -> float:
    """Syllables a second of a file by the steps of de Jong & Wempe's script (2009, with its settings -25, 2, 0.3)."""
    intensity = call(sound, "To Intensity", 50, 0, True)
    start, frames = call(intensity, "Get time from frame number", 1), call(intensity, "Get number of frames")
    highest = call(intensity, "Get quantile", 0, 0, 0.99)
    threshold = max(highest - 25.0, call(intensity, "Get minimum", 0, 0, "Parabolic"))
    values = np.array(intensity.values[0])
    times = start + np.arange(frames) * intensity.dx
    inner = values[1:-1]
    peaks = np.flatnonzero((inner > values[:-2]) & (inner >= values[2:])) + 1
    peaks = peaks[values[peaks] > threshold]
    pitch = call(sound, "To Pitch (ac)", 0.02, 30, 4, False, 0.03, 0.25, 0.01, 0.35, 0.25, 450)
    count = 0
    for place, peak in enumerate(peaks):
        if place + 1 < len(peaks) and values[peak] - values[peak : peaks[place + 1]].min() <= 2.0:
            continue
        count += not np.isnan(call(pitch, "Get value at time", times[peak], "Hertz", "Linear"))
    return count / float(sound.get_total_duration())


def ours(path: Path) -> dict[str, float]:
    """The values of a report."""
    signal = load(path, RATE)
    found = {name: one["value"] for name, one in summary([measured(signal, RATE, voice_pitch(RATE))]).items()}
    return {name: np.nan if value is None else value for name, value in found.items()}


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of recordings")
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    every = audio_files(asked.folder)
    paths = [every[round(place)] for place in np.linspace(0, len(every) - 1, asked.files)]
    pairs = [(praat(path), ours(path)) for path in paths]
    record: dict[str, Any] = {"files": len(paths), "measures": {}}
    for name in pairs[0][0]:
        theirs, own = (np.array([pair[side][name] for pair in pairs], dtype=float) for side in (0, 1))
        good = np.isfinite(theirs) & np.isfinite(own)
        row = {
            "rank_correlation": float(spearmanr(theirs[good], own[good]).statistic),
            "mean_error": float(np.abs(theirs - own)[good].mean()),
            "praat_mean": float(theirs[good].mean()),
            "mean": float(own[good].mean()),
            "files": int(good.sum()),
        }
        record["measures"][name] = row
        print(name.ljust(16), "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    if asked.out:
        asked.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
