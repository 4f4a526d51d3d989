"""Answers for signals of runs that measure recordings' files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from commanding import done

from parallel_ser.analysis.recognise import Recogniser
from parallel_ser.audio.extract import read
from parallel_ser.training.inference import Run
from parallel_ser.training.predictions import Predictions

RATE = 16000
CORPUS = ("corpus.synthetic.speakers=6", "corpus.synthetic.sentences=1", "corpus.synthetic.takes=1", "split.folds=6")
SEARCH = ("classical.search.folds=2", "classical.search.cost=[1.0]", "classical.search.width=[1.0]", "split.only=[0]")
COPIES = ("train.tta_copies=1", "train.speed=0.1")


def test_a_signal_has_the_answer_of_its_file_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    run = tmp_path / "run"
    views = ("classical.views=[functionals,egemaps]", "classical.search.keep=[50]", "run.jobs=1")
    done("baseline", "elm", *CORPUS, *SEARCH, *views, *COPIES, f"run.cache={tmp_path / 'cache'}", f"run.folder={run}")
    opened, file = Run.open(run), tmp_path / "one.wav"
    signal, _ = read(Path(Predictions.from_csv(run / "predictions.csv").paths[0]), opened.config.audio)
    soundfile.write(file, signal, RATE, subtype="FLOAT")
    before = sorted((tmp_path / "cache").rglob("*"))
    config = opened.config
    silent, answer = Recogniser(opened)([np.zeros(RATE, np.float32), signal], RATE, ["one", "one"])
    assert sorted((tmp_path / "cache").rglob("*")) == before
    assert opened.config is config
    assert silent.probabilities is None
    assert answer.probabilities is not None
    np.testing.assert_allclose(answer.probabilities, opened.recognise([file])[1][file], atol=1e-6)
