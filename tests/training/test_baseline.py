"""Classical runs from the command line: what they leave, that they repeat, predict, and survive a killed worker."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from classical_runs import FOLDS, GIVEN, GMM, SVM, copied, of_fold
from commanding import done, refused, said
from sklearn.metrics import balanced_accuracy_score
from starting import LIMIT

from parallel_ser.audio.extract import Extractor
from parallel_ser.audio.functionals import Functionals
from parallel_ser.classical.recogniser import Recogniser
from parallel_ser.classical.sample import Sample
from parallel_ser.config import load
from parallel_ser.system.digests import read_bytes
from parallel_ser.training import run_folder
from parallel_ser.training.inference import Run
from parallel_ser.training.metrics import Metrics
from parallel_ser.training.predictions import Predictions, concatenate


@pytest.fixture(params=["svm", "gmm"])
def run(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(f"{request.param}_run")
    return found


def test_a_run_folder_holds_all_that_it_promises(run: Path) -> None:
    whole = {"config.yaml", "environment.json", "metrics.json", "predictions.csv", "confusion.png", "summary.png"}
    whole |= {"recordings.json", "novelty.npz", "card.md"}
    of_folds = {"model.skops", "model-digest.json", "split.csv", "audit.json", "search.json", "selection.csv"}
    of_folds |= {"predictions.csv"}
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == whole | {f"fold-{fold}/{name}" for fold in FOLDS for name in of_folds}
    first = (run / "config.yaml").read_text().splitlines()[0]
    assert f"parallel-ser baseline {run.name} --config {run}/config.yaml" in first


def test_metrics_are_those_of_the_predictions(run: Path) -> None:
    metrics = Metrics.model_validate_json((run / "metrics.json").read_text())
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert metrics.n == len(rows) == 28
    assert len({row["path"] for row in rows}) == 28
    expected = balanced_accuracy_score([row["truth"] for row in rows], [row["predicted"] for row in rows])
    assert metrics.uar.value == pytest.approx(expected)
    assert metrics.uar.value > 0.2  # a seventh by chance
    parts = [of_fold(run, fold) for fold in FOLDS]
    assert concatenate(parts).paths == Predictions.from_csv(run / "predictions.csv").paths


def test_copies_are_learned_from_and_leave_a_run_like_any_other(svm_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    output = done("baseline", *SVM, "train.copies=1", "train.speed=0.1", f"run.folder={run}").stdout
    assert "Copies: 1 of each recording" in output
    ours, plain = (Predictions.from_csv(one / "predictions.csv") for one in (run, svm_run))
    assert ours.paths == plain.paths
    assert not np.array_equal(ours.probabilities, plain.probabilities)
    assert json.loads(done("evaluate", run, "--json").stdout) == run_folder.metrics_of(run)
    rows = Recogniser.load(run / "fold-0" / "model.skops").system.kernels_["functionals"].rows_  # type: ignore[attr-defined]
    assert len(rows) == 2 * 70


def test_the_audit_is_part_of_the_result(run: Path) -> None:
    audit = json.loads((run / "metrics.json").read_text())["audit"]
    assert audit["verdict"].startswith("No speaker")
    for fold in FOLDS:
        assert json.loads((run / f"fold-{fold}" / "audit.json").read_text())["verdict"].startswith("No speaker")


def test_what_was_held_out_is_of_training_speakers_each_once(run: Path) -> None:
    for fold in FOLDS:
        held, tested = of_fold(run, fold, "selection.csv"), of_fold(run, fold)
        assert len(held) == len(set(held.paths)) == 70
        assert len(set(held.speakers)) == 5
        assert not set(held.speakers) & set(tested.speakers)
        search = json.loads((run / f"fold-{fold}" / "search.json").read_text())
        best = max(one["uar"] for one in search["tried"])
        uar = balanced_accuracy_score(held.truth_indices, held.predicted_indices)
        assert best == pytest.approx(uar)


def test_how_features_were_standardised_is_said_beside_the_figure(svm_run: Path, gmm_run: Path) -> None:
    notes = [json.loads((folder / "metrics.json").read_text())["notes"] for folder in (svm_run, gmm_run)]
    enrolled = "features were standardised by 5 other unlabelled utterances of each tested speaker, drawn at random"
    assert enrolled in notes[1]
    assert not any("standardised" in note for note in notes[0])


def test_evaluating_a_run_repeats_its_predictions(run: Path) -> None:
    trained = Run.open(run)
    again = concatenate(trained.test_own(trained.config)[0])
    kept = Predictions.from_csv(run / "predictions.csv")
    assert (again.paths, again.truth, again.classes) == (kept.paths, kept.truth, kept.classes)
    np.testing.assert_allclose(again.probabilities, kept.probabilities, atol=1e-9)
    metrics = Metrics.model_validate_json(done("evaluate", run, "--json").stdout)
    assert metrics == Metrics.model_validate_json((run / "metrics.json").read_text())


def test_a_run_is_judged_on_fewer_emotions(svm_run: Path) -> None:
    kept = Predictions.from_csv(svm_run / "predictions.csv")
    options = ("--merge", "neutral=sad", "--merge", "high=joy,anger", "--merge", "neutral=disgust", "--json")
    record = json.loads(done("evaluate", svm_run, *options).stdout)
    names = {"joy": "high", "anger": "high", "sadness": "neutral", "disgust": "neutral"}
    classes = ["high", "neutral", "surprise", "fear"]
    sums = {
        name: sum(kept.probabilities[:, i] for i, own in enumerate(kept.classes) if names.get(own, own) == name)
        for name in classes
    }
    predicted = [max(classes, key=lambda name, row=row: sums[name][row]) for row in range(len(kept))]
    truth = [names.get(one, one) for one in kept.truth]
    assert list(record["classes"]) == classes
    assert record["wa"]["value"] == pytest.approx(np.mean([a == b for a, b in zip(truth, predicted)]))
    assert "sadness and disgust count as neutral, joy and anger count as high" in record["notes"]
    assert "--merge has clam, which is no emotion of the run" in refused("evaluate", svm_run, "--merge", "neutral=clam")
    assert "write the emotion and those that count as it" in refused("evaluate", svm_run, "--merge", "neutral")


def test_each_fold_lists_what_trained_selected_and_tested(svm_run: Path, tmp_path: Path) -> None:
    with (svm_run / "fold-1/split.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    tested = of_fold(svm_run, 1)
    assert [row["path"] for row in rows if row["split"] == "test"] == list(tested.paths)
    speakers = {side: {row["speaker"] for row in rows if row["split"] == side} for side in ("train", "select", "test")}
    assert speakers["test"] == set(tested.speakers)
    assert sum(map(len, speakers.values())) == 6
    audit = json.loads((svm_run / "fold-1/audit.json").read_text())
    assert {side: set(names) for side, names in audit["speakers"].items()} == speakers
    # the list is a split that can be given
    given = ["split.protocol=given", f"split.file={svm_run}/fold-1/split.csv", "split.only=[]", "split.folds=5"]
    done("baseline", *SVM, *given, f"run.folder={tmp_path}/again")
    assert (tmp_path / "again/fold-0/split.csv").read_bytes() == (svm_run / "fold-1/split.csv").read_bytes()


def test_the_settings_of_a_run_repeat_it(svm_run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    printed = done("baseline", "svm", "--config", svm_run / "config.yaml", f"run.folder={again}").stdout
    assert (again / "predictions.csv").read_bytes() == (svm_run / "predictions.csv").read_bytes()
    assert (again / "fold-0/search.json").read_bytes() == (svm_run / "fold-0/search.json").read_bytes()
    assert "UAR" in printed
    assert printed.rstrip().endswith(f"Run folder: {again}")


def test_predict_has_the_class_of_the_highest_mean_probability(svm_run: Path) -> None:
    config = load(svm_run / "config.yaml", [])
    extractor = Extractor(config.audio, config.features)
    functionals = Functionals(extractor.names, config.functionals, config.features.hop)
    models = [Recogniser.load(svm_run / f"fold-{fold}" / "model.skops") for fold in FOLDS]
    paths = of_fold(svm_run, 0).paths[:3]
    rows = [json.loads(line) for line in done("predict", svm_run, *paths, "--json").stdout.splitlines()]
    for path, row in zip(paths, rows, strict=True):
        features = extractor.file(Path(path))
        vector = functionals(features.frames, features.measures).astype(np.float64)[None]
        sample = Sample({"functionals": vector}, np.array(["anyone"]))
        expected = np.mean([model.predict_proba(sample)[0] for model in models], axis=0)
        assert row["emotion"] == models[0].classes[int(expected.argmax())]
        assert row["confidence"] == pytest.approx(expected.max())
        assert row["probabilities"] == pytest.approx(dict(zip(models[0].classes, expected)))


def test_enrolled_recordings_change_the_answer_and_are_not_answered(gmm_run: Path) -> None:
    path, *others = of_fold(gmm_run, 0).paths[:8]
    alone = done("predict", gmm_run, path, "--json")
    assert "note: this run standardises by speaker, so the 1 file(s) were taken as one speaker's" in alone.stderr
    enrolled = [part for other in others for part in ("--enrol", other)]
    helped = done("predict", gmm_run, path, *enrolled, "--json")
    (row,) = [json.loads(line) for line in helped.stdout.splitlines()]
    assert row["file"] == path
    assert row["probabilities"] != json.loads(alone.stdout)["probabilities"]


def test_enrol_is_refused_where_no_speaker_is_standardised(svm_run: Path) -> None:
    path = of_fold(svm_run, 0).paths[0]
    sentence = refused("predict", svm_run, path, "--enrol", path)
    assert sentence.startswith("--enrol is for runs that standardise by speaker")
    assert sentence.endswith("does not: leave it out.")


def test_a_broken_file_stops_no_other(run: Path, tmp_path: Path) -> None:
    path = of_fold(run, 0).paths[0]
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    result = said("predict", run, broken, path, "--json")
    assert result.exit_code == 2
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == [path]
    assert "broken.wav" in result.stderr


def test_a_folder_that_exists_is_refused(svm_run: Path) -> None:
    assert f"{svm_run} exists" in refused("baseline", *SVM, f"run.folder={svm_run}")


def test_going_on_under_other_settings_is_refused(svm_run: Path) -> None:
    sentence = refused("baseline", *SVM, "classical.seed=1", f"run.folder={svm_run}", "run.resume=true")
    assert "classical.seed=0, not 1" in sentence


def test_a_damaged_model_is_refused(svm_run: Path, tmp_path: Path) -> None:
    folder = copied(svm_run, tmp_path / "damaged")
    model = folder / "fold-1" / "model.skops"
    model.write_bytes(model.read_bytes()[:1000])
    assert "fold-1/model.skops is damaged" in refused("evaluate", folder)


def test_mixtures_without_mfcc_are_refused(tmp_path: Path) -> None:
    sentence = refused("baseline", *GMM, "features.streams=[logmel]", f"run.folder={tmp_path / 'run'}")
    assert "classical.mixture.streams has mfcc" in sentence
    assert not (tmp_path / "run").exists()


# --- a killed worker --------------------------------------------------------------------------------------------------

CANDIDATES = 20
SEARCH = ("classical.search.folds=3", "classical.search.keep=[0]", "classical.search.width=[1.0]")
COSTS = f"classical.search.cost={[1 + k / 8 for k in range(CANDIDATES)]}"
MANY = ("svm", *GIVEN, *SEARCH, COSTS)


def processes(session: int) -> dict[int, str]:
    """Processes of a session that run, with their commands."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended
        if int(status[3]) == session and status[0] != "Z":
            found[int(folder.name)] = command
    return found


