"""Classical systems as ONNX graphs answer as they do themselves, in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_problem import CLASSES, VALUES, Small, one_candidate

from parallel_ser.classical import onnx_graph
from parallel_ser.classical.front import CEPSTRA
from parallel_ser.classical.recogniser import Recogniser
from parallel_ser.classical.sample import Frames, Sample
from parallel_ser.classical.search import search
from parallel_ser.decision.calibration import Temperature
from parallel_ser.errors import UserError

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

SYSTEMS: dict[str, dict[str, Any]] = {
    "svm": {"normalise": "train"},
    "svm, linear, selected": {"search": {"kernel": ("linear",), "keep": (5,)}, "normalise": "none"},
    "svm, by speaker": {"normalise": "speaker"},
    "elm, freed, pca": {"system": "elm", "search": {"nuisance": (2,), "pca": (3,)}},
    "logistic, enrolled": {"system": "logistic", "normalise": "enrol", "enrol": 3, "calibrate": "none"},
    "gmm, adapted": {"system": "gmm", "normalise": "train"},
    "gmm, full": {"system": "gmm", "mixture": {"covariances": ("full",), "sizes": (3,)}, "normalise": "none"},
    "gmm, its own, by speaker": {"system": "gmm", "mixture": {"adapt": "none"}, "normalise": "speaker"},
}


def answers(model: Recogniser, temperature: float, feeds: dict[str, np.ndarray]) -> np.ndarray:
    made = onnx_graph.graph(model, temperature).SerializeToString()
    session = runtime.InferenceSession(made, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def fed(model: Recogniser, sample: Sample) -> dict[str, np.ndarray]:
    """The sample as the file is fed, standardised beforehand where that needs others; frames padded with rubbish."""
    views = model.front(sample).views if onnx_graph.standardised_by_others(model) else sample.views
    if "functionals" in model.inputs:
        return {"functionals": np.asarray(views["functionals"])}
    frames = views[CEPSTRA]
    assert isinstance(frames, Frames)
    lengths = np.array([len(one) for one in frames])
    padded = np.full((len(lengths), lengths.max() + 2, frames[0].shape[1]), 1e3, np.float32)
    for place, one in enumerate(frames):
        padded[place, : len(one)] = one
    return {CEPSTRA: padded, "lengths": lengths}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("classes", [3, 2])
def test_every_system_answers_the_same_in_onnxruntime(name: str, classes: int, small: Small, tmp_path: Path) -> None:
    settings = one_candidate(**SYSTEMS[name])
    inputs = {} if settings.system == "gmm" else {"functionals": [f"value{place}" for place in range(VALUES)]}
    labels = np.minimum(small.labels, classes - 1)
    one, *_ = search(small.sample, labels, CLASSES[:classes], small.problems, settings, inputs, tmp_path, 1)
    model = one.recogniser
    test = small.sample.take(small.problems[0].test)
    own = model.predict_proba(test)
    assert np.ptp(own, axis=0).min() > 0.05  # answers that differ
    np.testing.assert_allclose(answers(model, 1.0, fed(model, test)), own, atol=1e-9)
    np.testing.assert_allclose(answers(model, 1.7, fed(model, test)), Temperature(1.7)(own), atol=1e-9)
    feeds, tried = onnx_graph.trial(model, np.random.default_rng(0), 5)
    assert np.ptp(tried, axis=0).max() > 0.01
    np.testing.assert_allclose(answers(model, 1.0, feeds), tried, atol=1e-9)


def test_what_has_no_graph_is_refused_by_name(small: Small, tmp_path: Path) -> None:
    views = one_candidate(views=("functionals", "fisher"))
    with pytest.raises(UserError, match=r"classical\.views=fisher is made of all frames"):
        onnx_graph.require_exportable(small.search(tmp_path / "a", views)[0].recogniser)
    isotonic = one_candidate(calibrate="isotonic")
    with pytest.raises(UserError, match=r"classical\.calibrate=isotonic is not exported"):
        onnx_graph.require_exportable(small.search(tmp_path / "b", isotonic)[0].recogniser)
    refitted = one_candidate(system="elm", normalise="speaker", self_training=0.3)
    with pytest.raises(UserError, match=r"classical\.self_training fits anew for each speaker"):
        onnx_graph.require_exportable(small.search(tmp_path / "c", refitted)[0].recogniser)
