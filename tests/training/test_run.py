"""Runs as a user starts them: train, repeat, stop, resume, evaluate, predict."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from safetensors.torch import load_file
from starting import run
from typer.testing import CliRunner

from parallel_ser.audio import spread as spreading
from parallel_ser.cli import app
from parallel_ser.config import load
from parallel_ser.corpora import synthetic
from parallel_ser.corpora.settings import SyntheticSettings
from parallel_ser.training import batches, checkpoint, data, standing, trainer
from parallel_ser.training.inference import Run
from parallel_ser.training.main import main
from parallel_ser.training.metrics import Metrics
from parallel_ser.training.predictions import Predictions, concatenate

sys.path.insert(0, str(Path(__file__).parent))
from run_ranks import stopping

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TINY = [
    "corpus.synthetic.speakers=6",
    "corpus.synthetic.sentences=1",
    "corpus.synthetic.takes=1",
    "split.folds=2",
    "split.only=[0]",
    "features.n_mels=20",
    "features.hop=0.02",
    "features.window=0.04",
    "train.epochs=3",
    "train.batch=4",
    "train.ema=0.8",
    "train.mixup=0.3",
    "train.keep=last",
    "train.patience=9",
    "train.threads=1",
    "train.device=cpu",
    "run.jobs=1",
]
SINGLE = [*TINY, "strategy.name=single"]
STOP = 6  # steps; the second of the second epoch of four


@dataclass(frozen=True)
class Runs:
    """The folders of the runs below, what the processes printed and how they ended."""

    folder: Path
    printed: dict[str, str]
    statuses: list[int]

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def resume(folder: Path, strategy: str) -> list[str]:
    return ["--config", f"{folder}/config.yaml", f"run.folder={folder}", "run.resume=true", f"strategy.name={strategy}"]


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARALLEL_SER_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


def start(*command: str | Path) -> subprocess.CompletedProcess[str]:
    done = run(command, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def runs(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    printed = {}
    assert main([*SINGLE, f"run.folder={folder}/single"]) == 0
    assert stopping([*SINGLE, f"run.folder={folder}/single-stopped", "--stop", str(STOP)]) == 143
    shutil.copytree(folder / "single-stopped", folder / "single-then-pipeline")
    assert main(resume(folder / "single-stopped", "single")) == 0

    traced = "run.trace=true"
    done = start(BIN / "parallel-ser", "train", "--nproc", "2", *TINY, traced, f"run.folder={folder}/pipeline")
    printed["pipeline"] = done.stdout
    torchrun = (BIN / "torchrun", "--standalone", "--nproc_per_node=2")
    repeat = ["--config", f"{folder}/pipeline/config.yaml", f"run.folder={folder}/pipeline-repeated", "run.trace=false"]
    start(*torchrun, "launch/train.py", *repeat)
    cases = [
        [*SINGLE, f"run.folder={folder}/refused"],
        [*TINY, f"run.folder={folder}/pipeline-stopped", "--stop", str(STOP)],
        [*TINY, f"run.folder={folder}/pipeline-then-single", "--stop", str(STOP)],
        [*resume(folder / "pipeline-stopped", "pipeline"), traced, "--apart"],
        resume(folder / "single-then-pipeline", "pipeline"),
    ]
    status = folder / "status.json"
    done = start(*torchrun, Path(__file__).parent / "run_ranks.py", status, *map(json.dumps, cases))
    printed["cases"], printed["errors"] = done.stdout, done.stderr
    assert main(resume(folder / "pipeline-then-single", "single")) == 0
    return Runs(folder, printed, json.loads(status.read_text()))


def state(folder: Path) -> dict[str, torch.Tensor]:
    """All of the last checkpoint."""
    path = standing.newest(folder / "fold-0/last")
    assert path is not None
    found: dict[str, torch.Tensor] = {}
    for shard in path.glob("*.safetensors"):
        found |= load_file(shard)  # of these strategies each tensor is whole in one file
    return found


def check_same_to_the_bit(one: Path, other: Path) -> None:
    ours, theirs = state(one), state(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert (one / "fold-0/model.pt").read_bytes() == (other / "fold-0/model.pt").read_bytes()
    assert (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()
    assert history(one) == history(other)


def check_close(one: Path, other: Path) -> None:
    ours, theirs = state(one), state(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if not name.startswith("weights"):
            continue
        assert float((value - theirs[name]).norm() / theirs[name].norm().clamp_min(1e-3)) < 1e-4, name
    a, b = (Predictions.from_csv(folder / "predictions.csv").probabilities for folder in (one, other))
    np.testing.assert_allclose(a, b, atol=1e-4)


def history(folder: Path) -> list[dict[str, Any]]:
    rows = json.loads((folder / "fold-0/history.json").read_text())
    return [{name: value for name, value in row.items() if name not in ("seconds", "memory")} for row in rows]


@pytest.mark.parametrize("name", ["single", "pipeline", "pipeline-stopped", "single-then-pipeline"])
def test_a_run_folder_holds_all_that_it_promises(runs: Runs, name: str) -> None:
    folder = runs[name]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    events = {file for file in files if file.startswith("fold-0/tensorboard/")}
    assert events
    whole = {"config.yaml", "environment.json", "metrics.json", "predictions.csv", "confusion.png", "summary.png"}
    whole |= {"recordings.json", "card.md"}  # too few recordings for novelty.npz
    of_fold = {"model.pt", "last/step-12/training.json", "split.csv", "audit.json"}
    of_fold |= {"predictions.csv", "history.json", "curves.png"}
    of_fold |= {"trace.json"} if name in ("pipeline", "pipeline-stopped") else set()
    shards = {file for file in files if file.endswith(".safetensors")}
    assert shards
    assert files - events - shards == whole | {f"fold-0/{file}" for file in of_fold}
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["processes"] == (1 if name.startswith("single") else 2)
    assert environment["threads_per_process"] == 1
    assert [row["epoch"] for row in history(folder)] == [1, 2, 3]


@pytest.mark.parametrize("name", ["single", "pipeline"])
def test_metrics_are_those_of_the_predictions(runs: Runs, name: str) -> None:
    metrics = Metrics.model_validate_json((runs[name] / "metrics.json").read_text())
    with (runs[name] / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert metrics.n == len(rows) == 21
    assert len({row["path"] for row in rows}) == 21
    assert metrics.wa.value == pytest.approx(sum(row["truth"] == row["predicted"] for row in rows) / 21)
    assert metrics.audit is not None
    assert metrics.audit["verdict"]
    assert metrics.audit["verdict"].startswith("No speaker")


def test_the_table_and_the_folder_are_printed(runs: Runs) -> None:
    said = runs.printed["pipeline"]
    assert "UAR" in said
    assert said.rstrip().endswith(f"Run folder: {runs['pipeline']}")


def test_the_settings_of_a_run_repeat_it_to_the_bit(runs: Runs) -> None:
    check_same_to_the_bit(runs["pipeline-repeated"], runs["pipeline"])
    again = runs["single-repeated"]
    assert main(["--config", f"{runs['single']}/config.yaml", f"run.folder={again}"]) == 0
    check_same_to_the_bit(again, runs["single"])


def test_single_and_pipeline_train_the_same_model(runs: Runs) -> None:
    check_close(runs["pipeline"], runs["single"])
    assert not torch.equal(state(runs["single"])["weights.head.linear.bias"], torch.zeros(7))


def test_a_stopped_run_goes_on_to_the_bit(runs: Runs) -> None:
    assert runs.statuses == [2, 143, 143, 0, 0]
    assert "Stopped and saved at epoch 2, step 2 of 4" in runs.printed["cases"]
    check_same_to_the_bit(runs["single-stopped"], runs["single"])
    check_same_to_the_bit(runs["pipeline-stopped"], runs["pipeline"])


def test_a_checkpoint_of_one_strategy_goes_on_under_another(runs: Runs) -> None:
    check_close(runs["single-then-pipeline"], runs["single"])
    check_close(runs["pipeline-then-single"], runs["pipeline"])


def test_a_refusal_among_processes_is_one_sentence_and_leaves_nothing(runs: Runs) -> None:
    errors = [line for line in runs.printed["errors"].splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "strategy.name=single runs in one process, not in 2" in errors[0]
    assert not runs["refused"].exists()


def check_nested(events: list[dict[str, Any]]) -> None:
    """No event begins within another and ends behind it; times are in µs, rounded to ns."""
    open_until: list[float] = []
    for event in sorted(events, key=lambda event: (event["ts"], -event["dur"])):
        while open_until and open_until[-1] <= event["ts"] + 1e-3:
            open_until.pop()
        end = event["ts"] + event["dur"]
        assert not open_until or end <= open_until[-1] + 2e-3, event
        open_until.append(end)


@pytest.mark.parametrize("name", ["pipeline", "pipeline-stopped"])
def test_a_trace_has_what_every_rank_did_on_one_clock(runs: Runs, name: str) -> None:
    content = json.loads((runs[name] / "fold-0/trace.json").read_text())
    tracks = {event["tid"]: event["args"]["name"] for event in content["traceEvents"] if event["name"] == "thread_name"}
    assert tracks == {0: "rank 0", 1: "rank 1"}
    events = [event for event in content["traceEvents"] if event["ph"] == "X"]
    for rank in tracks:
        own = [event for event in events if event["tid"] == rank]
        check_nested(own)
        count = Counter(event["name"] for event in own)
        assert [count[name] for name in ("step", "forward", "backward", "optimizer")] == [3, 12, 12, 3]
        assert {"send", "receive", "broadcast", "all-reduce", "batch", "wait"} <= count.keys()
    named = [
        sorted(e["args"]["messages"] for e in events if e["tid"] == rank and "messages" in e["args"]) for rank in (0, 1)
    ]
    assert named[0] == named[1]
    assert sum(">" in one for one in named[0]) == 3 * 8
    told = re.search(r"within ([0-9.]+) ms", content["otherData"]["clock"])
    wrong = 1 + 2e3 * float(told[1] if told else 0)  # µs
    sums = [[e for e in events if e["tid"] == rank and e["name"] == "all-reduce"] for rank in (0, 1)]
    assert len(sums[0]) == len(sums[1]) == 3
    for one, other in zip(*sums):  # no rank has a sum before the other has come
        assert max(one["ts"], other["ts"]) < min(one["ts"] + one["dur"], other["ts"] + other["dur"]) + wrong
    for row in content["otherData"]["ranks"]:
        parts = [row[part] for part in ("compute", "communication", "bubble", "imbalance")]
        assert sum(parts) == pytest.approx(row["step"], rel=1e-9)
        assert min(parts) >= 0


def test_a_trace_says_how_well_the_clocks_of_machines_agree(runs: Runs) -> None:
    assert json.loads((runs["pipeline"] / "fold-0/trace.json").read_text())["otherData"]["clock"] == "one"
    told = json.loads((runs["pipeline-stopped"] / "fold-0/trace.json").read_text())["otherData"]["clock"]
    assert told.startswith("of several machines, within ")
    assert "Where the time of pipeline 1f1b went (steps 3 to 5, mean, ms)" in runs.printed["pipeline"]
    assert not (runs["pipeline-repeated"] / "fold-0/trace.json").exists()


def test_a_killed_run_goes_on_from_its_last_checkpoint(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    made: list[int] = []
    plain = batches.Training.batch

    def batch(self: batches.Training, *given: Any) -> batches.Batch:
        made.append(1)
        if len(made) == 8:
            raise Killed
        return plain(self, *given)

    folder = runs["killed"]
    with monkeypatch.context() as patch:
        patch.setattr(batches.Training, "batch", batch)
        with pytest.raises(Killed):
            main([*SINGLE, "train.checkpoint_every=3", f"run.folder={folder}"])
    path = standing.newest(folder / "fold-0/last")
    assert path is not None
    progress = json.loads((path / "training.json").read_text())["progress"]
    assert (progress["epoch"], progress["step"]) == (1, 2)
    assert main(resume(folder, "single")) == 0
    check_same_to_the_bit(folder, runs["single"])


@pytest.mark.parametrize(
    ("passes", "where"), [(2, "epoch 2, step 4 of 4"), (4, "the test of fold 0")], ids=["selection", "test"]
)
def test_a_stop_is_heeded_while_nothing_is_trained(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], passes: int, where: str
) -> None:
    made: list[int] = []
    plain = trainer.probabilities

    def passing(*given: Any) -> np.ndarray:
        made.append(1)
        if len(made) == passes:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*given)

    folder = runs[f"stopped-in-pass-{passes}"]
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "probabilities", passing)
        assert main([*SINGLE, f"run.folder={folder}"]) == 143
    assert len(made) == passes
    assert f"Stopped and saved at {where}" in capsys.readouterr().out
    assert main(resume(folder, "single")) == 0
    check_same_to_the_bit(folder, runs["single"])


def test_a_pipeline_of_one_rank_trains_what_single_trains(runs: Runs) -> None:
    folder = runs["pipeline-alone"]
    start(BIN / "torchrun", "--standalone", "--nproc_per_node=1", "launch/train.py", *TINY, f"run.folder={folder}")
    check_close(folder, runs["single"])


def test_files_that_are_left_out_are_counted_beside_the_result(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = synthetic.make(SyntheticSettings(speakers=6, sentences=1, takes=1), None, 1)
    monkeypatch.chdir(tmp_path)
    Path("tess").mkdir()
    names = ("angry", "disgust", "fear", "happy", "ps", "sad", "neutral")
    for place, (speaker, word, name) in enumerate(product(("OAF", "YAF"), ("back", "bar"), names)):
        shutil.copy(corpus.utterances[place].path, f"tess/{speaker}_{word}_{name}.wav")
    shutil.copy(corpus.utterances[0].path, "tess/OAF_back_sulky.wav")
    given = [*SINGLE[3:], "corpus.name=tess", "corpus.root=tess", "train.epochs=1", "run.folder=mine"]
    assert main(given) == 0
    notes = json.loads(Path("mine/metrics.json").read_text())["notes"]
    assert "left out of tess: 1 unparsable name; parallel-ser corpus check lists them" in notes
    assert load(Path("mine/config.yaml"), []).corpus.root == tmp_path / "tess"  # holds from any folder


def test_a_run_in_bf16_is_evaluated_in_bf16(runs: Runs) -> None:
    folder = runs["bf16"]
    assert main([*SINGLE, "train.precision=bf16", "train.epochs=1", f"run.folder={folder}"]) == 0
    run = Run.open(folder)
    again = concatenate(run.test_own(run.config)[0])
    kept = Predictions.from_csv(folder / "predictions.csv")
    np.testing.assert_allclose(again.probabilities, kept.probabilities, atol=1e-6)


def test_going_on_with_a_finished_run_changes_nothing(runs: Runs) -> None:
    kept = {path: path.read_bytes() for path in runs["single"].rglob("*") if path.suffix in (".pt", ".csv", ".json")}
    assert main(resume(runs["single"], "single")) == 0
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_evaluating_a_run_repeats_its_predictions(runs: Runs) -> None:
    for name in ("single", "pipeline"):
        run = Run.open(runs[name])
        again = concatenate(run.test_own(run.config)[0])
        kept = Predictions.from_csv(runs[name] / "predictions.csv")
        assert (again.paths, again.truth, again.classes) == (kept.paths, kept.truth, kept.classes)
        np.testing.assert_allclose(again.probabilities, kept.probabilities, atol=1e-6)
    done = CliRunner().invoke(app, ["evaluate", str(runs["pipeline"]), "--json"])
    assert done.exit_code == 0, done.output
    again_metrics = Metrics.model_validate_json(done.stdout)
    kept_metrics = Metrics.model_validate_json((runs["pipeline"] / "metrics.json").read_text())
    assert again_metrics.confusion == kept_metrics.confusion
    assert again_metrics.audit == kept_metrics.audit


def test_evaluate_refuses_settings_of_the_training(runs: Runs) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(runs["single"]), "train.epochs=9"])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: train.epochs")
    assert len(done.stderr.splitlines()) == 1


def test_predict_prints_each_file_and_one_sentence_for_a_broken_one(runs: Runs, tmp_path: Path) -> None:
    paths = [Path(path) for path in Predictions.from_csv(runs["single"] / "predictions.csv").paths[:2]]
    broken = tmp_path / "broken.wav"
    broken.write_bytes(paths[0].read_bytes()[:5000])
    given = ["predict", str(runs["single"]), str(paths[0]), str(broken), str(paths[1])]
    table = CliRunner().invoke(app, given, env={"COLUMNS": "200"})
    assert table.exit_code == 2
    assert table.stderr.splitlines() == [line for line in table.stderr.splitlines() if line.startswith("error: ")]
    assert len(table.stderr.splitlines()) == 1
    assert "broken.wav is truncated" in table.stderr
    done = CliRunner().invoke(app, [*given, "--json"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(path) for path in paths]
    kept = Predictions.from_csv(runs["single"] / "predictions.csv")
    for place, row in enumerate(rows):
        assert row["confidence"] == pytest.approx(kept.probabilities[place].max(), abs=1e-6)
        assert row["emotion"] == kept.predicted[place]
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert paths[place].name in table.stdout
        assert row["emotion"] in table.stdout


def test_predict_without_a_broken_file_ends_well(runs: Runs) -> None:
    path = Predictions.from_csv(runs["single"] / "predictions.csv").paths[0]
    done = CliRunner().invoke(app, ["predict", str(runs["pipeline"]), path])
    assert done.exit_code == 0
    assert done.stderr == ""


def test_predict_takes_folders_and_writes_answers_and_failures(runs: Runs, tmp_path: Path) -> None:
    path = Predictions.from_csv(runs["single"] / "predictions.csv").paths[0]
    (tmp_path / "in").mkdir()
    shutil.copy(path, tmp_path / "in" / "good.wav")
    (tmp_path / "in" / "=bad.wav").write_bytes(b"RIFF")
    given = ["predict", str(runs["single"]), str(tmp_path / "in"), "--out"]
    for name in ("answers.csv", "answers.json"):
        assert CliRunner().invoke(app, [*given, str(tmp_path / name)]).exit_code == 2
    rows = {Path(row["file"]).name: row for row in csv.DictReader((tmp_path / "answers.csv").open())}
    told = {Path(row["file"]).name: row for row in json.loads((tmp_path / "answers.json").read_text())}
    assert rows.keys() == told.keys() == {"good.wav", "=bad.wav"}
    for name, value in told["good.wav"]["probabilities"].items():
        assert float(rows["good.wav"][f"p.{name}"]) == value
    assert float(rows["good.wav"]["confidence"]) == max(told["good.wav"]["probabilities"].values())
    assert rows["=bad.wav"]["emotion"] == ""
    assert rows["=bad.wav"]["error"] == told["=bad.wav"]["error"]
    wrong = CliRunner().invoke(app, [*given, str(tmp_path / "answers.txt")])
    assert "must end in .csv or .json" in wrong.stderr


def test_predict_says_how_a_recording_differs_from_those_trained_on(runs: Runs, tmp_path: Path) -> None:
    path = Predictions.from_csv(runs["single"] / "predictions.csv").paths[0]
    sound, rate = soundfile.read(path)
    soundfile.write(tmp_path / "telephone.wav", soxr.resample(sound, rate, 8000), 8000)
    done = CliRunner().invoke(app, ["predict", str(runs["single"]), str(tmp_path / "telephone.wav"), "--json"])
    assert done.exit_code == 0
    (note,) = json.loads(done.stdout)["notes"]
    assert re.match(r"has nothing above (3\.\d|4\.0) kHz, where 99 of 100", note)
    assert note in done.stderr


def test_predict_takes_patterns_and_says_a_note_of_many_files_once(runs: Runs, tmp_path: Path) -> None:
    path = Predictions.from_csv(runs["single"] / "predictions.csv").paths[0]
    sound, rate = soundfile.read(path)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / f"{name}.wav", soxr.resample(sound, rate, 8000), 8000)
    (tmp_path / "a/notes.txt").write_text("no sound")
    given = ["predict", str(runs["single"]), str(tmp_path / "**/*.wav"), str(tmp_path / "b/b.wav"), "--json"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert [Path(json.loads(line)["file"]).name for line in done.stdout.splitlines()] == ["a.wav", "b.wav", "c.wav"]
    (note,) = done.stderr.splitlines()
    assert note.startswith(f"note: {tmp_path}/a/a.wav has nothing above")
    assert note.endswith("; it is alike with 2 other files.")
    nothing = CliRunner().invoke(app, ["predict", str(runs["single"]), str(tmp_path / "*.mp3")])
    assert (nothing.exit_code, nothing.stderr.count("\n")) == (2, 1)
    assert "no file fits the pattern" in nothing.stderr


def test_predict_takes_settings_and_refuses_those_of_the_training(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Predictions.from_csv(runs["single"] / "predictions.csv").paths[:5]
    plain = CliRunner().invoke(app, ["predict", str(runs["single"]), *paths, "--json"])
    monkeypatch.setattr(spreading, "FEW", 0)
    monkeypatch.setattr(spreading, "CHUNK", 2)
    spread = CliRunner().invoke(app, ["predict", str(runs["single"]), *paths, "run.jobs=2", "--json"])
    assert spread.exit_code == 0, spread.output
    assert spread.stdout == plain.stdout
    for given, sentence in (
        ("train.epochs=99", "train.epochs belongs to the training of"),
        ("run.job=3", "unknown setting run.job"),
        ("run.jobs=-3", "run.jobs must be at least 0"),
    ):
        refused = CliRunner().invoke(app, ["predict", str(runs["single"]), *paths, given])
        assert refused.exit_code == 2
        assert sentence in refused.stderr
    assert CliRunner().invoke(app, ["predict", str(runs["single"]), "run.jobs=2"]).exit_code == 2


def test_a_run_is_tested_on_a_corpus_of_ones_own(runs: Runs, tmp_path: Path) -> None:
    corpus = synthetic.make(SyntheticSettings(speakers=2, sentences=1, takes=1, seed=9), None, 1)
    lines = ["path,speaker,emotion,sex"]
    spelled = {"anger": "Angry", "joy": "happy"}
    for place, one in enumerate(corpus.utterances):
        shutil.copy(one.path, tmp_path / f"{place}.wav")
        lines.append(f"{place}.wav,me{one.speaker[-1]},{spelled.get(one.emotion, one.emotion)},{one.sex}")
    lines[1] = lines[1].replace(lines[1].split(",")[2], "bored")
    manifest = tmp_path / "tess"
    manifest.write_text("\n".join(lines))
    given = ["evaluate", str(runs["single"]), "--corpus", "manifest", "--root", str(manifest)]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    folder = runs["single"] / "on-manifest"
    metrics = Metrics.model_validate_json((folder / "metrics.json").read_text())
    assert metrics.n == 13  # nobody can recognise an emotion that was never trained
    assert len(metrics.per_speaker) == 2
    assert metrics.audit is not None
    assert metrics.audit["protocol"] == "cross-corpus"
    said = Predictions.from_csv(folder / "predictions.csv")
    run = Run.open(runs["single"])
    features, _ = data.usable(run.config, [replace(corpus, utterances=corpus.utterances[1:])])
    rows = run.probabilities(lambda one: (features, dict.fromkeys(one.folds, range(len(features.utterances)))))
    expected = np.stack([rows[one.path] for one in features.utterances])
    np.testing.assert_allclose(said.probabilities, expected, atol=1e-6)
    shutil.rmtree(folder)


def test_a_run_that_has_no_model_yet_or_is_none_is_refused(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    shutil.copy(runs["single"] / "config.yaml", tmp_path / "begun")
    for folder, said in ((tmp_path / "begun", "no trained model yet"), (tmp_path, "not the folder of a run")):
        done = CliRunner().invoke(app, ["evaluate", str(folder)])
        assert done.exit_code == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_model_that_was_trained_on_what_its_fold_tests_is_refused(runs: Runs, tmp_path: Path) -> None:
    """As the model of another fold is, whose shapes and names are the same."""
    folder = tmp_path / "run"
    shutil.copytree(runs["single"], folder)
    path = folder / "fold-0/model.pt"
    content = checkpoint.load(path)
    tested = sorted(set(Predictions.from_csv(folder / "fold-0/predictions.csv").speakers))
    content["seen"]["train"]["speaker"] = tested[:1]
    checkpoint.save(path, content, content["signature"])
    for asked in (["evaluate", str(folder)], ["evaluate", str(folder), "--robustness"]):
        done = CliRunner().invoke(app, asked)
        assert done.exit_code == 2, done.output
        assert (
            f"is not the model of its fold: its model was trained on speaker {tested[0]} that it tests" in done.stderr
        )


def test_the_stored_settings_are_all_settings(runs: Runs) -> None:
    stored = load(runs["single"] / "config.yaml", [])
    assert stored.train == load(None, SINGLE).train
    assert stored.run.folder is None
    assert not stored.run.resume
    assert not list(runs.folder.rglob("*.part"))
    assert os.environ["PARALLEL_SER_CACHE"]
