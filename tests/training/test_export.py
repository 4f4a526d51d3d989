"""Exported networks answer as their run does, in another program."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commanding import done, refused

from parallel_ser.audio.extract import Extractor
from parallel_ser.system.digests import write_json
from parallel_ser.training.inference import Run

TINY = (
    "corpus.synthetic.speakers=3",
    "corpus.synthetic.sentences=1",
    "corpus.synthetic.takes=1",
    "split.folds=3",
    "split.only=[0]",
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
    session = onnxruntime.InferenceSession(folder / "onnx" / about["files"][0], providers=["CPUExecutionProvider"])
    theirs = session.run(None, {"features": given, "lengths": lengths})[0]
    np.testing.assert_allclose(theirs, np.stack([ours[path] for path in files]), atol=1e-4)
    assert "is not empty: give another --out" in refused("export", folder)
    assert "--format tflite is not one of the formats" in refused("export", folder, "--format", "tflite")


def test_what_is_no_network_is_not_exported(svm_run: Path, tmp_path: Path) -> None:
    assert "is no run of one network" in refused("export", svm_run, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
