"""Calibrating a run from the command line, and what predict and evaluate make of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from classical_runs import FOLDS, best_temperature, cooled, copied, of_fold
from commanding import done, refused

from parallel_ser.training.inference import Run
from parallel_ser.training.predictions import Predictions, concatenate

ERRORS = ("--error", "0.9", "--error", "0.001", "--even-if-worse")


@pytest.fixture(scope="module")
def calibrated(svm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(svm_run, tmp_path_factory.mktemp("calibrated") / "svm")
    done("calibrate", folder, *ERRORS)
    return folder


def states(run: Path) -> list[dict]:
    return [json.loads((run / f"fold-{fold}/calibration.json").read_text()) for fold in FOLDS]


def test_each_fold_has_the_temperature_of_the_highest_likelihood(calibrated: Path) -> None:
    for fold, state in zip(FOLDS, states(calibrated)):
        assert state["method"] == "temperature"
        assert state["temperature"] == pytest.approx(
            best_temperature(of_fold(calibrated, fold, "selection.csv")), rel=1e-4
        )


def test_the_record_is_of_the_test_sides_before_and_after(calibrated: Path) -> None:
    record = json.loads((calibrated / "calibration/calibration.json").read_text())
    raw = Predictions.from_csv(calibrated / "predictions.csv")
    after = Predictions.from_csv(calibrated / "calibration/predictions.csv")
    rows = np.arange(len(raw))
    for name, one in (("before", raw), ("after", after)):
        likely = one.probabilities[rows, one.truth_indices]
        assert record[name]["log_loss"] == pytest.approx(-np.log(likely).mean())
        assert record[name]["brier"] == pytest.approx(
            ((one.probabilities - np.eye(7)[one.truth_indices]) ** 2).sum(axis=1).mean()
        )
    assert (record["n"], record["speakers"], record["method"]) == (28, 2, "temperature")
    temperatures = [state["temperature"] for state in states(calibrated)]
    expected = [cooled(of_fold(calibrated, fold).probabilities, temperatures[fold]) for fold in FOLDS]
    np.testing.assert_allclose(after.probabilities, np.concatenate(expected), atol=1e-9)
    for name in ("reliability.png", "risk-coverage.png"):
        assert (calibrated / "calibration" / name).read_bytes().startswith(b"\x89PNG")


def test_predict_is_the_mean_of_the_calibrated_folds(calibrated: Path, svm_run: Path, tmp_path: Path) -> None:
    path = of_fold(svm_run, 0).paths[0]

    def said(run: Path) -> np.ndarray:
        row = json.loads(done("predict", run, path, "--json").stdout)["probabilities"]
        return np.array([[row[name] for name in of_fold(svm_run, 0).classes]])

    expected = []
    for fold, state in zip(FOLDS, states(calibrated)):
        alone = copied(svm_run, tmp_path / str(fold))  # a run of this fold alone, not calibrated
        shutil.rmtree(alone / f"fold-{1 - fold}")
        (alone / "metrics.json").unlink()  # which are of both
        expected.append(cooled(said(alone), state["temperature"]))
    np.testing.assert_allclose(said(calibrated), np.mean(expected, axis=0), atol=1e-9)
    assert np.abs(said(calibrated) - said(svm_run)).max() > 0.01


def test_evaluate_uses_the_calibration(calibrated: Path, svm_run: Path) -> None:
    run = Run.open(calibrated)
    again = concatenate(run.test_own(run.config)[0])
    kept = Predictions.from_csv(calibrated / "calibration/predictions.csv")
    np.testing.assert_allclose(again.probabilities, kept.probabilities, atol=1e-9)
    metrics = [json.loads(done("evaluate", folder, "--json").stdout) for folder in (svm_run, calibrated)]
    assert metrics[0]["confusion"] == metrics[1]["confusion"]  # a temperature changes no answer


def test_calibrating_twice_is_calibrating_once(calibrated: Path, tmp_path: Path) -> None:
    again = copied(calibrated, tmp_path / "again")
    done("calibrate", again, *ERRORS)
    assert states(again) == states(calibrated)


def gap(predictions: Predictions) -> float:
    """ECE over 15 bins, counted here."""
    confidence = predictions.probabilities.max(axis=1)
    right = np.array(predictions.predicted) == np.array(predictions.truth)
    bins = np.ceil(confidence * 15)
    return float(sum(abs((confidence - right)[bins == one].sum()) for one in set(bins)) / len(right))


def test_a_calibration_that_makes_the_ece_worse_is_said_so_and_not_kept(
    calibrated: Path, svm_run: Path, tmp_path: Path
) -> None:
    raw = gap(Predictions.from_csv(svm_run / "predictions.csv"))
    tempered = gap(Predictions.from_csv(calibrated / "calibration/predictions.csv"))
    assert tempered > raw
    folder = copied(svm_run, tmp_path / "svm")
    text = " ".join(done("calibrate", folder, "--error", "0.9").stdout.split())
    assert f"Not calibrated: temperature makes the ECE worse, {raw:.3f} before and {tempered:.3f} after." in text
    assert [state["method"] for state in states(folder)] == ["none", "none"]
    record = json.loads((folder / "calibration/calibration.json").read_text())
    assert (record["method"], record["tried"]["ece"]) == ("none", pytest.approx(tempered))
    path = of_fold(svm_run, 0).paths[0]
    assert done("predict", folder, path, "--json").stdout == done("predict", svm_run, path, "--json").stdout


def test_few_selection_speakers_give_way_to_the_test_speakers_of_the_other_folds(svm_run: Path, tmp_path: Path) -> None:
    folder = copied(svm_run, tmp_path / "svm")
    for fold in FOLDS:
        side = of_fold(folder, fold, "selection.csv")
        first = [row for row, one in enumerate(side.speakers) if one == side.speakers[0]][:2]
        side.take(first).to_csv(folder / f"fold-{fold}/selection.csv")
    assert len(set(of_fold(svm_run, 0).speakers)) == 1
    assert "speakers that each fold held out" in done("calibrate", folder, *ERRORS).stdout
    both = [of_fold(svm_run, fold) for fold in FOLDS]
    pairs = [Predictions.from_csv(svm_run / f"fold-{fold}/predictions.csv") for fold in FOLDS]
    for fold, side in enumerate(pairs):  # two test speakers a fold
        halves = tuple(f"{speaker}-{row % 2}" for row, speaker in enumerate(side.speakers))
        replace(side, speakers=halves).to_csv(folder / f"fold-{fold}/predictions.csv")
    assert "the test speakers of the other folds" in done("calibrate", folder, *ERRORS).stdout
    for fold, state in zip(FOLDS, states(folder)):
        assert state["temperature"] == pytest.approx(best_temperature(both[1 - fold]), rel=1e-3)


@pytest.mark.parametrize("also", [[], ["fold-1/predictions.csv"], ["metrics.json"]])
def test_a_lost_model_is_not_made_up_for_by_the_others(svm_run: Path, tmp_path: Path, also: list[str]) -> None:
    folder = copied(svm_run, tmp_path / "svm")
    for name in ["fold-1/model.skops", *also]:
        (folder / name).unlink()
    path = of_fold(svm_run, 0).paths[0]
    for command in (["predict", folder, path], ["evaluate", folder], ["calibrate", folder]):
        assert "fold-1 has no model any more" in refused(*command)
    assert not (folder / "calibration").exists()


def test_another_folds_model_is_not_taken_for_a_folds_own(svm_run: Path, tmp_path: Path) -> None:
    folder = copied(svm_run, tmp_path / "svm")
    shutil.copy(folder / "fold-1/model.skops", folder / "fold-0/model.skops")
    assert "fold-0/model.skops is not the model of its fold" in refused("evaluate", folder)
    (folder / "fold-0/model-digest.json").write_text("{}")
    assert "model-digest.json is damaged" in refused("evaluate", folder)


def test_a_run_that_has_not_come_so_far_answers_by_the_models_that_it_has(svm_run: Path, tmp_path: Path) -> None:
    folder = copied(svm_run, tmp_path / "svm")
    for name in ["fold-1/model.skops", "fold-1/predictions.csv", "metrics.json"]:
        (folder / name).unlink()
    done("predict", folder, of_fold(svm_run, 0).paths[0])


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_calibration_does_not_leave_a_fold_without(calibrated: Path, tmp_path: Path, lost: int) -> None:
    folder, path = copied(calibrated, tmp_path / "svm"), of_fold(calibrated, 0).paths[0]
    (folder / f"fold-{lost}/calibration.json").unlink()
    for command in (["predict", folder, path], ["evaluate", folder]):
        assert f"fold-{lost}/calibration.json is missing, and" in refused(*command)
    (folder / f"fold-{1 - lost}/calibration.json").unlink()
    assert "calibrate it again" in refused("predict", folder, path)
    done("calibrate", folder, *ERRORS)
    assert states(folder) == states(calibrated)


def test_what_a_classical_system_held_out_is_not_made_again_of_what_it_has_learned(
    svm_run: Path, tmp_path: Path
) -> None:
    folder = copied(svm_run, tmp_path / "svm")
    (folder / "fold-0/selection.csv").unlink()
    assert "fold-0/selection.csv is missing, and cannot be made again" in refused("calibrate", folder)
    assert "cannot be made again" in refused("fuse", svm_run, folder, "--out", tmp_path / "fused")
    assert not (folder / "fold-0/selection.csv").exists()


def test_none_takes_a_calibration_away(calibrated: Path, svm_run: Path, tmp_path: Path) -> None:
    folder = copied(calibrated, tmp_path / "none")
    done("calibrate", folder, "--method", "none")
    path = of_fold(svm_run, 0).paths[0]
    assert done("predict", folder, path, "--json").stdout == done("predict", svm_run, path, "--json").stdout


def test_isotonic_comes_back_from_its_file(svm_run: Path, tmp_path: Path) -> None:
    folder = copied(svm_run, tmp_path / "isotonic")
    record = json.loads(done("calibrate", folder, "--method", "isotonic", "--json", "--even-if-worse").stdout)
    assert record["method"] == "isotonic"
    after = json.loads(done("evaluate", folder, "--json").stdout)
    said = Predictions.from_csv(folder / "calibration/predictions.csv")
    assert after["wa"]["value"] == pytest.approx(np.mean(np.array(said.predicted) == np.array(said.truth)))


def test_predict_is_uncertain_below_the_strictest_threshold(calibrated: Path) -> None:
    promised = [next(one for one in state["promises"] if one["error"] == 0.9) for state in states(calibrated)]
    least = max(one["threshold"] for one in promised)
    paths = [path for fold in FOLDS for path in of_fold(calibrated, fold).paths]
    rows = [
        json.loads(line) for line in done("predict", calibrated, *paths, "--error", "0.9", "--json").stdout.splitlines()
    ]
    assert len(rows) == len(paths)
    for row in rows:
        best = next(iter(row["probabilities"]))
        assert row["emotion"] == (best if row["confidence"] >= least else "uncertain")


def test_an_error_without_a_threshold_says_what_to_do(calibrated: Path, svm_run: Path) -> None:
    path = of_fold(svm_run, 0).paths[0]
    for run, error in ((svm_run, 0.1), (calibrated, 0.2)):
        sentence = refused("predict", run, path, "--error", error)
        assert f"run parallel-ser calibrate {run} --error {error} first" in sentence
    assert "cannot promise an error of 0.001: the least that it could is 0." in refused(
        "predict", calibrated, path, "--error", "0.001"
    )


@pytest.mark.parametrize("error", ["0", "1", "-0.1", "7"])
def test_an_error_that_is_no_share_is_refused(svm_run: Path, error: str) -> None:
    assert "is no share of the answers" in refused("calibrate", svm_run, "--error", error)
    assert not (svm_run / "calibration").exists()


def test_a_fold_that_is_not_finished_is_named(svm_run: Path, tmp_path: Path) -> None:
    folder = copied(svm_run, tmp_path / "unfinished")
    (folder / "fold-1/predictions.csv").unlink()
    assert "fold 1 of" in refused("calibrate", folder)
    assert refused("calibrate", tmp_path).endswith("is not the folder of a run: it holds no config.yaml.")
