"""A run's folder that is renamed or removed while it trains."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from classical_runs import SVM
from commanding import done, refused

from parallel_ser.training import baseline, trainer
from parallel_ser.training.main import main

sys.path.insert(0, str(Path(__file__).parent))
from test_run import SINGLE


@pytest.mark.parametrize("how", ["renamed", "removed", "another"])
def test_a_folder_that_goes_during_training_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    folder, moved = tmp_path / "run", tmp_path / "moved"
    plain = trainer.Trainer._finish_epoch

    def finish(self: trainer.Trainer, *given: Any) -> None:
        if self.progress.epoch == 1:
            _gone(folder, moved, how)
        plain(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_finish_epoch", finish)
        assert main([*SINGLE, "train.checkpoint_every=3", f"run.folder={folder}"]) == 2
    assert f"the folder {folder} has been renamed or removed meanwhile" in capsys.readouterr().err
    assert not folder.exists() or not list(folder.iterdir())
    if how == "renamed":
        moved.rename(folder)
        assert main([*SINGLE, "train.checkpoint_every=3", f"run.folder={folder}", "run.resume=true"]) == 0


def test_nor_by_a_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, moved = tmp_path / "run", tmp_path / "moved"
    plain = baseline.search

    def search(*given: Any) -> Any:
        found = plain(*given)
        _gone(folder, moved, "renamed")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(baseline, "search", search)
        assert "has been renamed or removed meanwhile" in refused("baseline", *SVM, f"run.folder={folder}")
    assert not folder.exists()
    moved.rename(folder)
    done("baseline", *SVM, f"run.folder={folder}", "run.resume=true")


def _gone(folder: Path, moved: Path, how: str) -> None:
    shutil.rmtree(folder) if how == "removed" else folder.rename(moved)
    if how == "another":
        folder.mkdir()