@contextmanager
def searching(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A run of two workers that has just finished a candidate; whatever is left of it is ended."""
    known = set(folder.glob("search/fold-*/tried-*.scores"))
    command = [Path(sys.executable).parent / "parallel-ser", "baseline", *MANY, "run.jobs=2", f"run.folder={folder}"]
    process = subprocess.Popen(
        [*map(str, command), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PARALLEL_SER_DEBUG": ""},
    )
    try:
        until = time.monotonic() + LIMIT
        while set(folder.glob("search/fold-*/tried-*.scores")) == known:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.005)
        yield process
    finally:
        for pid in processes(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait(timeout=LIMIT)


def check_left_behind(session: int, folder: Path, least: int) -> None:
    """No process, and the candidates that were finished, each whole."""
    until = time.monotonic() + LIMIT
    while left := processes(session):
        assert time.monotonic() < until, left
        time.sleep(0.05)
    kept = list(folder.glob("search/fold-*/tried-*.scores"))
    assert least <= len(kept) < CANDIDATES * len(FOLDS)
    assert all(np.load(BytesIO(read_bytes(path))).shape == (70, 7) for path in kept)


def test_a_run_that_lost_a_worker_and_then_was_ended_goes_on_to_the_same_result(svm_run: Path, tmp_path: Path) -> None:
    folder, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    with searching(folder) as process:
        workers = [pid for pid, command in processes(process.pid).items() if "popen_loky" in command]
        os.kill(workers[0], signal.SIGKILL)
        errors = process.communicate(timeout=LIMIT)[1]
        assert process.returncode == 2, errors
        assert [line for line in errors.splitlines() if not re.fullmatch(r"[a-z]+: \d+%", line)] == [
            "error: a worker process was killed while searching, most likely for want of memory; what was finished is "
            "kept. Go on with run.resume=true and fewer run.jobs."
        ]
        check_left_behind(process.pid, folder, least=1)
    with searching(folder, "run.resume=true") as process:
        process.terminate()
        errors = process.communicate(timeout=LIMIT)[1]
        assert process.returncode == 143, errors
        check_left_behind(process.pid, folder, least=2)
    done("baseline", *MANY, f"run.folder={undisturbed}")
    done("baseline", *MANY, f"run.folder={folder}", "run.resume=true")
    of_folds = [f"fold-{fold}/{name}" for fold in FOLDS for name in ("search.json", "selection.csv", "predictions.csv")]
    for name in ("predictions.csv", *of_folds):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert not (folder / "search").exists()


# --- another corpus ---------------------------------------------------------------------------------------------------


def test_another_corpus_may_have_emotions_that_were_not_trained(svm_run: Path, tmp_path: Path) -> None:
    paths = Predictions.from_csv(svm_run / "predictions.csv").paths
    root = Path(paths[0]).parents[1]
    lines = ["path,speaker,emotion,sex"]
    for path in sorted(root.glob("0[0-3]/*.wav")):
        if (emotion := path.name.partition("-")[0]) in ("joy", "anger", "sadness"):
            lines.append(f"{path},m{path.parent.name},{emotion},female")
    (tmp_path / "three.csv").write_text("\n".join(lines))
    test = "{name: synthetic, synthetic: {speakers: 3, sentences: 1, takes: 1, seed: 5}}"
    given = ["corpus.name=manifest", f"corpus.root={tmp_path / 'three.csv'}", "split.protocol=cross-corpus"]
    (tmp_path / "config.yaml").write_text(f"split:\n  protocol: cross-corpus\n  test: {test}\n")
    few = ("classical.search.folds=2", "classical.search.cost=[1.0]", "classical.search.keep=[0]", "run.jobs=1")
    run = tmp_path / "run"
    done("baseline", "svm", "--config", tmp_path / "config.yaml", *given, *few, f"run.folder={run}")
    tested = Predictions.from_csv(run / "predictions.csv")
    assert tested.classes == ("joy", "anger", "sadness")
    assert len(tested) == 9  # of three emotions of three speakers; the other emotions are left out
    again = json.loads(done("evaluate", run, "--json").stdout)
    assert again == run_folder.metrics_of(run)
