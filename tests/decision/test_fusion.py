from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import log_softmax, softmax

from parallel_ser.decision.calibration import Temperature, log_loss
from parallel_ser.decision.fusion import PENALTY, Stacker, log_mean
from parallel_ser.errors import UserError


def systems(n: int, noises: tuple[float, ...] = (1.0, 1.5), seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Systems that each see the truth through noise of their own; an infinite one sees nothing of it."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, n)
    scores = [np.eye(4)[truth] / noise + rng.normal(0, 0.6, (n, 4)) for noise in noises]
    return [softmax(1.5 * one, axis=1) for one in scores], truth


def test_one_system_fused_is_itself() -> None:
    (one,), _ = systems(50, (1.0,))
    assert log_mean([one]) == pytest.approx(one)
    assert log_mean([one, one, one], [0.2, 0.5, 7]) == pytest.approx(one)
    assert Stacker((1.0,), (0.0,) * 4)([one]) == pytest.approx(one)


def test_the_mean_is_the_normalised_geometric_one() -> None:
    parts, _ = systems(20)
    expected = np.sqrt(parts[0] * parts[1])
    assert log_mean(parts) == pytest.approx(expected / expected.sum(axis=1, keepdims=True))
    weighted = parts[0] ** 0.75 * parts[1] ** 0.25
    assert log_mean(parts, [3, 1]) == pytest.approx(weighted / weighted.sum(axis=1, keepdims=True))
    assert log_mean(parts, [0, 2]) == pytest.approx(parts[1])


def test_a_certain_zero_is_outvoted_and_stays_finite() -> None:
    said = log_mean([np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])])
    assert said == pytest.approx(np.array([[0.5, 0.5]]))


def test_the_stacker_is_the_minimum_of_its_loss() -> None:
    parts, truth = systems(80)

    def loss(values: np.ndarray) -> float:
        scores = values[0] * np.log(parts[0]) + values[1] * np.log(parts[1]) + values[2:]
        likelihood = log_softmax(scores, axis=1)[np.arange(80), truth].sum()
        return float(PENALTY * (((values[:2] - 0.5) ** 2).sum() + (values[2:] ** 2).sum()) - likelihood)

    stacker = Stacker.fit(parts, truth)
    found = np.array(stacker.weights + stacker.bias)
    assert approx_fprime(found, loss) == pytest.approx(np.zeros(6), abs=0.02)
    assert loss(found) == pytest.approx(minimize(loss, np.r_[0.5, 0.5, np.zeros(4)]).fun, abs=1e-4)


def test_noise_gets_no_weight() -> None:
    parts, truth = systems(800, (1.0, np.inf))
    good, noise = Stacker.fit(parts, truth).weights
    assert noise < 0.1
    assert good > 0.8


def test_on_new_utterances_the_stacker_beats_the_mean_and_each_system() -> None:
    parts, truth = systems(1600, (0.8, 1.2, np.inf))
    stacker = Stacker.fit([part[:800] for part in parts], truth[:800])
    new, answer = [part[800:] for part in parts], truth[800:]
    fused = stacker(new)
    assert fused.sum(axis=1) == pytest.approx(1)
    assert log_loss(fused, answer) < min(log_loss(one, answer) for one in (log_mean(new), *new))
    assert (fused.argmax(1) == answer).mean() >= (log_mean(new).argmax(1) == answer).mean()


def test_with_few_utterances_or_a_high_penalty_it_is_the_mean() -> None:
    parts, truth = systems(3)
    assert Stacker.fit(parts, truth)(parts) == pytest.approx(log_mean(parts), abs=0.1)
    parts, truth = systems(200)
    assert Stacker.fit(parts, truth, penalty=1e9)(parts) == pytest.approx(log_mean(parts), abs=1e-4)


def test_a_single_system_is_calibrated_by_its_weight() -> None:
    """With one system and no bias to speak of, the weight is the inverse of the temperature."""
    (one,), truth = systems(3000, (1.0,))
    too_sure = Temperature(0.4)(one)
    temperature = Temperature.fit(too_sure, truth).temperature
    assert Stacker.fit([too_sure], truth).weights[0] == pytest.approx(1 / temperature, rel=0.02)


@pytest.mark.parametrize("truth", [[0, 1], [1, 0], [1, 1]])
def test_exact_zeros_and_ones_stay_finite(truth: list[int]) -> None:
    stacker = Stacker.fit([np.eye(2), np.eye(2)], np.array(truth), penalty=1e-3)
    assert np.isfinite(stacker.weights + stacker.bias).all()
    assert np.isfinite(stacker([np.eye(2), np.eye(2)])).all()
    assert min(stacker.weights) >= 0


def test_a_state_survives_json_to_the_last_bit() -> None:
    stacker = Stacker.fit(*systems(30))
    assert Stacker.from_state(json.loads(json.dumps(stacker.state()))) == stacker
    with pytest.raises(UserError, match="state is broken"):
        Stacker.from_state({"weights": [1.0]})


def test_what_does_not_fit_is_refused() -> None:
    parts, truth = systems(5)
    with pytest.raises(ValueError, match="same utterances and classes, got no system"):
        log_mean([])
    with pytest.raises(ValueError, match="same utterances and classes"):
        log_mean([parts[0], parts[1][:3]])
    for weights in ([1.0], [-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="weights must be 2 numbers"):
            log_mean(parts, weights)
    with pytest.raises(ValueError, match="fitted on 2 systems of 4 classes, got 1 of 4"):
        Stacker.fit(parts, truth)(parts[:1])
    with pytest.raises(UserError, match="penalty of a fusion must be above 0"):
        Stacker.fit(parts, truth, penalty=0)
    with pytest.raises(UserError, match="no labelled utterance"):
        Stacker.fit([part[:0] for part in parts], truth[:0])
