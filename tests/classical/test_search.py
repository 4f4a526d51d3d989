"""The search: what it finds does not depend on who does the work, and nothing that is held out is learned from."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from small_problem import CLASSES, Small, one_candidate

from parallel_ser.classical import search as searching
from parallel_ser.classical.sample import Frames
from parallel_ser.classical.search import Found, read_sample, write_sample
from parallel_ser.errors import UserError
from parallel_ser.system.digests import read_bytes

TRIED: dict[str, Any] = {"search": {"cost": (0.3, 3.0), "keep": (0, 6)}, "normalise": "enrol", "enrol": 3}
MIXED: dict[str, Any] = {"views": ("functionals", "supervector"), **TRIED}


def check_same_to_the_bit(ones: list[Found], others: list[Found], small: Small) -> None:
    for problem, one, other in zip(small.problems, ones, others, strict=True):
        assert (one.best, one.tried) == (other.best, other.tried)
        np.testing.assert_array_equal(one.held_out, other.held_out)
        np.testing.assert_array_equal(one.tested, other.tested)
        test = small.sample.take(problem.test)
        np.testing.assert_array_equal(one.recogniser.predict_proba(test), other.recogniser.predict_proba(test))


def scores(folder: Path, fold: int) -> np.ndarray:
    """Of the one candidate that was tried."""
    (path,) = (folder / f"fold-{fold}").glob("tried-*.scores")
    return np.load(BytesIO(read_bytes(path)))


@pytest.fixture(scope="module")
def alone(small: Small, tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    return small.search(tmp_path_factory.mktemp("alone"), one_candidate(**MIXED))


def test_two_processes_find_what_one_finds(alone: list[Found], small: Small, tmp_path: Path) -> None:
    check_same_to_the_bit(small.search(tmp_path, one_candidate(**MIXED), jobs=2), alone, small)


def test_dasks_cluster_finds_what_one_process_finds(alone: list[Found], small: Small, tmp_path: Path) -> None:
    pytest.importorskip("dask.distributed")
    check_same_to_the_bit(small.search(tmp_path, one_candidate(backend="dask", **MIXED), jobs=2), alone, small)


def test_the_first_candidate_of_the_highest_uar_is_taken(alone: list[Found], small: Small) -> None:
    for problem, found in zip(small.problems, alone):
        uars = [one["uar"] for one in found.tried]
        assert len(uars) == 4
        place = uars.index(max(uars))
        assert found.tried[place] == {**found.best, "uar": uars[place]}
        labels = small.labels[list(problem.training)]
        assert max(uars) == pytest.approx(balanced_accuracy_score(labels, found.held_out.argmax(axis=1)))


def test_progress_tells_each_round_to_its_end(small: Small, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    searching.search(
        small.sample,
        small.labels,
        CLASSES,
        small.problems,
        one_candidate(),
        {},
        tmp_path,
        1,
        lambda *one: told.append(one),
    )
    assert told == [(title, n, 2) for title in ("preparing", "searching", "testing") for n in (0, 1, 2)]


def test_a_held_out_utterance_is_not_learned_from(small: Small, tmp_path: Path) -> None:
    small.search(tmp_path / "one", one_candidate())
    learned, out = small.problems[0].inner[1]
    labels = small.labels.copy()
    labels[small.problems[0].training[out[0]]] += 1
    labels %= 3
    small.search(tmp_path / "other", one_candidate(), labels=labels)
    one, other = scores(tmp_path / "one", 0), scores(tmp_path / "other", 0)
    np.testing.assert_array_equal(one[list(out)], other[list(out)])
    assert not np.array_equal(one[list(learned)], other[list(learned)])  # they did learn from it


def test_labels_of_the_test_side_change_nothing(small: Small, tmp_path: Path) -> None:
    labels = small.labels.copy()
    labels[list(small.problems[0].test)] = 0
    one = small.search(tmp_path / "one", one_candidate())[:1]
    other = small.search(tmp_path / "other", one_candidate(), labels=labels)[:1]
    np.testing.assert_array_equal(one[0].tested, other[0].tested)
    np.testing.assert_array_equal(one[0].held_out, other[0].held_out)


@pytest.mark.parametrize("many", [0, 2])
def test_what_is_finished_is_not_done_again(
    many: int, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [small.changed(range(number, 54, 2)) for number in range(many)]
    first = small.search(tmp_path, one_candidate(**TRIED), copies=copies)
    files = sorted((tmp_path / "fold-1").glob("tried-*.scores"))
    assert len(files) == 4
    files[2].unlink()
    built: list[object] = []
    plain = searching.scored

    def scored(settings: Any, group: Any, *given: Any) -> Any:
        built.extend(group)
        return plain(settings, group, *given)

    monkeypatch.setattr(searching, "scored", scored)
    again = small.search(tmp_path, one_candidate(**TRIED), copies=copies)
    check_same_to_the_bit(again, first, small)
    assert len(built) == len(small.problems[1].inner)  # one candidate


def test_a_task_that_fails_says_why_from_another_process_too(small: Small, tmp_path: Path) -> None:
    many = one_candidate(system="gmm", mixture={"adapt": "none", "sizes": (5000,)})
    for jobs in (1, 2):
        with pytest.raises(UserError, match="a mixture of 5000 cannot be fitted to"):
            small.search(tmp_path / str(jobs), many, jobs)


def test_dask_is_named_where_it_is_missing(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("dask", "dask.distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"classical\.backend=dask needs the package dask"):
        small.search(tmp_path, one_candidate(backend="dask"))


@pytest.mark.parametrize(
    ("kind", "near"),
    [
        ({"system": "elm"}, 1e-9),
        ({"system": "elm", "normalise": "speaker", "self_training": 0.3}, 1e-5),
        ({"system": "svm"}, 2e-3),
        ({"system": "logistic"}, 2e-2),
    ],
)
def test_copies_that_change_nothing_change_nothing(
    kind: dict[str, Any], near: float, small: Small, tmp_path: Path
) -> None:
    """A row at a cost is n such rows at an nth of it; a linear kernel does not see how many there are."""
    linear = one_candidate(**kind, search={"kernel": ("linear",), "cost": (3.0,)}, calibrate="none")
    alone = small.search(tmp_path / "alone", linear)
    copied = small.search(tmp_path / "copied", linear, copies=[small.sample, small.sample])
    for one, other in zip(alone, copied):
        np.testing.assert_allclose(other.tested, one.tested, atol=near)
        np.testing.assert_allclose(other.held_out, one.held_out, atol=near)


@pytest.mark.parametrize("kind", [{"system": "elm", "views": ("functionals", "supervector")}, {"system": "gmm"}])
@pytest.mark.parametrize("normalise", ["train", "speaker", "enrol"])
def test_copies_of_training_recordings_alone_are_learned_from(
    kind: dict[str, Any], normalise: str, small: Small, tmp_path: Path
) -> None:
    settings, problem = one_candidate(**kind, normalise=normalise, enrol=3), small.problems[0]
    _, out = problem.inner[0]
    plain = small.search(tmp_path / "plain", settings, copies=[small.sample])[0]
    test = small.search(tmp_path / "test", settings, copies=[small.changed(problem.test)])[0]
    np.testing.assert_array_equal(test.tested, plain.tested)
    np.testing.assert_array_equal(test.held_out, plain.held_out)
    places = [problem.training[place] for place in out]
    small.search(tmp_path / "held", settings, copies=[small.changed(places)])
    before, after = scores(tmp_path / "plain", 0), scores(tmp_path / "held", 0)
    np.testing.assert_array_equal(after[list(out)], before[list(out)])
    others = np.setdiff1d(np.arange(len(problem.training)), out)
    assert not np.array_equal(after[others], before[others])  # they did learn from it


@pytest.mark.parametrize("kind", [{"system": "elm", "views": ("functionals", "supervector")}, {"system": "gmm"}])
@pytest.mark.parametrize("normalise", ["train", "speaker", "enrol"])
def test_scores_are_the_mean_over_the_copies_that_answer(
    kind: dict[str, Any], normalise: str, small: Small, tmp_path: Path
) -> None:
    settings, problem = one_candidate(**kind, normalise=normalise, enrol=3), small.problems[0]
    plain = small.search(tmp_path / "plain", settings)[0]
    alike = small.search(tmp_path / "alike", settings, tta_copies=[small.sample])[0]
    np.testing.assert_allclose(alike.tested, plain.tested, atol=1e-12)
    np.testing.assert_allclose(alike.held_out, plain.held_out, atol=1e-12)
    _, out = problem.inner[0]
    speaker = [problem.training[place] for place in out]
    small.search(tmp_path / "held", settings, tta_copies=[small.changed(speaker[:1])])
    small.search(tmp_path / "both", settings, tta_copies=[small.changed(speaker[:1]), small.sample])
    before, one, two = (scores(tmp_path / name, 0)[list(out)] for name in ("plain", "held", "both"))
    assert not np.allclose(one[0], before[0])
    np.testing.assert_allclose(two - before, (one - before) * 2 / 3, atol=1e-9)


def test_samples_come_back_from_their_files_memory_mapped(small: Small, tmp_path: Path) -> None:
    own = small.sample.take([7, 3, 50])
    write_sample(tmp_path, own)
    found = read_sample(tmp_path)
    assert found.speakers.tolist() == own.speakers.tolist()
    assert isinstance(found.views["functionals"], np.memmap)
    np.testing.assert_array_equal(found.views["functionals"], own.views["functionals"])
    ours, theirs = own.views["cepstra"], found.views["cepstra"]
    assert isinstance(ours, Frames)
    assert isinstance(theirs, Frames)
    assert isinstance(theirs.rows, np.memmap)
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs))
