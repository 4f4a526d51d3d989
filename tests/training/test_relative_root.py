"""A corpus whose root was typed as a relative path, with one recording under two speakers: every command goes on."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from commanding import done

from parallel_ser.corpora.registry import load
from parallel_ser.corpora.settings import CorpusSettings, SyntheticSettings

SMALL = [
    "corpus.root=rec/own.csv",
    "corpus.name=manifest",
    "split.folds=2",
    "features.n_mels=20",
    "features.hop=0.02",
    "features.window=0.04",
    "run.jobs=1",
]
NETWORK = ["train.epochs=1", "train.batch=8", "train.threads=1", "train.device=cpu", "strategy.name=single"]
SVM = [f"classical.search.{name}" for name in ("folds=2", "cost=[1.0]", "width=[1.0]", "keep=[0]")]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six speakers with three emotions; one recording of the first is there as one of every other speaker too."""
    said = load(CorpusSettings(synthetic=SyntheticSettings(speakers=6, sentences=1, takes=1, seed=3))).utterances
    rec = tmp_path / "rec"
    rec.mkdir()
    rows = ["path,speaker,emotion"]
    chosen = [one for one in said if one.emotion in ("anger", "joy", "sadness")]
    doubled = chosen[0]
    for number, one in enumerate(chosen):
        shutil.copy(one.path, rec / f"{number}.wav")
        rows.append(f"{number}.wav,{one.speaker},{one.emotion}")
    for number, speaker in enumerate(sorted({one.speaker for one in chosen} - {doubled.speaker})):
        shutil.copy(doubled.path, rec / f"again-{number}.wav")
        rows.append(f"again-{number}.wav,{speaker},sadness")
    (rec / "own.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_on_it_are_evaluated_calibrated_and_fused_from_any_folder(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("train", *SMALL, *NETWORK, "run.folder=net")
    quiet = done("baseline", "svm", *SMALL, *SVM, "run.folder=svm", "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("svm\n", "")
    with (corpus / "net/predictions.csv").open(newline="") as file:
        assert {Path(row["path"]).parent for row in csv.DictReader(file)} == {corpus / "rec"}
    assert "THE SAME RECORDING" in " ".join(done("evaluate", "net").stdout.split())
    (corpus / "elsewhere").mkdir()
    monkeypatch.chdir(corpus / "elsewhere")
    done("calibrate", "../net", "--even-if-worse")
    done("fuse", "../net", "../svm", "--out", "fused", "--method", "stack")
