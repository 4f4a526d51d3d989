"""A model of a user's file: trained, recognised with, and refused where it has changed or is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from parallel_ser.cli import app
from parallel_ser.training.main import main

MODEL = '''
from collections import OrderedDict
import torch
from torch import nn


class Means(nn.Module):
    """The mean of an utterance's real frames; padding is zero."""

    def __init__(self, rows, width):
        super().__init__()
        self.layer = nn.Linear(rows, width)

    def forward(self, x, valid):
        return self.layer(x[:, 0].sum(2) / (valid[:, None] * x.shape[3])).relu()


def build(rows, classes, width=8):
    return nn.Sequential(OrderedDict(means=Means(rows, width), head=nn.Linear(width, classes)))
'''
TINY = ["corpus.synthetic.speakers=6", "corpus.synthetic.sentences=1", "corpus.synthetic.takes=1", "split.folds=2"]
TINY += ["split.only=[0]", "features.n_mels=20", "train.epochs=2", "train.batch=8", "train.threads=1", "run.jobs=1"]
TINY += ["strategy.name=single", "model.options.width=16"]


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 2
    return " ".join(done.stderr.split())


def test_it_trains_recognises_and_is_held_to_its_code(tmp_path: Path) -> None:
    file, folder = tmp_path / "mine.py", tmp_path / "run"
    file.write_text(MODEL)
    assert main([*TINY, f"model.file={file}", f"run.folder={folder}"]) == 0
    done = CliRunner().invoke(app, ["evaluate", str(folder)])
    assert done.exit_code == 0, done.output
    file.write_text(MODEL + "# changed\n")
    assert "has changed since these settings were written" in refused("evaluate", str(folder))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def build(rows, classes):\n    return 3\n", "gives int, and no nn.Sequential of blocks"),
        ("build = 3\n", "has no build(rows, classes, **options)"),
        ("import nothing_of_that_name\n", "cannot be run: ModuleNotFoundError"),
        ("def build(rows):\n    return 3\n", "build of model.file="),
    ],
)
def test_what_is_no_model_is_refused_in_a_sentence(tmp_path: Path, code: str, said: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(code)
    assert said in refused("train", *TINY[:-1], f"model.file={file}", f"run.folder={tmp_path}/run")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused("train", f"model.file={tmp_path}/none.py")
