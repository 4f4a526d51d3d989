"""What training tells, against what it leaves in the run folder."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from classical_runs import CORPUS
from commanding import done
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from parallel_ser.training.watch import Epoch, Plan, Screen

SMALL = (
    *(*CORPUS, "split.folds=3", "split.only=[0,2]", "run.jobs=1", "features.window=0.04", "features.hop=0.02"),
    *("features.n_mels=20", "train.epochs=2", "train.batch=8", "train.threads=1", "train.device=cpu"),
)


@pytest.fixture(scope="module")
def told(_own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("told") / "run"
    return done("train", *SMALL, f"run.folder={folder}").stdout, folder


def read(path: Path) -> object:
    return json.loads(path.read_text())


def test_it_says_what_is_trained_on_what(told: tuple[str, Path]) -> None:
    text, folder = told
    lines = text.splitlines()
    assert lines[0] == "Corpus: synthetic, 84 utterances of 6 speakers, 7 emotions; protocol speaker, 2 folds"
    weights = np.sum([np.prod(shape) for shape in _shapes(folder)]) / 1e6
    assert lines[1] == f"Model: cnn s, {weights:.2f} M parameters; normalised by train; the best epoch is kept"
    assert lines[2] == "Strategy: single; 1 process of 1 thread on cpu"
    assert lines[3] == f"Run folder: {folder}"


def _shapes(folder: Path) -> list[list[int]]:
    from parallel_ser.training import checkpoint

    return [list(one.shape) for one in checkpoint.load(folder / "fold-0/model.pt")["weights"].values()]


def test_each_fold_says_which_it_is_and_how_its_test_went(told: tuple[str, Path]) -> None:
    text, folder = told
    metrics = read(folder / "metrics.json")
    assert isinstance(metrics, dict)
    for number, (fold, result) in enumerate(zip((0, 2), metrics["per_fold"])):
        assert f"Fold {fold} ({number + 1} of 2): " in text
        assert f"Fold {fold} ({number + 1} of 2) tested: UAR {result['uar']:.3f}, WA {result['wa']:.3f} on " in text


def test_rows_have_throughput_memory_and_the_time_left(told: tuple[str, Path]) -> None:
    text, folder = told
    rows = [line.split() for line in text.splitlines() if re.match(r" +[12]  +\d+\.\d{4} ", line)]
    assert len(rows) == 4
    for fold, own in ((0, rows[:2]), (2, rows[2:])):
        utterances = int(re.search(rf"Fold {fold} .*: (\d+) training", text)[1])  # type: ignore[index]
        history = read(folder / f"fold-{fold}/history.json")
        assert isinstance(history, list)
        for row, kept in zip(own, history):
            assert row[1] == f"{kept['loss']:.4f}"
            assert row[6] == f"{utterances / kept['seconds']:.1f}"
            assert row[7] == f"{kept['memory'] / 2**20:.0f}"
            assert 50 < kept["memory"] / 2**20 < 4000
            assert re.fullmatch(r"\d+:\d\d:\d\d", row[8])
    assert rows[-1][8] == "0:00:00"


def test_tensorboard_has_them_too_and_the_confusion(told: tuple[str, Path]) -> None:
    _, folder = told
    events = EventAccumulator(str(folder / "fold-2/tensorboard"))
    events.Reload()
    history = read(folder / "fold-2/history.json")
    assert isinstance(history, list)
    names = {"select/uar": "select_uar", "select/wa": "select_wa", "train/learning_rate": "lr"}
    for tag, key in names.items():
        assert [event.value for event in events.Scalars(tag)] == pytest.approx([row[key] for row in history])
    memory = [event.value for event in events.Scalars("memory/fullest_process_mib")]
    assert memory == pytest.approx([row["memory"] / 2**20 for row in history])
    assert len(events.Scalars("speed/utterances_s")) == 2
    assert np.mean([event.value for event in events.Scalars("train/loss")][:4]) > 0
    metrics = read(folder / "metrics.json")
    assert isinstance(metrics, dict)
    assert events.Scalars("test/uar")[0].value == pytest.approx(metrics["per_fold"][1]["uar"])
    assert events.Images("test/confusion")[0].encoded_image_string.startswith(b"\x89PNG")


def test_quiet_prints_the_folder_alone(told: tuple[str, Path], tmp_path: Path) -> None:
    result = done("train", "--quiet", *SMALL, "split.only=[0]", "train.epochs=1", f"run.folder={tmp_path}/run")
    assert (result.stdout, result.stderr) == (f"{tmp_path}/run\n", "")


def screen(width: int, folder: Path, kept: list[bool]) -> list[str]:
    out = io.StringIO()
    with Screen(Console(file=out, width=width), "Fold 0 (1 of 3): x", folder, folds_left=2) as watch:
        watch.start(Plan(steps=10, epochs=4, utterances=3200, epoch=0, step=0, history=[]))
        for place, one in enumerate(kept):
            watch.epoch(Epoch(place + 1, 1.23456, 0.5, 0.25, 2e-3, 100.0, 812 * 2**20), one)
    return out.getvalue().splitlines()


def test_the_time_left_counts_this_fold_and_those_after_it(tmp_path: Path) -> None:
    lines = screen(120, tmp_path, [True, False])
    assert lines[2].split()[-2:] == ["0:18:20", "kept"]  # 3 epochs of this fold, 4 of each of two more
    assert lines[3].split()[-1] == "0:16:40"
    assert "32.0" in lines[2]
    assert "812" in lines[2]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_rows_fit_and_lose_no_digit(width: int, tmp_path: Path) -> None:
    lines = screen(width, tmp_path, [True])
    assert max(map(len, lines)) <= width
    assert "1.2346" in lines[2]
    assert "0.500" in lines[2]
    assert len(lines[1].split()) >= 3
