"""Beginning with another run's weights: what fits, what is refused, and that nothing tested was seen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from parallel_ser.corpora.registry import load
from parallel_ser.corpora.settings import CorpusSettings, SyntheticSettings
from parallel_ser.training import checkpoint, standing
from parallel_ser.training.main import main

SMALL = [
    "corpus.synthetic.speakers=6",
    "corpus.synthetic.sentences=1",
    "corpus.synthetic.takes=1",
    "split.folds=2",
    "features.n_mels=20",
    "features.hop=0.02",
    "features.window=0.04",
    "train.epochs=1",
    "train.batch=8",
    "train.threads=1",
    "train.device=cpu",
    "run.jobs=1",
    "strategy.name=single",
]
TINY_RATE = "train.learning_rate=1e-12"  # after one epoch the weights are those that were begun with


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer") / "source"
    assert main([*SMALL, f"run.folder={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Other speakers with three of the emotions, as a corpus of one's own."""
    emotions, folder = ("anger", "joy", "sadness"), tmp_path_factory.mktemp("other")
    settings = SyntheticSettings(speakers=6, sentences=1, takes=1, seed=7)
    said = [one for one in load(CorpusSettings(synthetic=settings)).utterances if one.emotion in emotions]
    rows = ["path,speaker,emotion", *(f"{one.path},other-{one.speaker},{one.emotion}" for one in said)]
    (folder / "own.csv").write_text("\n".join(rows) + "\n")
    return ["corpus.name=manifest", f"corpus.root={folder}/own.csv"]


def weights(model: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load(model)["weights"]
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main([*SMALL, *arguments]) == 2
    return capsys.readouterr().err


def test_each_fold_begins_with_the_model_that_has_not_seen_its_test_side(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main([*SMALL, TINY_RATE, f"model.weights={source}", f"run.folder={folder}"]) == 0
    for fold in ("fold-0", "fold-1"):
        theirs, ours = weights(source / fold / "model.pt"), weights(folder / fold / "model.pt")
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-9)
        record = json.loads((folder / fold / "initial-weights.json").read_text())
        assert record["path"] == str(source / fold / "model.pt")
        assert record["anew"] == []
        tested = {line.split(",")[1] for line in (folder / fold / "predictions.csv").read_text().splitlines()[1:]}
        assert not tested & {*record["seen"]["train"]["speaker"], *record["seen"]["select"]["speaker"]}
    notes = json.loads((folder / "metrics.json").read_text())["notes"]
    assert any("began as those of" in note and str(source) in note for note in notes)


def test_a_model_that_has_seen_what_is_tested_is_refused_and_leaves_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    said = refusal(capsys, "split.only=[0]", f"model.weights={source}/fold-1/model.pt", f"run.folder={folder}")
    assert re.search(r"fold 0 look better than it is.*trained on speaker synthetic-\d+ that it tests", said)
    assert not folder.exists()
    # Another cut of the same speakers: each model was trained on some whom the new fold tests.
    assert "look better" in refusal(capsys, "split.folds=3", f"model.weights={source}", f"run.folder={folder}")


def test_what_a_model_has_seen_goes_on_to_the_next(
    source: Path, other: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run on another corpus that began with the first still knows whom the first was trained on."""
    second = tmp_path / "second"
    begin = [f"model.weights={source}/fold-0/model.pt", "split.only=[0]"]
    assert main([*SMALL, *other, *begin, f"run.folder={second}"]) == 0
    back = [f"model.weights={second}", f"run.folder={tmp_path}/third"]
    assert "trained on speaker synthetic" in refusal(capsys, "split.only=[1]", *back)
    assert main([*SMALL, "split.only=[0]", *back]) == 0


def test_the_last_block_begins_anew_for_other_classes(source: Path, other: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main([*SMALL, *other, TINY_RATE, f"model.weights={source}", f"run.folder={folder}"]) == 0
    theirs, ours = weights(source / "fold-0" / "model.pt"), weights(folder / "fold-0" / "model.pt")
    assert json.loads((folder / "fold-0" / "initial-weights.json").read_text())["anew"] == ["head"]
    for name, value in theirs.items():
        if not name.startswith("head."):
            torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-9)
    assert ours["head.linear.weight"].shape[0] == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["model.size=m"], r"another model: its stem\.\S+ is \["),
        (["features.n_mels=24"], r"trained with features\.n_mels=20, not 24"),
        (["model.weights=nowhere"], r"model\.weights=nowhere must be the folder of a run"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    folder = tmp_path / "run"
    assert re.search(said, refusal(capsys, f"model.weights={source}", *given, f"run.folder={folder}"))
    assert not folder.exists()


def test_a_run_goes_on_without_the_run_that_it_began_with(source: Path, tmp_path: Path) -> None:
    folder, gone = tmp_path / "run", tmp_path / "source"
    gone.symlink_to(source)
    assert main([*SMALL, "split.only=[0]", f"model.weights={gone}", f"run.folder={folder}"]) == 0
    before = weights(folder / "fold-0" / "model.pt")
    (folder / "fold-0" / "predictions.csv").unlink()
    assert standing.newest(folder / "fold-0" / "last")
    gone.unlink()
    assert main(["--config", f"{folder}/config.yaml", f"run.folder={folder}", "run.resume=true"]) == 0
    after = weights(folder / "fold-0" / "model.pt")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_nothing_is_left_of_a_run_that_would_train_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    said = refusal(capsys, "train.freeze=[stem, level, pool, embed, head]", f"run.folder={folder}")
    assert "leaves nothing to train" in said
    assert not folder.exists()


def test_a_part_of_a_protocols_folds_is_said_beside_the_result(source: Path, tmp_path: Path) -> None:
    notes = json.loads((source / "metrics.json").read_text())["notes"]
    assert not any("folds of protocol" in note for note in notes)
    folder = tmp_path / "run"
    assert main([*SMALL, "split.only=[1]", f"run.folder={folder}"]) == 0
    notes = json.loads((folder / "metrics.json").read_text())["notes"]
    assert any(note.startswith("1 of the 2 folds of protocol speaker") for note in notes)
