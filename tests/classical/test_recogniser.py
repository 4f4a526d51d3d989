"""A recogniser in a file: the same to the bit, and nothing but a recogniser."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from small_problem import CLASSES, VALUES, Small, one_candidate

from parallel_ser.classical.recogniser import Recogniser, save, softmax
from parallel_ser.errors import UserError
from parallel_ser.system.digests import seal

SYSTEMS: dict[str, dict[str, Any]] = {
    "svm": {"normalise": "speaker"},
    "svm, linear, selected": {"search": {"kernel": ("linear",), "keep": (5,)}, "normalise": "none"},
    "elm, freed, pca": {"system": "elm", "search": {"nuisance": (2,), "pca": (3,)}, "calibrate": "isotonic"},
    "elm, self-training": {"system": "elm", "normalise": "speaker", "self_training": 0.3},
    "logistic, enrolled": {"system": "logistic", "normalise": "enrol", "enrol": 3, "calibrate": "none"},
    "svm of every view": {"views": ("functionals", "supervector", "fisher"), "normalise": "speaker"},
    "svm, full": {"views": ("supervector",), "mixture": {"covariances": ("full",)}},
    "gmm, adapted": {"system": "gmm", "normalise": "enrol", "enrol": 3},
    "gmm, full, adapted": {"system": "gmm", "mixture": {"covariances": ("full",), "sizes": (2, 3), "choose": "bic"}},
    "gmm, its own": {"system": "gmm", "mixture": {"adapt": "none"}, "normalise": "speaker"},
}


class Foreign:
    """What no recogniser is made of."""


class Planted:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def fitted(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Recogniser:
    return small.search(tmp_path_factory.mktemp("search"), one_candidate())[0].recogniser


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_comes_back_the_same_to_the_bit(name: str, small: Small, tmp_path: Path) -> None:
    found = small.search(tmp_path, one_candidate(**SYSTEMS[name]))
    for problem, one in zip(small.problems, found):
        path = tmp_path / f"{problem.index}.skops"
        one.recogniser.save(path)
        again = Recogniser.load(path)
        assert (again.classes, again.inputs) == (CLASSES, one.recogniser.inputs)
        test = small.sample.take(problem.test)
        probabilities = one.recogniser.predict_proba(test)
        np.testing.assert_array_equal(again.predict_proba(test), probabilities)
        np.testing.assert_allclose(probabilities, one.tested, atol=1e-9)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
        assert probabilities.shape == (len(problem.test), len(CLASSES))
        assert (one.tested.argmax(axis=1) == small.labels[list(problem.test)]).mean() > 0.5  # a third by chance


def test_it_keeps_the_names_of_the_values_it_was_fitted_on(fitted: Recogniser) -> None:
    assert fitted.inputs == {"functionals": [f"value{place}" for place in range(VALUES)]}


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        Recogniser.load(path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("planted", [Foreign(), os.system, {"deep": [Foreign]}])
def test_a_file_with_a_foreign_type_is_refused_by_its_name(planted: object, fitted: Recogniser, tmp_path: Path) -> None:
    other = Recogniser(fitted.front, fitted.system, CLASSES, 1.0, {"method": "none", "planted": planted}, {})
    with pytest.raises(TypeError, match="would not be loaded"):
        other.save(tmp_path / "model.skops")
    assert not list(tmp_path.iterdir())
    with (tmp_path / "model.skops").open("w+b") as file:
        file.write(skops.io.dumps(other))
        seal(file)
    refused(tmp_path / "model.skops", r"holds foreign objects \(.*(Foreign|system).*\) and is not loaded")


def test_a_pickle_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(pickle.dumps(Planted(tmp_path / "made")))
    refused(tmp_path / "model.skops", "is damaged")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_truncated_file_is_refused(share: float, fitted: Recogniser, tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    fitted.save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(path, "is damaged")


def test_flipped_bytes_are_noticed(fitted: Recogniser, tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    fitted.save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    refused(path, "is damaged")


def test_other_objects_and_no_file_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "array.skops", np.arange(3))
    refused(tmp_path / "array.skops", "holds no recogniser: give a file such as")
    refused(tmp_path / "none.skops", "cannot read .*: No such file")


def test_a_softmax_of_great_scores_is_finite() -> None:
    found = softmax(np.array([[1000.0, 1000.0 + np.log(3.0)], [-1e5, 0.0]]))
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.0, 1.0]])


def test_self_training_is_of_a_speaker_s_own_utterances(small: Small, tmp_path: Path) -> None:
    settings = one_candidate(system="elm", normalise="speaker", self_training=0.3)
    model = small.search(tmp_path, settings)[0].recogniser
    test = small.sample.take(small.problems[0].test)
    every = model.system.scores(model.front(test))
    for speaker in np.unique(test.speakers):
        own = np.flatnonzero(test.speakers == speaker)
        np.testing.assert_allclose(model.system.scores(model.front(test.take(own))), every[own], atol=1e-12)
    copies = model.front(small.changed(range(20)).take(small.problems[0].test))
    together = model.system.scores(model.front(test), copies)  # whose utterances do not learn from each other
    np.testing.assert_allclose(together, (every + model.system.scores(copies)) / 2, atol=1e-12)
    plain = small.search(tmp_path / "plain", one_candidate(system="elm", normalise="speaker"))[0].recogniser
    assert np.abs(plain.system.scores(plain.front(test)) - every).max() > 0.01


@pytest.mark.parametrize("other", [{"system": "svm"}, {"normalise": "train"}, {"normalise": "enrol"}])
def test_self_training_of_what_cannot_have_it_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="belongs to the system elm"):
        one_candidate(**{"system": "elm", "normalise": "speaker", "self_training": 0.3, **other})
