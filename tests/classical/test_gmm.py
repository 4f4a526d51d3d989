"""Mixtures: adaptation by hand, encodings against their definitions, and what is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import norm

from parallel_ser.classical.front import CEPSTRA
from parallel_ser.classical.gmm import Covariance, Encoder, adapted_means, choose_mixture, draw, fit_mixture
from parallel_ser.classical.sample import Frames, Sample
from parallel_ser.classical.settings import ClassicalSettings, MixtureSettings
from parallel_ser.classical.systems import MixtureSystem
from parallel_ser.errors import UserError


def clusters(centres: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Frames (count, values), each about one of the centres."""
    rng = np.random.default_rng(seed)
    return centres[rng.integers(len(centres), size=count)] + rng.normal(size=(count, centres.shape[1]))


def utterances(count: int, values: int = 2, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames.join(
        [rng.normal(rng.normal(size=values), 1.0, (30, values)).astype(np.float32) for _ in range(count)]
    )


def test_means_of_one_component_adapt_as_by_hand() -> None:
    background = fit_mixture(np.random.default_rng(0).normal(1.0, 2.0, (500, 3)), 1, "diag", 0)
    rows = np.random.default_rng(1).normal(5.0, 1.0, (24, 3))
    means, answers = adapted_means(background, rows, relevance=8.0)
    assert answers == pytest.approx([24.0])
    np.testing.assert_allclose(means, 0.75 * rows.mean(axis=0)[None] + 0.25 * background.means_)  # 24 / (24 + 8)


def test_components_that_answer_for_no_frame_stay_where_they_are() -> None:
    background = fit_mixture(clusters(np.array([[-50.0], [50.0]]), 400), 2, "diag", 0)
    near = int(background.means_.argmax())
    means, answers = adapted_means(background, np.full((8, 1), 52.0), relevance=8.0)
    assert answers[near] == pytest.approx(8.0)
    assert means[near, 0] == pytest.approx((52.0 + background.means_[near, 0]) / 2)
    assert means[1 - near] == pytest.approx(background.means_[1 - near])


def test_a_supervector_is_how_far_the_means_have_moved_in_deviations() -> None:
    frames = utterances(12)
    encoder = Encoder("supervector", (1,), relevance=10.0).fit(frames)
    rows = np.concatenate(list(frames)).astype(np.float64)
    deviation = np.sqrt(rows.var(axis=0) + 1e-3)  # what scikit-learn adds to a variance
    expected = [(30 / 40) * (one.mean(axis=0) - rows.mean(axis=0)) / deviation for one in frames]
    np.testing.assert_allclose(encoder(frames), expected, rtol=1e-5)


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_supervectors_have_a_place_for_every_component_and_value(covariance: Covariance) -> None:
    encoder = Encoder("supervector", (3,), (covariance,)).fit(utterances(12))
    assert encoder(utterances(4)).shape == (4, 3 * 2)
    weights = encoder.mixture_.weights_
    plain = adapted_means(encoder.mixture_, utterances(1)[0].astype(np.float64), 8.0)[0] - encoder.mixture_.means_
    variances = encoder.mixture_.covariances_
    diagonal = variances if covariance == "diag" else np.diagonal(variances, axis1=1, axis2=2)
    np.testing.assert_allclose(
        encoder(utterances(1))[0].reshape(3, 2), np.sqrt(weights)[:, None] * plain / diagonal**0.5
    )


def test_a_fisher_vector_is_the_gradient_of_the_likelihood() -> None:
    frames = utterances(15)
    encoder = Encoder("fisher", (3,)).fit(frames)
    mixture, rows = encoder.mixture_, frames[0].astype(np.float64)
    weights, means, deviations = mixture.weights_, mixture.means_, np.sqrt(mixture.covariances_)

    def likelihood(means: np.ndarray, deviations: np.ndarray) -> float:
        """The mean over frames of the mixture's log-likelihood."""
        densities = norm.pdf(rows[:, None], means, deviations).prod(axis=2)
        return float(np.log(densities @ weights).mean())

    def gradient(place: int) -> np.ndarray:
        """By the means or by the deviations, by central differences."""
        step, found = 1e-5, np.zeros_like(means)
        for index in np.ndindex(means.shape):
            ends = []
            for sign in (1, -1):
                moved = [means.copy(), deviations.copy()]
                moved[place][index] += sign * step
                ends.append(likelihood(*moved))
            found[index] = (ends[0] - ends[1]) / (2 * step)
        return found

    root = np.sqrt(weights)[:, None]
    expected = np.concatenate(
        [(gradient(0) * deviations / root).ravel(), (gradient(1) * deviations / (root * np.sqrt(2))).ravel()]
    )
    found = encoder(frames)[0]
    np.testing.assert_allclose(np.sign(found) * found**2, expected, atol=1e-7)


@pytest.mark.parametrize("by", ["bic", "likelihood"])
def test_as_many_components_are_chosen_as_there_are_clusters(by: Any) -> None:
    rows = clusters(np.array([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0]]), 3000)
    mixture = choose_mixture(rows, (1, 2, 3, 40), ("diag",), by, seed=0)
    assert mixture.n_components == 3
    assert np.abs(mixture.means_.sum(axis=0) - 12.0).max() < 0.3


