"""A result as ``metrics.json`` holds it, written out by hand: the report room knows records alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

EMOTIONS = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]


@pytest.fixture
def record() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    confusion = rng.poisson(3, (8, 8)) + 60 * np.eye(8, dtype=int)
    support = confusion.sum(axis=1)
    recalls = np.diagonal(confusion) / support

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
            {"name": name, "support": int(n), "recall": float(r)} for name, n, r in zip(EMOTIONS, support, recalls)
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
