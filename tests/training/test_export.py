"""Exported networks answer as their run does, in another program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classical_runs import copied, of_fold
from commanding import done, refused

from parallel_ser.audio.extract import Extractor
from parallel_ser.system.digests import write_json
from parallel_ser.training.inference import ClassicalRun, Run
from parallel_ser.training.sample import sample_of

TINY = (
    "corpus.synthetic.speakers=3",
    "corpus.synthetic.sentences=1",
    "corpus.synthetic.takes=1",
    "split.folds=3",
    "split.only=[0,1]",
    "train.epochs=1",
    "train.threads=1",
    "train.views=1",
    "run.jobs=1",
    "features.n_mels=20",
)


@pytest.mark.usefixtures("_own_cache")
def test_a_network_answers_the_same_in_onnxruntime(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path / "run"
    done("train", *TINY, "train.normalise=train", f"run.folder={folder}")
    write_json(folder / "fold-0/calibration.json", {"method": "temperature", "temperature": 1.7})
    write_json(folder / "fold-1/calibration.json", {"method": "none"})
    told = done("export", folder).output
    assert "onnxruntime's probabilities are the run's own to" in told
    about = json.loads((folder / "onnx/export.json").read_text())
    run = Run.open(folder)
    assert about["classes"] == list(run.classes)
    rows = [line.split(",") for line in (folder / "predictions.csv").read_text().splitlines()[1:3]]
    files = [Path(row[0]) for row in rows]
    _, ours, _ = run.recognise(files)
    extractor = Extractor(run.config.audio, run.config.features)
    frames = [extractor.file(path).frames for path in files]
    lengths = np.array([one.shape[1] for one in frames])
    given = np.zeros((2, len(frames[0]), -(-lengths.max() // 32) * 32), np.float32)
    for place, one in enumerate(frames):
        given[place, :, : one.shape[1]] = one
    theirs = []
    for name in about["files"]:
        session = onnxruntime.InferenceSession(folder / "onnx" / name, providers=["CPUExecutionProvider"])
        theirs.append(session.run(None, {"features": given, "lengths": lengths})[0])
    assert len(theirs) == 2
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-3
    np.testing.assert_allclose(np.mean(theirs, axis=0), np.stack([ours[path] for path in files]), atol=1e-4)
    assert "is not empty: give another --out" in refused("export", folder)
    assert "--format tflite is not one of the formats" in refused("export", folder, "--format", "tflite")


@pytest.mark.parametrize("kind", ["svm", "gmm"])
def test_a_classical_run_answers_the_same_in_onnxruntime(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder = copied(request.getfixturevalue(f"{kind}_run"), tmp_path / "run")
    for fold in Run.open(folder).folds:
        write_json(folder / f"fold-{fold}/calibration.json", {"method": "temperature", "temperature": 1.7 + fold})
    assert "onnxruntime's probabilities are the run's own to" in done("export", folder).output
    about = json.loads((folder / "onnx/export.json").read_text())
    run = Run.open(folder)
    assert isinstance(run, ClassicalRun)
    paths = [Path(path) for path in of_fold(folder, 0).paths[:7]]
    data, ours, _ = run.recognise(paths)
    sample, names = sample_of(data, run.config)
    assert about["values"] == names
    theirs = []
    for fold, name in zip(run.folds, about["files"]):
        session = onnxruntime.InferenceSession(folder / "onnx" / name, providers=["CPUExecutionProvider"])
        views = run.models[fold].front(sample).views if about["notes"] else sample.views
        feeds = {one: np.asarray(views[one]) for one in names} or framed(views["cepstra"])
        assert feeds.keys() == about["inputs"].keys()
        theirs.append(session.run(None, feeds)[0])
    np.testing.assert_allclose(np.mean(theirs, axis=0), np.stack([ours[path] for path in paths]), atol=1e-6)


def framed(frames: Any) -> dict[str, np.ndarray]:
    lengths = np.array([len(one) for one in frames])
    padded = np.zeros((len(lengths), lengths.max(), frames[0].shape[1]), np.float32)
    for place, one in enumerate(frames):
        padded[place, : len(one)] = one
    return {"cepstra": padded, "lengths": lengths}


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(svm_run: Path, gmm_run: Path, tmp_path: Path) -> None:
    folder = copied(svm_run, tmp_path / "run")
    knots = {"x": [0.0, 1.0], "y": [0.0, 1.0]}
    for fold in Run.open(folder).folds:
        isotonic = {"method": "isotonic", "count": 9, "knots": [knots] * 7}
        write_json(folder / f"fold-{fold}/calibration.json", isotonic)
    assert "is calibrated by isotonic, which is not exported" in refused("export", folder)
    done("fuse", svm_run, gmm_run, "--out", tmp_path / "fused")
    assert "is a fusion, and what is exported are single runs" in refused("export", tmp_path / "fused")
    assert not [*tmp_path.rglob("onnx"), *tmp_path.rglob("*.onnx")]
