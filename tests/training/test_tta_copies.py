"""Answers that are the mean over a recording and altered copies of it (test-time augmentation)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from classical_runs import SVM
from commanding import done

from parallel_ser.analysis.recognise import Recogniser as SignalRecogniser
from parallel_ser.audio.extract import read
from parallel_ser.classical.recogniser import Recogniser
from parallel_ser.config import load
from parallel_ser.decision.calibration import from_state
from parallel_ser.decision.probabilities import softmax
from parallel_ser.errors import UserError
from parallel_ser.recognition import Classifier
from parallel_ser.training import model_file, run_folder
from parallel_ser.training.copies import prepare_training
from parallel_ser.training.inference import NeuralRun, Run
from parallel_ser.training.predictions import Predictions
from parallel_ser.training.robustness import ALTERATIONS, measure
from parallel_ser.training.sample import sample_of

NETWORK = (
    *("corpus.synthetic.speakers=6", "corpus.synthetic.sentences=2", "corpus.synthetic.takes=1", "split.folds=3"),
    *("split.only=[0]", "run.jobs=1", "features.window=0.04", "features.hop=0.02", "features.n_mels=20"),
    *("train.epochs=1", "train.batch=8", "train.threads=1", "train.device=cpu"),
)
COPIES = ("train.tta_copies=2", "train.speed=0.15")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "network"
    done("train", *NETWORK, *COPIES, f"run.folder={folder}")
    return folder


@pytest.fixture(scope="module")
def svm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "svm"
    assert "2 altered copies" in done("baseline", *SVM, "split.only=[0]", *COPIES, f"run.folder={folder}").stdout
    return folder


def predicted(run: Path) -> Predictions:
    return Predictions.from_csv(run / "fold-0" / "predictions.csv")


def test_a_networks_answer_is_the_mean_over_the_recording_and_its_copies(network: Path) -> None:
    run = Run.open(network)
    assert isinstance(run, NeuralRun)
    alone = replace(run.models[0], tta_copies=0)
    data, (fold,), _ = prepare_training(run.config)
    side = data.take(fold.test)
    each = [alone.probabilities(one) for one in (replace(side, tta_copies=()), *side.tta_copies)]
    assert len(each) == 3
    assert not np.allclose(each[0], each[1])
    np.testing.assert_allclose(predicted(network).probabilities, np.mean(each, axis=0), atol=1e-6)


def test_a_classical_answer_is_of_the_mean_of_the_scores(svm: Path) -> None:
    model, config = Recogniser.load(svm / "fold-0" / "model.skops"), load(svm / "config.yaml", [])
    data, folds, _ = prepare_training(config)
    side = data.take(folds[0].test)
    scores = [model.system.scores(model.front(sample_of(one, config)[0])) for one in (side, *side.tta_copies)]
    assert not np.allclose(scores[0], scores[1])
    expected = from_state(model.calibration)(softmax(np.mean(scores, axis=0) / model.spread))
    np.testing.assert_allclose(predicted(svm).probabilities, expected, atol=1e-6)
    rows = model.system.kernels_["functionals"].rows_  # type: ignore[attr-defined]
    assert len(rows) == 70  # copies are not learned from


@pytest.mark.parametrize("kind", ["network", "svm"])
def test_evaluating_and_predicting_say_what_training_said(kind: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(kind)
    again, before = json.loads(done("evaluate", run, "--json").stdout), run_folder.metrics_of(run)
    assert again["confusion"] == before["confusion"]
    assert again["mean_confidence"] == pytest.approx(before["mean_confidence"], abs=1e-6)
    assert "An answer is the mean over a recording and 2 altered copies of it." in (run / "card.md").read_text()
    of = predicted(run)
    rows = [json.loads(line) for line in done("predict", run, *of.paths, "--json").stdout.splitlines()]
    found = np.array([[row["probabilities"][name] for name in of.classes] for row in rows])
    np.testing.assert_allclose(found, of.probabilities, atol=1e-5)


def test_all_recordings_are_altered_alike(network: Path, tmp_path: Path) -> None:
    """So an inaudible change of a sample draws no other copies."""
    run, path = Run.open(network), Path(predicted(network).paths[0])
    signal, _ = read(path, run.config.audio)
    files = [tmp_path / "one.wav", tmp_path / "other.wav"]
    for file, change in zip(files, (0.0, 1e-5), strict=True):
        soundfile.write(file, np.append(signal[:-1], signal[-1] + change), 16000, subtype="FLOAT")
    _, rows, _ = run.recognise(files)
    np.testing.assert_allclose(rows[files[0]], rows[files[1]], atol=1e-4)


def test_a_signal_is_answered_like_its_file(network: Path, tmp_path: Path) -> None:
    run, file = Run.open(network), tmp_path / "as float.wav"
    signal, _ = read(Path(predicted(network).paths[0]), run.config.audio)
    answers = SignalRecogniser(run)([np.zeros(16000, np.float32), signal], 16000, ["one", "one"])
    assert answers[0].probabilities is None
    soundfile.write(file, signal, 16000, subtype="FLOAT")
    _, rows, _ = run.recognise([file])
    assert answers[1].probabilities is not None
    np.testing.assert_allclose(answers[1].probabilities, rows[file], atol=1e-6)


def test_other_ways_ask_for_the_copies_too(network: Path, tmp_path: Path) -> None:
    run = Run.open(network)
    row = measure(run, run.config, lambda *_: None, ALTERATIONS[:1])["rows"][0]
    assert row["uar"] == pytest.approx(run_folder.metrics_of(network)["uar"]["value"])
    plain, both = tmp_path / "plain", tmp_path / "both"
    done("train", *NETWORK, f"run.folder={plain}")
    weights = [model_file.read(one / "fold-0" / "model.pt")["weights"] for one in (network, plain)]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name])  # training draws none of the copies
    done("fuse", network, plain, "--method", "mean", "--out", both)
    again, before = json.loads(done("evaluate", both, "--json").stdout), run_folder.metrics_of(both)
    assert again["confusion"] == before["confusion"]
    assert again["mean_confidence"] == pytest.approx(before["mean_confidence"], abs=1e-6)


def test_copies_that_were_not_made_are_an_error(network: Path) -> None:
    run = Run.open(network)
    assert isinstance(run, NeuralRun)
    data, _, _ = prepare_training(run.config)
    with pytest.raises(ValueError, match="2 copies are needed, and there are 1"):
        run.models[0].probabilities(replace(data, tta_copies=data.tta_copies[:1]))


def test_a_waveform_and_a_classifier_have_no_copies() -> None:
    with pytest.raises(UserError, match=r"train\.tta_copies is for features of frames"):
        load(None, ["model.name=wav2vec2", "train.tta_copies=2"])
    with pytest.raises(UserError, match=r"leave out train\.copies and train\.tta_copies"):
        Classifier("svm", settings=("train.tta_copies=2", "train.speed=0.1")).fit(["a.wav"], ["joy"])
