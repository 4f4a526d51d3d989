from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import binomtest

from parallel_ser.decision import abstention
from parallel_ser.decision.abstention import MIN_SPEAKERS, STEPS, observed, risk_coverage, threshold
from parallel_ser.errors import UserError


def speakers(rng: np.random.Generator, count: int, each: int, unlike: float) -> tuple[np.ndarray, ...]:
    """Confidence, correctness, speaker and chance of being right; speakers differ by ``unlike`` (in log odds)."""
    confidence = rng.uniform(0.3, 0.999, (count, each))
    odds = np.log(confidence / (1 - confidence)) + rng.normal(0, unlike, (count, 1))
    chance = 1 / (1 + np.exp(-odds))
    speaker = np.repeat(np.arange(count), each)
    return confidence.ravel(), (rng.random(chance.shape) < chance).ravel(), speaker, chance.ravel()


def test_risk_and_coverage_are_those_of_each_threshold_tried_in_turn() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.integers(0, 12, 60) / 12  # many ties
    correct = rng.random(60) < confidence
    result = risk_coverage(confidence, correct)
    assert result.thresholds.tolist() == sorted(set(confidence.tolist()), reverse=True)
    pairs = [observed(confidence, correct, value) for value in result.thresholds]
    assert result.coverage == pytest.approx([coverage for coverage, _ in pairs])
    assert result.risk == pytest.approx([error for _, error in pairs])
    assert result.risk[-1] == pytest.approx(1 - correct.mean())


def test_without_ties_the_area_is_the_mean_risk_over_ranks() -> None:
    rng = np.random.default_rng(1)
    confidence, correct = rng.permutation(40) / 40, rng.random(40) < 0.7
    wrong = ~correct[confidence.argsort()[::-1]]
    assert risk_coverage(confidence, correct).area == pytest.approx(np.mean(np.cumsum(wrong) / np.arange(1, 41)))


def test_a_confidence_that_knows_nothing_has_the_area_of_the_error() -> None:
    result = risk_coverage(np.full(10, 0.5), np.arange(10) < 7)
    assert (result.area, result.coverage.tolist()) == (pytest.approx(0.3), [1.0])


def test_the_record_of_a_long_curve_is_short_and_ends_with_all_answered() -> None:
    rng = np.random.default_rng(2)
    curve = risk_coverage(rng.random(1000), rng.random(1000) < 0.8)
    record = json.loads(json.dumps(curve.record()))
    assert len(record["risk"]) == len(record["coverage"]) == 201
    assert (record["coverage"][-1], record["risk"][-1]) == (1.0, curve.risk[-1])
    assert len(risk_coverage(rng.random(3), np.ones(3, bool)).record()["risk"]) == 3


def test_the_binomial_bound_is_that_of_clopper_and_pearson() -> None:
    wrong, answered = np.array([0, 3, 10, 7]), np.array([20, 50, 40, 7])
    bound = abstention._binomial_bound(wrong, answered, 0.99)
    for value, e, n in zip(bound, wrong, answered):
        expected = binomtest(int(e), int(n), alternative="less").proportion_ci(0.99, method="exact").high
        assert value == pytest.approx(expected)


def test_a_promise_tells_what_it_rests_on() -> None:
    confidence, correct, group, _ = speakers(np.random.default_rng(3), 30, 50, 0.5)
    promise = threshold(confidence, correct, group, 0.2)
    assert promise.threshold is not None
    assert promise.reason is None
    expected = observed(confidence, correct, promise.threshold)
    assert (promise.coverage, promise.answered_error) == pytest.approx(expected)
    assert promise.coverage * STEPS == pytest.approx(round(promise.coverage * STEPS))
    assert promise.binomial_bound is not None
    assert promise.speaker_bound is not None
    assert promise.answered_error < max(promise.binomial_bound, promise.speaker_bound) <= 0.2
    assert json.loads(json.dumps(asdict(promise))) == asdict(promise)
    assert threshold(confidence, correct, group, 0.2) == promise
    # Allowing more answers more.
    assert threshold(confidence, correct, group, 0.3).coverage >= promise.coverage