@pytest.mark.parametrize("by", ["bic", "likelihood"])
@pytest.mark.parametrize(("correlation", "kind"), [(0.9, "full"), (0.0, "diag")])
def test_the_covariance_is_full_where_values_go_together(by: Any, correlation: float, kind: str) -> None:
    rng = np.random.default_rng(0)
    rows = rng.multivariate_normal(np.zeros(8), correlation * np.ones((8, 8)) + (1 - correlation) * np.eye(8), 90)
    assert choose_mixture(rows, (1,), ("diag", "full"), by, seed=0).covariance_type == kind


@pytest.mark.parametrize("by", ["bic", "likelihood"])
@pytest.mark.parametrize("count", [8, 20, 199, 201, 390])
def test_a_choice_can_be_made_of_few_frames(by: Any, count: int) -> None:
    rows = np.random.default_rng(0).normal(size=(count, 2))
    for seed in range(5):
        assert choose_mixture(rows, (1, 2), ("diag",), by, seed).n_components in (1, 2)


def test_more_components_than_frames_are_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"mixture of 64 .* 20 frames; use smaller classical\.mixture\.sizes"):
        fit_mixture(np.zeros((20, 2)), 64, "diag", 0)


def test_a_draw_has_at_most_so_many_frames_each_once() -> None:
    frames = Frames.join([np.arange(k, k + 10, dtype=np.float32)[:, None] for k in range(0, 100, 10)])
    assert draw(frames, 0, 100).ravel().tolist() == list(range(100))
    few = draw(frames, 0, 25).ravel()
    assert len(set(few)) == 25
    assert few.tolist() == sorted(few)
    assert few.tolist() != draw(frames, 1, 25).ravel().tolist()


def sample(labels: np.ndarray, seed: int = 0) -> Sample:
    """Utterances of unequal length, each about its class's two centres."""
    rng = np.random.default_rng(seed)
    centres = np.array([[[0, 0], [6, 6]], [[6, 0], [0, 6]], [[3, 3], [3, -3]]], dtype=float)
    parts = [clusters(centres[label], int(rng.integers(5, 40)), seed=int(rng.integers(1e6))) for label in labels]
    return Sample({CEPSTRA: Frames.join([one.astype(np.float32) for one in parts])}, np.zeros(len(labels)))


@pytest.mark.parametrize("adapted", [True, False])
@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_mixtures_by_emotion_tell_emotions_apart(adapted: bool, covariance: str) -> None:
    labels = np.tile([0, 1, 2], 12)
    training, tested = sample(labels), sample(labels, seed=1)
    rows = np.concatenate(list(training.views[CEPSTRA])).astype(np.float64)  # type: ignore[arg-type]
    background = fit_mixture(rows, 8, covariance, 0) if adapted else None
    before = None if background is None else background.means_.copy()
    system = MixtureSystem(background, size=2, covariance=covariance).fit(training, labels, 3)
    assert (system.scores(tested).argmax(axis=1) == labels).mean() > 0.9
    if background is not None:
        np.testing.assert_array_equal(background.means_, before)


def test_a_score_is_the_mean_log_likelihood_of_the_frames() -> None:
    labels = np.array([0, 1, 2, 0])
    given = sample(labels)
    system = MixtureSystem(size=1).fit(given, labels, 3)
    frames = given.views[CEPSTRA]
    assert isinstance(frames, Frames)
    for number in range(3):
        own = np.concatenate([frames[place] for place in np.flatnonzero(labels == number)]).astype(np.float64)
        gauss = norm(own.mean(axis=0), np.sqrt(own.var(axis=0) + 1e-3))
        expected = [gauss.logpdf(one.astype(np.float64)).sum(axis=1).mean() for one in frames]
        np.testing.assert_allclose(system.scores(given)[:, number], expected, rtol=1e-6)


def test_fisher_vectors_of_full_covariances_are_refused() -> None:
    with pytest.raises(
        ValidationError, match=r"fisher needs diagonal covariances: use classical\.mixture\.covariances"
    ):
        ClassicalSettings(views=("fisher",), mixture=MixtureSettings(covariances=("diag", "full")))
    ClassicalSettings(system="gmm", views=("fisher",), mixture=MixtureSettings(covariances=("full",)))  # not used there
