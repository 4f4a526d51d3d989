"""Fusing runs from the command line, against the arithmetic done here."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from classical_runs import FOLDS, GIVEN, best_temperature, cooled, copied, of_fold
from commanding import done, refused
from scipy.optimize import minimize

from parallel_ser.decision.fusion import PENALTY
from parallel_ser.system.digests import read_json, write_json
from parallel_ser.training.inference import Run
from parallel_ser.training.predictions import Predictions, concatenate

Change = Callable[[list[list[str]]], None]


def changed(run: Path, folder: Path, name: str, change: Change) -> Path:
    """A copy of a run whose CSV files of that name are changed, the head with them."""
    copied(run, folder)
    for path in folder.glob(f"fold-*/{name}"):
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        change(rows)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


def other_labels(rows: list[list[str]]) -> None:
    """Every truth becomes another one."""
    names = sorted({row[4] for row in rows[1:]})
    for row in rows[1:]:
        row[4] = names[(names.index(row[4]) + 1) % len(names)]


def log_mean(parts: list[np.ndarray]) -> np.ndarray:
    mean = np.exp(np.mean([np.log(one) for one in parts], axis=0))
    return np.asarray(mean / mean.sum(axis=1, keepdims=True))


def weights(folder: Path) -> list[list[float]]:
    return [json.loads((folder / f"fold-{fold}/fusion.json").read_text())["stacker"]["weights"] for fold in FOLDS]


@pytest.fixture(scope="module")
def mean(svm_run: Path, gmm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fusion") / "mean"
    printed = done("fuse", svm_run, gmm_run, "--out", folder).stdout
    assert printed.rstrip().endswith(f"Results folder: {folder}")
    return folder


@pytest.fixture(scope="module")
def stack(svm_run: Path, gmm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fusion") / "stack"
    done("fuse", svm_run, gmm_run, "--method", "stack", "--out", folder)
    return folder


def test_the_mean_is_that_of_calibrated_log_probabilities(mean: Path, svm_run: Path, gmm_run: Path) -> None:
    for fold in FOLDS:
        temperatures = [best_temperature(of_fold(run, fold, "selection.csv")) for run in (svm_run, gmm_run)]
        for name in ("predictions.csv", "selection.csv"):
            ours = of_fold(svm_run, fold, name)
            theirs = of_fold(gmm_run, fold, name)
            theirs = theirs.take([theirs.paths.index(path) for path in ours.paths])
            assert theirs.classes == ours.classes
            parts = [cooled(one.probabilities, t) for one, t in zip((ours, theirs), temperatures)]
            found = of_fold(mean, fold, name)
            assert (found.paths, found.truth) == (ours.paths, ours.truth)
            np.testing.assert_allclose(found.probabilities, log_mean(parts), atol=1e-4)


def test_results_are_of_the_fused_predictions_and_say_what_they_are(mean: Path, gmm_run: Path) -> None:
    metrics = json.loads((mean / "metrics.json").read_text())
    said = Predictions.from_csv(mean / "predictions.csv")
    assert metrics["wa"]["value"] == pytest.approx(np.mean(np.array(said.predicted) == np.array(said.truth)))
    assert "fusion of 2 systems by the mean of calibrated log-probabilities" in metrics["notes"]
    assert set(json.loads((gmm_run / "metrics.json").read_text())["notes"]) <= set(metrics["notes"])
    assert metrics["audit"] == json.loads((gmm_run / "metrics.json").read_text())["audit"]
    assert (mean / "confusion.png").exists()


def test_the_order_of_the_runs_changes_nothing_in_the_mean(
    mean: Path, svm_run: Path, gmm_run: Path, tmp_path: Path
) -> None:
    done("fuse", gmm_run, svm_run, "--out", tmp_path / "turned")
    ours, theirs = (Predictions.from_csv(folder / "predictions.csv") for folder in (mean, tmp_path / "turned"))
    theirs = theirs.take([theirs.paths.index(path) for path in ours.paths])
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-12)


def test_classes_in_another_order_are_put_in_order(mean: Path, svm_run: Path, gmm_run: Path, tmp_path: Path) -> None:
    def turned(rows: list[list[str]]) -> None:
        for row in rows:
            row[7:] = row[:6:-1]

    other = changed(gmm_run, tmp_path / "gmm", "*.csv", turned)
    done("fuse", svm_run, other, "--out", tmp_path / "fused")
    assert (tmp_path / "fused/predictions.csv").read_bytes() == (mean / "predictions.csv").read_bytes()


def test_the_stacker_is_the_best_on_held_out_rows(stack: Path, svm_run: Path, gmm_run: Path) -> None:
    for fold, found in zip(FOLDS, weights(stack)):
        held = [of_fold(run, fold, "selection.csv") for run in (svm_run, gmm_run)]
        held[1] = held[1].take([held[1].paths.index(path) for path in held[0].paths])
        parts = [np.log(cooled(one.probabilities, best_temperature(one))) for one in held]
        rows, truth = np.arange(len(held[0])), held[0].truth_indices

        def loss(values: np.ndarray, parts=parts, rows=rows, truth=truth) -> float:
            scores = values[0] * parts[0] + values[1] * parts[1] + values[2:]
            said = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            away = np.concatenate([values[:2] - 0.5, values[2:]])
            return float(-np.log(said[rows, truth]).sum() + PENALTY * (away**2).sum())

        best = minimize(loss, np.r_[0.5, 0.5, np.zeros(7)], bounds=[(0, None)] * 2 + [(None, None)] * 7).x
        assert found == pytest.approx(best[:2], abs=0.01)


def test_labels_of_the_test_side_do_not_change_the_weights(
    stack: Path, svm_run: Path, gmm_run: Path, tmp_path: Path
) -> None:
    runs = [changed(run, tmp_path / run.name, "predictions.csv", other_labels) for run in (svm_run, gmm_run)]
    done("fuse", *runs, "--method", "stack", "--out", tmp_path / "fused")
    assert weights(tmp_path / "fused") == weights(stack)
    assert not np.array_equal(of_fold(tmp_path / "fused", 0).truth, of_fold(stack, 0).truth)
    runs = [changed(run, tmp_path / f"{run.name}2", "selection.csv", other_labels) for run in (svm_run, gmm_run)]
    done("fuse", *runs, "--method", "stack", "--out", tmp_path / "other")
    assert weights(tmp_path / "other") != weights(stack)


def test_a_network_and_a_classical_system_are_fused_on_what_both_held_out(svm_run: Path, tmp_path: Path) -> None:
    network = tmp_path / "network"
    small = ("features.n_mels=20", "features.hop=0.02", "features.window=0.04", "train.epochs=1", "train.threads=1")
    done("train", "strategy.name=single", *GIVEN, *small, "train.device=cpu", f"run.folder={network}")
    done("fuse", network, svm_run, "--method", "stack", "--out", tmp_path / "fused")
    for fold in FOLDS:
        held = of_fold(tmp_path / "fused", fold, "selection.csv")
        assert set(held.paths) == set(of_fold(network, fold, "selection.csv").paths)
        assert set(held.paths) < set(of_fold(svm_run, fold, "selection.csv").paths)
        assert not set(held.speakers) & set(of_fold(svm_run, fold).speakers)


def test_one_run_is_no_fusion(svm_run: Path) -> None:
    assert refused("fuse", svm_run) == "a fusion needs two runs or more."


def test_a_folder_that_exists_is_refused(svm_run: Path, gmm_run: Path, tmp_path: Path) -> None:
    assert "exists: give another --out" in refused("fuse", svm_run, gmm_run, "--out", tmp_path)


def test_runs_of_other_folds_are_refused(svm_run: Path, gmm_run: Path, tmp_path: Path) -> None:
    other = copied(gmm_run, tmp_path / "gmm")
    shutil.rmtree(other / "fold-1")
    (other / "metrics.json").unlink()  # which are of both
    assert refused("fuse", svm_run, other, "--out", tmp_path / "fused") == (f"{other} has folds 0, but {svm_run} 0, 1.")
    assert not (tmp_path / "fused").exists()


def test_runs_of_other_classes_are_refused(svm_run: Path, gmm_run: Path, tmp_path: Path) -> None:
    def renamed(rows: list[list[str]]) -> None:
        rows[:] = [[cell.replace("joy", "glee") for cell in row] for row in rows]

    other = changed(gmm_run, tmp_path / "gmm", "*.csv", renamed)
    assert "tells glee, anger" in refused("fuse", svm_run, other, "--out", tmp_path / "fused")


def test_runs_of_other_recordings_are_refused(svm_run: Path, gmm_run: Path, tmp_path: Path) -> None:
    def moved(rows: list[list[str]]) -> None:
        rows[1:] = [[f"/elsewhere/{row[0]}", *row[1:]] for row in rows[1:]]

    tested = changed(gmm_run, tmp_path / "tested", "predictions.csv", moved)
    assert "was tested on other recordings" in refused("fuse", svm_run, tested, "--out", tmp_path / "fused")
    held = changed(gmm_run, tmp_path / "held", "selection.csv", moved)
    assert "in fold 0 there is no utterance that every run held out" in refused(
        "fuse", svm_run, held, "--out", tmp_path / "fused"
    )


def test_a_run_that_is_not_finished_is_refused(svm_run: Path, gmm_run: Path, tmp_path: Path) -> None:
    other = copied(gmm_run, tmp_path / "gmm")
    (other / "fold-1/predictions.csv").unlink()
    assert f"fold 1 of {other} is not finished" in refused("fuse", svm_run, other, "--out", tmp_path / "fused")


@pytest.mark.parametrize("method", ["mean", "stack"])
def test_a_fusion_tested_again_says_what_it_said(method: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(method)
    run = Run.open(folder)
    again, kept = concatenate(run.test_own(run.config)[0]), Predictions.from_csv(folder / "predictions.csv")
    again = again.take([again.paths.index(path) for path in kept.paths])
    np.testing.assert_allclose(again.with_classes(kept.classes).probabilities, kept.probabilities, atol=1e-6)
    metrics = json.loads(done("evaluate", folder, "--json").stdout)
    assert metrics["confusion"] == json.loads((folder / "metrics.json").read_text())["confusion"]
    assert any("fusion of 2 systems" in note for note in metrics["notes"])


def test_a_fusion_predicts_the_pool_of_what_its_runs_say(
    mean: Path, svm_run: Path, gmm_run: Path, tmp_path: Path
) -> None:
    files = of_fold(svm_run, 0).paths[:3]
    classes = of_fold(mean, 0).classes

    def told(run: Path) -> np.ndarray:
        rows = [
            json.loads(line)["probabilities"] for line in done("predict", run, *files, "--json").stdout.splitlines()
        ]
        return np.array([[row[name] for name in classes] for row in rows])

    expected = []
    for fold in FOLDS:
        parts = []
        for number, run in enumerate((svm_run, gmm_run)):
            alone = copied(run, tmp_path / f"{number}-{fold}")  # a run of this fold alone
            shutil.rmtree(alone / f"fold-{1 - fold}")
            (alone / "metrics.json").unlink()
            parts.append(cooled(told(alone), best_temperature(of_fold(run, fold, "selection.csv"))))
        expected.append(log_mean(parts))
    np.testing.assert_allclose(told(mean), np.mean(expected, axis=0), atol=1e-4)


def test_a_fusion_is_calibrated_like_any_run(mean: Path, svm_run: Path, gmm_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fused"
    done("fuse", svm_run, gmm_run, "--out", folder)
    done("calibrate", folder, "--error", "0.9", "--even-if-worse")
    state = json.loads((folder / "fold-0/calibration.json").read_text())
    assert state["temperature"] == pytest.approx(best_temperature(of_fold(mean, 0, "selection.csv")), rel=1e-4)
    path = of_fold(svm_run, 0).paths[0]
    row = json.loads(done("predict", folder, path, "--error", "0.9", "--json").stdout)
    assert sum(row["probabilities"].values()) == pytest.approx(1.0)
    assert row["confidence"] != json.loads(done("predict", mean, path, "--json").stdout)["confidence"]


@pytest.mark.parametrize("name", ["fusion.json", "fold-0/fusion.json", "metrics.json"])
def test_another_file_under_a_name_of_a_fusion_s(
    mean: Path, svm_run: Path, gmm_run: Path, tmp_path: Path, name: str
) -> None:
    folder = copied(mean, tmp_path / "fused")
    for run in (svm_run, gmm_run):
        copied(run, tmp_path / run.name)
    record = read_json(folder / "fusion.json")
    for one in record["runs"]:
        one["folder"] = f"../{Path(one['path']).name}"
    write_json(folder / "fusion.json", record)
    write_json(folder / name, {"low": [1]})
    if name == "metrics.json":
        sentence = refused("fuse", folder, svm_run, "--out", tmp_path / "again")
    else:
        sentence = refused("predict", folder, of_fold(svm_run, 0).paths[0])
    assert f"{name} is damaged, or was not written by this version (it does not hold what such a file does" in sentence


def test_a_fusion_moves_with_its_runs_and_refuses_others(svm_run: Path, gmm_run: Path, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    runs = [copied(run, there / name) for run, name in ((svm_run, "svm"), (gmm_run, "gmm"))]
    done("fuse", *runs, "--out", there / "fused")
    there.rename(here)
    path = of_fold(svm_run, 0).paths[0]
    done("predict", here / "fused", path)
    for name in ("model.skops", "model-digest.json"):
        shutil.copy(here / "svm/fold-1" / name, here / "svm/fold-0" / name)
    assert f"{here}/fused/../svm is not as it was" in refused("predict", here / "fused", path)
    shutil.rmtree(here / "gmm")
    assert "which is not there: put it back, or fuse anew" in refused("predict", here / "fused", path)
