"""A run on the tiny built-in corpus, and a recording of what it was tested on, with silence between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from commanding import done
from recorded import Recording

from parallel_ser.training.predictions import Predictions

RATE = 16000
SMALL = (
    *("corpus.synthetic.speakers=6", "corpus.synthetic.sentences=2", "corpus.synthetic.takes=1", "split.folds=3"),
    *("split.only=[0]", "run.jobs=1", "features.window=0.04", "features.hop=0.02", "features.n_mels=20"),
    *("train.epochs=1", "train.batch=8", "train.threads=1", "train.device=cpu", "train.views=1"),
)


@pytest.fixture(scope="session")
def run(_own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done("train", *SMALL, f"run.folder={folder}")
    return folder


@pytest.fixture(scope="session")
def recording(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    tested = Predictions.from_csv(run / "fold-0" / "predictions.csv")
    parts, speech, at = [np.zeros(RATE)], [], 1.0
    rng = np.random.default_rng(0)
    for path in tested.paths[:14]:
        signal, rate = soundfile.read(path)
        assert rate == RATE
        loud = np.flatnonzero(np.abs(signal) > 0.15 * np.abs(signal).max())
        signal = 0.3 * signal[loud[0] : loud[-1]] / np.abs(signal).max()
        parts += [signal, np.zeros(RATE)]
        speech.append((at, at + len(signal) / RATE))
        at += len(signal) / RATE + 1.0
    whole = np.concatenate(parts)
    path = tmp_path_factory.mktemp("recordings") / "check-in_2026-03-01.wav"
    soundfile.write(path, whole + 1e-5 * rng.standard_normal(len(whole)), RATE, subtype="PCM_16")
    return Recording(path, speech, len(whole) / RATE)
