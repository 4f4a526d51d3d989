from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss
from starting import run

from parallel_ser.decision import calibration
from parallel_ser.decision.calibration import (
    BOUNDS,
    METHODS,
    Isotonic,
    Temperature,
    brier,
    expected_calibration_error,
    fit,
    from_state,
    log_loss,
    measures,
    reliability,
)
from parallel_ser.errors import UserError


def drawn(sharpness: float = 1.0, n: int = 4000, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Truths drawn from ``softmax(z)`` by a model that says ``softmax(sharpness · z)``: its true T is ``sharpness``."""
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 1.5, (n, classes))
    truth = (softmax(scores, axis=1).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return softmax(sharpness * scores, axis=1), truth


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_data_is_found(sharpness: float) -> None:
    probabilities, truth = drawn(sharpness)
    assert Temperature.fit(probabilities, truth).temperature == pytest.approx(sharpness, rel=0.05)


def test_the_temperature_is_where_the_loss_is_lowest() -> None:
    probabilities, truth = drawn(2.0, n=300)
    best = Temperature.fit(probabilities, truth)
    losses = [log_loss(Temperature(best.temperature * factor)(probabilities), truth) for factor in (0.99, 1, 1.01)]
    assert losses[1] == min(losses)


def test_a_temperature_keeps_the_order_of_the_classes_and_one_is_the_identity() -> None:
    probabilities, _ = drawn(2.0, n=200)
    for temperature in (0.3, 1.0, 7.0):
        assert (Temperature(temperature)(probabilities).argsort(axis=1) == probabilities.argsort(axis=1)).all()
    assert Temperature(1.0)(probabilities) == pytest.approx(probabilities, abs=1e-12)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_mends_a_model_that_is_too_sure(method: str) -> None:
    probabilities, truth = drawn(3.0)
    fitted, tested = slice(0, 2000), slice(2000, None)
    after = fit(method, probabilities[fitted], truth[fitted])(probabilities[tested])
    assert expected_calibration_error(probabilities[tested], truth[tested]) > 0.1
    assert expected_calibration_error(after, truth[tested]) < 0.05
    assert log_loss(after, truth[tested]) < log_loss(probabilities[tested], truth[tested])
    assert brier(after, truth[tested]) < brier(probabilities[tested], truth[tested])


def test_isotonic_is_scikit_learns_with_the_model_as_one_more_utterance() -> None:
    probabilities, truth = drawn(3.0, n=300)
    calibrator, new = Isotonic.fit(probabilities, truth), drawn(1.5, n=300)[0]
    curves = calibrator.curves(new)
    for column in range(4):
        regression = IsotonicRegression(out_of_bounds="clip").fit(probabilities[:, column], truth == column)
        expected = (300 * regression.predict(new[:, column]) + new[:, column]) / 301
        assert curves[:, column] == pytest.approx(expected, abs=1e-9)
        assert (np.diff(curves[new[:, column].argsort(), column]) > 0).all()
    assert calibrator(new) == pytest.approx(curves / curves.sum(axis=1, keepdims=True))


def test_isotonic_gives_no_row_of_zeros() -> None:
    # Each class's curve is zero up to 0.4, so to a regression alone this new row is impossible.
    calibrator = Isotonic.fit(np.array([[0.6, 0.4, 0.0], [0.0, 0.6, 0.4], [0.4, 0.0, 0.6]]), np.array([0, 1, 2]))
    assert calibrator(np.array([[0.4, 0.35, 0.25]])) == pytest.approx(np.array([[0.4, 0.35, 0.25]]))


EXACT = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("probabilities", "truth"),
    [
        (EXACT, [0, 1, 2]),
        (EXACT, [1, 2, 0]),
        (EXACT[:1], [0]),
        (EXACT[:1], [1]),
        (np.full((3, 3), 1 / 3), [0, 0, 1]),
        (np.array([[0.7, 0.2, 0.1]]), [0]),
        (np.array([[0.7, 0.2, 0.1]]), [2]),
        (np.ones((2, 1)), [0, 0]),
    ],
)
def test_whatever_it_is_fitted_on_the_result_is_probabilities(
    method: str, probabilities: np.ndarray, truth: list[int]
) -> None:
    calibrator = fit(method, probabilities, np.array(truth))
    said = calibrator(np.concatenate([probabilities, np.full((1, probabilities.shape[1]), 1 / probabilities.shape[1])]))
    assert np.isfinite(said).all()
    assert (said >= 0).all()
    assert said.sum(axis=1) == pytest.approx(1)
    assert np.isfinite(log_loss(said[:-1], np.array(truth)))
    if isinstance(calibrator, Temperature):
        assert BOUNDS[0] <= calibrator.temperature <= BOUNDS[1]


def test_all_right_and_all_wrong_stop_at_the_bounds_and_no_information_at_one() -> None:
    sure = np.array([[0.7, 0.2, 0.1]] * 5)
    assert Temperature.fit(sure, np.zeros(5, int)).temperature == BOUNDS[0]
    assert Temperature.fit(sure, np.full(5, 2)).temperature == BOUNDS[1]
    assert Temperature.fit(np.full((5, 3), 1 / 3), np.zeros(5, int)).temperature == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_state_survives_json_to_the_last_bit(method: str) -> None:
    probabilities, truth = drawn(2.0, n=100)
    calibrator = fit(method, probabilities, truth)
    again = from_state(json.loads(json.dumps(calibrator.state())))
    assert again == calibrator
    assert (again(probabilities) == calibrator(probabilities)).all()
    assert calibrator.state()["method"] == method


def test_reliability_and_ece_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.5, 0.5]])
    truth = np.array([0, 1, 1, 0, 0])  # right, wrong, right, right, right
    low, high = reliability(probabilities, truth, bins=2)
    assert low == {"low": 0.0, "high": 0.5, "n": 1, "confidence": 0.5, "accuracy": 1.0}
    assert high == {"low": 0.5, "high": 1.0, "n": 4, "confidence": pytest.approx(0.75), "accuracy": 0.75}
    assert expected_calibration_error(probabilities, truth, bins=2) == pytest.approx(0.2 * 0.5)
    # five bins: 0.5 and 0.6 in (0.4, 0.6], 0.7 and 0.8 in (0.6, 0.8], 0.9 in (0.8, 1]
    assert expected_calibration_error(probabilities, truth, bins=5) == pytest.approx(
        0.4 * 0.45 + 0.4 * 0.25 + 0.2 * 0.1
    )
    assert [row["n"] for row in reliability(probabilities, truth, bins=5)] == [0, 0, 2, 2, 1]


def test_brier_and_log_loss_are_scikit_learns() -> None:
    probabilities, truth = drawn(2.0, n=200)
    assert log_loss(probabilities, truth) == pytest.approx(sklearn_log_loss(truth, probabilities, labels=range(4)))
    two, truth = drawn(2.0, n=200, classes=2)
    assert brier(two, truth) == pytest.approx(2 * brier_score_loss(truth, two[:, 1]))
    assert brier(EXACT, np.array([1, 2, 0])) == 2


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 1)), min_size=1, max_size=20), st.integers(1, 7))
def test_the_measures_are_one_record_of_plain_values(rows: list[tuple[int, int]], bins: int) -> None:
    probabilities = np.array([[k / 10, 1 - k / 10] for k, _ in rows])
    truth = np.array([label for _, label in rows])
    record = measures(probabilities, truth, bins)
    assert json.loads(json.dumps(record)) == record
    assert sum(row["n"] for row in record["reliability"]) == len(rows)
    assert 0 <= record["ece"] <= 1
    assert record["ece"] == expected_calibration_error(probabilities, truth, bins)


def test_what_does_not_fit_is_refused() -> None:
    good, truth = np.array([[0.5, 0.5]]), np.array([1])
    with pytest.raises(UserError, match="no calibration method 'platt'; use one of none, temperature, isotonic"):
        fit("platt", good, truth)
    with pytest.raises(UserError, match="no labelled utterance"):
        fit("temperature", good[:0], truth[:0])
    with pytest.raises(UserError, match="utterance 1 has a probability that is not finite"):
        fit("temperature", good * np.nan, truth)
    with pytest.raises(UserError, match="state is broken"):
        from_state({"method": "temperature"})
    with pytest.raises(UserError, match="no calibration method None"):
        from_state({})
    with pytest.raises(ValueError, match="row 0 is not probabilities"):
        brier(np.array([[2.0, -1.0]]), truth)
    for broken in ([2], [-1], [0.5], [0, 1]):
        with pytest.raises(ValueError, match="1 integers from 0 to 1"):
            brier(good, np.array(broken))
    with pytest.raises(ValueError, match="calibrated for 2 classes, got 3"):
        Isotonic.fit(good, truth)(EXACT)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    import sys

    code = f"import sys, {calibration.__name__}; sys.exit('sklearn' in sys.modules or 'scipy' in sys.modules)"
    assert run([sys.executable, "-c", code]).returncode == 0
