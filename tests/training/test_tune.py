"""The choice of micro-batches: the fastest that trains the same, kept, and written where a run can be repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from parallel_ser.config import Config, load
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.system.digests import read_json
from parallel_ser.training import tune
from parallel_ser.training.tune import Trial, pick, tuned

HERE = ProcessContext(0, 1, torch.device("cpu"))
SHAPE = (8, 1, 16, 16)


def config(*more: str) -> Config:
    return load(None, ["strategy.name=single", "strategy.microbatches=2", "train.batch=8", "train.tune=auto", *more])


def test_one_that_changes_the_loss_is_never_picked() -> None:
    trials = [Trial(2, 1.0, 2.0), Trial(1, 0.1, 2.001), Trial(4, 0.9, 2.0 + 1e-5), Trial(8, 0.95, 2.0)]
    assert pick(trials, 1e-4).count == 4
    assert pick(trials, 1e-2).count == 1
    assert pick([Trial(2, 1.0, float("nan"))], 1e-4).count == 2


def test_every_count_trains_the_same_and_the_choice_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Trial] = []

    def remember(trials: list[Trial], tolerance: float) -> Trial:
        seen.extend(trials)
        return trials[-1]

    monkeypatch.setattr(tune, "STEPS", 1)
    monkeypatch.setattr(tune, "pick", remember)
    found = tuned(config(), SHAPE, 4, HERE, tmp_path)
    assert [one.count for one in seen] == [2, 1, 4, 8]  # from near the one that was asked for; 16 are more than 8
    assert [one.loss for one in seen] == pytest.approx([seen[0].loss] * 4, rel=1e-4)
    assert found.strategy.microbatches == 8
    assert found.train.tune == "none"
    assert found.model_copy(update={"strategy": config().strategy, "train": config().train}) == config()
    monkeypatch.setattr(tune, "_trials", lambda *_: pytest.fail("measured again"))
    assert tuned(config(), SHAPE, 4, HERE, tmp_path) == found
    (kept,) = (tmp_path / "tune").iterdir()
    assert read_json(kept) == {"microbatches": 8}


def test_another_shape_or_precision_is_measured_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def trials(config: Config, shape: tuple[int, ...], classes: int, ranks: ProcessContext) -> list[Trial]:
        measured.append((shape, config.train.precision))
        return [Trial(1, 1.0, 1.0)]

    monkeypatch.setattr(tune, "_trials", trials)
    for given, shape in ((config(), SHAPE), (config(), (8, 1, 16, 32)), (config("train.precision=bf16"), SHAPE)):
        for _ in range(2):
            tuned(given, shape, 4, HERE, tmp_path)
    assert len(measured) == 3


def test_time_that_is_up_ends_the_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "BUDGET", -1.0)
    monkeypatch.setattr(tune, "STEPS", 1)
    assert tuned(config(), SHAPE, 4, HERE, tmp_path).strategy.microbatches == 2
