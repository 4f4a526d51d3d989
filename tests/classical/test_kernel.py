"""Kernel machines against scikit-learn's, and against what their definitions ask for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.special import softmax
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC

from parallel_ser.classical.kernel import Kernel, Learner, Machine, Vectors, squared_distances


def problem(seed: int = 0, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Utterances (60, 8) of unequally many in a class, their labels, and their speakers, who each have every class."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, 60, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    speakers = np.tile(np.arange(5), 12)
    labels[: 5 * classes] = np.repeat(np.arange(classes), 5)
    values = rng.normal(size=(60, 8)) + 2.0 * np.eye(classes, 8)[labels] + np.eye(5, 8, 3)[speakers] * 3.0
    return values, labels, speakers


TESTED = np.random.default_rng(9).normal(size=(20, 8))


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
def test_rbf_is_scikit_learns_with_the_median_distance(width: float) -> None:
    rows, _, _ = problem()
    kernel = Kernel("rbf", width)
    gamma = 1.0 / (width * np.median(pdist(rows, "sqeuclidean")))
    np.testing.assert_allclose(kernel.fit(rows), rbf_kernel(rows, gamma=gamma), atol=1e-12)
    np.testing.assert_allclose(kernel(TESTED), rbf_kernel(TESTED, rows, gamma=gamma), atol=1e-12)


def test_linear_is_the_inner_product_and_does_not_change_with_scale() -> None:
    rows, _, _ = problem()
    kernel = Kernel("linear")
    assert np.trace(kernel.fit(rows)) == pytest.approx(len(rows))
    np.testing.assert_allclose(kernel(TESTED), TESTED @ rows.T / np.mean(np.sum(rows**2, axis=1)))
    np.testing.assert_allclose(Kernel("linear").fit(7.0 * rows), kernel(rows))


def test_distances_are_never_negative() -> None:
    rows = 1e6 + problem()[0] * 1e-3
    assert squared_distances(rows, rows).min() >= 0.0


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_svm_is_scikit_learns_on_the_same_kernel(classes: int) -> None:
    rows, labels, _ = problem(classes=classes)
    gamma = 1.0 / np.median(pdist(rows, "sqeuclidean"))
    theirs = SVC(C=3.0, gamma=gamma, class_weight="balanced", break_ties=True).fit(rows, labels)
    kernel = Kernel("rbf")
    ours = Machine("svm", 3.0).fit(kernel.fit(rows), labels, classes)
    scores = ours.scores(kernel(TESTED))
    assert scores.shape == (20, classes)
    expected = theirs.decision_function(TESTED)
    np.testing.assert_allclose(scores[:, -1] if classes == 2 else scores, expected, atol=2e-3)
    np.testing.assert_array_equal(scores.argmax(axis=1), theirs.predict(TESTED))


@pytest.mark.parametrize("cost", [0.1, 10.0])
def test_elm_is_weighted_kernel_ridge_regression(cost: float) -> None:
    rows, labels, _ = problem()
    kernel = Kernel("rbf")
    gram = kernel.fit(rows)
    machine = Machine("elm", cost).fit(gram, labels, 3)
    weight = np.array([len(labels) / (3 * np.sum(labels == one)) for one in labels])
    targets = np.where(labels[:, None] == np.arange(3), 1.0, -1.0)
    mean = np.average(targets, axis=0, weights=weight)
    assert mean == pytest.approx(2 / 3 - 1)  # every class weighs alike
    ridge = KernelRidge(alpha=1.0 / cost, kernel="precomputed").fit(gram, targets - mean, sample_weight=weight)
    np.testing.assert_allclose(machine.scores(kernel(TESTED)), ridge.predict(kernel(TESTED)) + mean, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_is_scikit_learns_on_the_kernels_rows(classes: int) -> None:
    rows, labels, _ = problem(classes=classes)
    kernel = Kernel("rbf")
    machine = Machine("logistic", 2.0).fit(kernel.fit(rows), labels, classes)
    theirs = LogisticRegression(C=2.0, class_weight="balanced", max_iter=500).fit(kernel(rows), labels)
    scores = machine.scores(kernel(TESTED))
    powers = np.exp(scores) if classes > 2 else np.exp(scores / 2)
    found = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, theirs.predict_proba(kernel(TESTED)), atol=1e-9)


@pytest.mark.parametrize("learner", ["svm", "elm", "logistic"])
def test_a_class_without_a_row_is_a_mistake_of_the_caller(learner: Learner) -> None:
    rows, labels, _ = problem()
    with pytest.raises(ValueError, match="1 of 4 classes have no training row"):
        Machine(learner).fit(Kernel().fit(rows), labels, 4)


def test_vectors_are_scaled_and_clipped() -> None:
    rows, labels, speakers = problem()
    rows[0, 0] = 1e4
    vectors = Vectors(clip=2.0)
    ready = vectors.fit(rows, labels, speakers)
    expected = np.clip((rows - rows.mean(axis=0)) / rows.std(axis=0), -2.0, 2.0)
    np.testing.assert_allclose(ready, expected)
    np.testing.assert_array_equal(vectors(rows), ready)


def test_selection_is_select_k_best() -> None:
    rows, labels, speakers = problem()
    scaled = Vectors().fit(rows, labels, speakers)
    vectors = Vectors(keep=3)
    chosen = SelectKBest(f_classif, k=3).fit(scaled, labels)
    np.testing.assert_allclose(vectors.fit(rows, labels, speakers), chosen.transform(scaled))
    assert vectors.chosen_.tolist() == chosen.get_support(indices=True).tolist()
    np.testing.assert_allclose(vectors(TESTED), chosen.transform(_fitted(rows)(TESTED)))


def _fitted(rows: np.ndarray, **settings: int) -> Vectors:
    vectors = Vectors(**settings)
    vectors.fit(rows, *problem()[1:])
    return vectors


@pytest.mark.parametrize("count", [1, 2, 4])
def test_speakers_do_not_differ_along_the_directions_that_were_removed(count: int) -> None:
    rows, labels, speakers = problem()
    vectors, plain = _fitted(rows, nuisance=count), _fitted(rows)

    def means(ready: np.ndarray) -> np.ndarray:
        """Of each speaker, over the classes alike."""
        return np.stack(
            [
                np.mean([ready[(speakers == who) & (labels == one)].mean(axis=0) for one in range(3)], axis=0)
                for who in range(5)
            ]
        )

    directions = vectors.directions_
    np.testing.assert_allclose(directions.T @ directions, np.eye(count), atol=1e-9)
    np.testing.assert_allclose(np.ptp(means(vectors(rows)) @ directions, axis=0), 0.0, atol=1e-9)
    spread = means(plain(rows)) - means(plain(rows)).mean(axis=0)
    left = means(vectors(rows)) - means(vectors(rows)).mean(axis=0)
    values = np.linalg.svd(spread, compute_uv=False)
    # no other directions of that number would leave less
    assert (left**2).sum() == pytest.approx((values[count:] ** 2).sum(), abs=1e-9)
    if count == 4:  # five speakers differ in four directions at most
        np.testing.assert_allclose(left, 0.0, atol=1e-9)
    np.testing.assert_allclose(vectors(TESTED) @ directions, 0.0, atol=1e-9)


def test_more_directions_than_speakers_differ_in_remove_no_more() -> None:
    rows, labels, speakers = problem()
    np.testing.assert_allclose(
        Vectors(nuisance=50).fit(rows, labels, speakers), Vectors(nuisance=4).fit(rows, labels, speakers), atol=1e-9
    )
    one = np.zeros_like(speakers)
    np.testing.assert_allclose(Vectors(nuisance=2).fit(rows, labels, one), Vectors().fit(rows, labels, one))


def test_principal_components_keep_the_variance_and_no_more_than_there_is() -> None:
    rows, labels, speakers = problem()
    plain = Vectors().fit(rows, labels, speakers)
    ready = Vectors(pca=3).fit(rows, labels, speakers)
    largest = np.linalg.eigvalsh(np.cov(plain.T))[::-1][:3]
    np.testing.assert_allclose(ready.var(axis=0, ddof=1), largest, rtol=1e-6)
    assert Vectors(pca=100).fit(rows, labels, speakers).shape == (60, 8)


@pytest.mark.parametrize(
    "settings", [{}, {"keep": 3}, {"nuisance": 2}, {"pca": 3}, {"keep": 5, "nuisance": 1, "pca": 2}]
)
def test_values_that_never_vary_are_harmless(settings: dict[str, int]) -> None:
    rows, labels, speakers = problem()
    padded, tested = np.hstack([rows, np.full((60, 2), 7.0)]), np.hstack([TESTED, np.full((20, 2), 1e9)])
    plain, more = Vectors(**settings), Vectors(**settings)
    kernels = [Kernel(), Kernel()]
    np.testing.assert_allclose(
        kernels[1].fit(more.fit(padded, labels, speakers)),
        kernels[0].fit(plain.fit(rows, labels, speakers)),
        atol=1e-9,
    )
    np.testing.assert_allclose(kernels[1](more(tested)), kernels[0](plain(TESTED)), atol=1e-9)


def test_rows_that_are_all_alike_have_a_kernel() -> None:
    for kind in ("rbf", "linear"):
        assert np.isfinite(Kernel(kind).fit(np.zeros((4, 3)))).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [1e-9, 0.3, 1.0])
def test_self_training_is_a_fit_with_the_rows_and_what_they_are_taken_for(weight: float) -> None:
    rows, labels, _ = problem()
    kernel = Kernel("rbf")
    machine = Machine("elm", 3.0).fit(kernel.fit(rows), labels, 3)
    cross, own = kernel(TESTED), kernel(TESTED, TESTED)
    scores = machine.self_trained(cross, machine.solved(kernel(rows), cross.T), own, weight)
    guessed = softmax(2.0 * scores / scores.std(axis=1).mean(), axis=1)
    every = np.block([[kernel(rows), cross.T], [cross, own]])
    counts = np.bincount(labels)
    ridge = np.concatenate([3.0 * counts[labels] / len(labels), np.full(len(TESTED), 1.0 / weight)]) / 3.0
    targets = np.concatenate([2.0 * np.eye(3)[labels], 2.0 * guessed]) - 1.0 - machine.offset_
    fitted = every[len(rows) :] @ np.linalg.solve(every + np.diag(ridge), targets) + machine.offset_
    np.testing.assert_allclose(scores, fitted, atol=1e-5)
    if weight < 1e-6:
        np.testing.assert_allclose(scores, machine.scores(cross), atol=1e-6)
    else:
        assert np.abs(scores - machine.scores(cross)).max() > 0.05