def test_what_cannot_be_promised_is_said_with_what_can() -> None:
    confidence, correct, group, _ = speakers(np.random.default_rng(4), 12, 30, 0.5)
    refused = threshold(confidence, correct, group, 0.001)
    assert (refused.threshold, refused.coverage, refused.answered_error) == (None, 0.0, None)
    assert refused.reason is not None
    assert "360 utterances of 12 speakers do not show an error of at most 0.1%" in refused.reason
    named = float(refused.reason.rsplit(" ", 1)[1].rstrip("%")) / 100
    assert threshold(confidence, correct, group, named).threshold is not None
    assert refused.smallest_error is not None
    assert threshold(confidence, correct, group, refused.smallest_error).threshold is not None
    assert threshold(confidence, correct, group, refused.smallest_error - 1e-6).threshold is None


def test_few_speakers_cannot_stand_for_others_however_much_they_say() -> None:
    group = np.repeat([f"s{k}" for k in range(MIN_SPEAKERS - 1)], 500)
    promise = threshold(np.linspace(0.5, 1, len(group)), np.ones(len(group), bool), group, 0.2)
    assert promise.threshold is None
    assert promise.smallest_error is None
    assert promise.reason == "2000 utterances of 4 speakers cannot stand for other speakers (at least 5 are needed)"


@pytest.mark.parametrize(("count", "unlike"), [(40, 0.0), (20, 1.0)])
def test_the_promise_is_kept_on_new_speakers(count: int, unlike: float) -> None:
    rng = np.random.default_rng(5)
    new, _, _, chance = speakers(rng, 4000, 10, unlike)
    draws, broken, given = 60, 0, 0
    for _ in range(draws):
        promise = threshold(*speakers(rng, count, 30, unlike)[:3], error=0.25, resamples=400)
        if promise.threshold is not None:
            given += 1
            broken += 1 - chance[new >= promise.threshold].mean() > 0.25
    # 0.05 · 60 = 3 are allowed on average; 7 or more would be an accident of 3 in 100.
    assert broken <= 6
    assert given > draws / 2


def test_unlike_speakers_need_the_speaker_bound() -> None:
    """A quarter of the speakers is always misheard, at any confidence: 1200 utterances hide that they are 12 draws."""
    rng = np.random.default_rng(6)
    draws, binomial_alone, both = 60, 0, 0
    for _ in range(draws):
        misheard = rng.random(12) < 0.25
        group = np.repeat(np.arange(12), 100)
        confidence, correct = rng.random(1200), ~misheard[group]
        binomial_alone += abstention._binomial_bound((~correct).sum(), np.array(1200), 0.95) < 0.25
        both += threshold(confidence, correct, group, 0.25, resamples=800).threshold is not None
    # The true error is 0.25 at every threshold, so that hardly any promise of less is right.
    assert binomial_alone / draws > 0.25
    # No misheard speaker at all has a chance of 0.75^12 = 3%, which no method can see through.
    assert both / draws <= 0.1


def test_ties_are_answered_as_a_whole() -> None:
    group = np.arange(200) % 10
    confidence = np.where(np.arange(200) < 100, 1.0, 0.5)
    promise = threshold(confidence, confidence == 1.0, group, 0.1)
    assert (promise.threshold, promise.coverage, promise.answered_error) == (1.0, 0.5, 0.0)


def test_one_utterance_and_all_wrong_promise_nothing() -> None:
    assert threshold(np.array([0.9]), np.array([True]), ["s"], 0.1).threshold is None
    wrong = threshold(np.linspace(0, 1, 100), np.zeros(100, bool), np.arange(100) % 10, 0.5)
    assert (wrong.threshold, wrong.smallest_error) == (None, 1.0)
    assert observed(np.array([0.2]), np.array([True]), 0.5) == (0.0, None)


def test_what_does_not_fit_is_refused() -> None:
    one, right = np.array([0.5]), np.array([True])
    for error, level in ((0.0, 0.95), (1.0, 0.95), (0.1, 1.0), (float("nan"), 0.95)):
        with pytest.raises(UserError, match="of a promise must be between 0 and 1"):
            threshold(one, right, ["s"], error, level)
    with pytest.raises(UserError, match="no labelled utterance"):
        risk_coverage(one[:0], right[:0])
    with pytest.raises(ValueError, match="not a finite number"):
        risk_coverage(one * np.nan, right)
    with pytest.raises(ValueError, match="does not fit"):
        risk_coverage(one, np.array([True, False]))
    with pytest.raises(ValueError, match="1 utterances but groups"):
        threshold(one, right, ["s", "t"], 0.1)
