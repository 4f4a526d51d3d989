"""What the recordings of a run were like as recordings, and how another one differs from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from parallel_ser.corpora.protocols import Fold
from parallel_ser.system import digests
from parallel_ser.training import novelty
from parallel_ser.training.data import Dataset

FILE = "recordings.json"
MEASURES = ("band_hz", "snr_db", "duration_s")
Range = Mapping[str, float]
"""``low`` and ``high``: the 1st and the 99th percentile."""


def write(folder: Path, data: Dataset, folds: Sequence[Fold]) -> None:
    """Store in which range the recordings lie that a run trains on, in bandwidth, noise and length."""
    trained = sorted({index for fold in folds for index in fold.train})
    found = {}
    for name in MEASURES:
        low, high = np.percentile([data.measures[index][name] for index in trained], [1, 99])
        found[name] = {"low": float(low), "high": float(high)}
    digests.write_json(folder / FILE, found)
    novelty.write(folder, data, trained)


def read(folder: Path) -> Mapping[str, Range]:
    """Of a run.

    Raises:
        UserError: the file is missing or damaged.
    """
    found, ends = digests.read_json(folder / FILE), ("low", "high")
    with digests.shaped(folder / FILE):
        return {name: {end: float(found[name][end]) for end in ends} for name in MEASURES}


def notes(trained: Mapping[str, Range], measures: Mapping[str, float]) -> list[str]:
    """How a recording differs from those that a run was trained with, a clause each.

    >>> trained = {name: {"low": low, "high": high} for name, low, high in
    ...            [("band_hz", 7600.0, 7900.0), ("snr_db", 25.0, 60.0), ("duration_s", 1.5, 5.0)]}
    >>> notes(trained, {"band_hz": 3900.0, "snr_db": 30.0, "duration_s": 3.0})
    ['has nothing above 3.9 kHz, where 99 of 100 that the run was trained with reach 7.6 kHz']
    """
    band, snr, seconds = (measures[name] for name in MEASURES)
    usual = {name: trained[name] for name in MEASURES}
    found = []
    if band < 0.8 * usual["band_hz"]["low"]:
        found.append(f"has nothing above {band / 1e3:.1f} kHz, {_usual(usual['band_hz']['low'] / 1e3, 'reach', 'kHz')}")
    if snr < usual["snr_db"]["low"] - 3.0:  # about as far as the estimate may be off
        found.append(f"has about {snr:.0f} dB of SNR, {_usual(usual['snr_db']['low'], 'have at least', 'dB')}")
    if seconds > 1.5 * usual["duration_s"]["high"]:
        found.append(f"lasts {seconds:.1f} s, {_usual(usual['duration_s']['high'], 'last at most', 's')}")
    if seconds < usual["duration_s"]["low"] / 1.5:
        found.append(f"lasts {seconds:.1f} s, {_usual(usual['duration_s']['low'], 'last at least', 's')}")
    return found


def _usual(bound: float, verb: str, unit: str) -> str:
    return f"where 99 of 100 that the run was trained with {verb} {bound:.1f} {unit}"
