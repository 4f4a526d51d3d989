"""A result as ``metrics.json`` holds it, written out by hand: the report room knows records alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

Keep = Callable[..., list[Figure]]

EMOTIONS = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra 'browser' is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Called with a module and the name of what saves its figures: the figures that are saved from then on."""

    def kept(module: Any, name: str = "save") -> list[Figure]:
        figures: list[Figure] = []
        save = getattr(module, name)
        monkeypatch.setattr(module, name, lambda figure, path: (figures.append(figure), save(figure, path)))
        return figures

    return kept


@pytest.fixture
def record() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    confusion = rng.poisson(3, (8, 8)) + 60 * np.eye(8, dtype=int)
    support = confusion.sum(axis=1)
    hits = np.diagonal(confusion)
    recalls, precisions = hits / support, hits / confusion.sum(axis=0)

    def group(name: str, uar: float) -> dict[str, Any]:
        return {"name": name, "n": 60, "classes": 8, "uar": uar, "wa": uar - 0.01}

    return {
        "schema_version": 1,
        "n": int(confusion.sum()),
        "speakers": 20,
        "classes": EMOTIONS,
        "uar": {"value": 0.6543, "interval": [0.6012, 0.7034]},
        "wa": {"value": 0.6611, "interval": [0.61, 0.71]},
        "interval_note": "95% bootstrap over 20 speakers, 2000 resamples",
        "macro_f1": 0.6444,
        "per_class": [
            {"name": name, "support": int(n), "precision": float(p), "recall": float(r), "f1": 2 * p * r / (p + r)}
            for name, n, p, r in zip(EMOTIONS, support, precisions, recalls)
        ],
        "confusion": confusion.tolist(),
        "per_speaker": [group(f"ravdess-{k:02d}", (k * 7 % 20) / 40 + 0.4) for k in range(1, 21)],
        "per_sex": [group("female", 0.701), group("male", 0.602)],
        "per_fold": [group(str(k), 0.6 + k / 50) for k in range(5)],
        "fold_uar_mean": 0.64,
        "fold_uar_std": 0.0316,
        "mean_confidence": 0.7,
        "confidence_gap": 0.0389,
        "majority_wa": 0.1333,
        "majority_emotion": "calm",
        "chance": 0.125,
        "notes": ["no test utterance of boredom: left out of UAR"],
        "audit": {
            "protocol": "speaker",
            "verdict": "No speaker is shared between training and test in 5 folds.",
            "test": {"speakers": {"shared": 0, "total": 4}},
        },
    }


@pytest.fixture
def calibrated() -> dict[str, Any]:
    """A record of ``report/calibration.py``: ten bins of which three are empty, one error that cannot be promised."""

    def side(shift: float, ece: float) -> dict[str, Any]:
        bins = [
            {
                "low": k / 10,
                "high": (k + 1) / 10,
                "n": 20 * k if k >= 3 else 0,
                "confidence": k / 10 + 0.05 if k >= 3 else None,
                "accuracy": k / 10 + 0.05 - shift if k >= 3 else None,
            }
            for k in range(10)
        ]
        return {"ece": ece, "brier": 0.4 + shift, "log_loss": 0.9 + shift, "reliability": bins}

    def promise(error: float, threshold: float | None, coverage: float, wrong: float | None) -> dict[str, Any]:
        bounds = {"binomial_bound": wrong and wrong + 0.03, "speaker_bound": wrong and wrong + 0.04}
        reason = "no threshold will do" if threshold is None else None
        known = {"error": error, "level": 0.95, "threshold": threshold, "coverage": coverage, "answered_error": wrong}
        return {**known, **bounds, "smallest_error": 0.0712, "reason": reason}

    coverage = np.arange(1, 101) / 100
    return {
        "method": "temperature",
        "n": 840,
        "speakers": 24,
        "before": side(0.2, 0.2),
        "after": side(0.01, 0.01),
        "risk_coverage": {"area": 0.1234, "coverage": coverage.tolist(), "risk": (0.3 * coverage**2).tolist()},
        "promises": [promise(0.05, None, 0.0, None), promise(0.125, 0.81234, 0.45, 0.0611)],
    }
