"""What ``evaluate`` asks of a run; that it computes the right figures is tested with the training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from parallel_ser.cli import app
from parallel_ser.config import Config, dump, load
from parallel_ser.corpora.settings import CorpusSettings
from parallel_ser.errors import UserError
from parallel_ser.training.inference import Run


class AskedError(Exception):
    """Carries what a run was asked for."""


def evaluate(monkeypatch: pytest.MonkeyPatch, folder: Path, trained: Config, *given: str) -> tuple[object, ...]:
    """What the run of these settings is asked for by a command line."""
    (folder / "config.yaml").write_text(dump(trained))

    def asked(*what: object) -> None:
        raise AskedError(*what)

    run = SimpleNamespace(
        config=trained,
        settings_file=folder / "config.yaml",
        folds=(),
        classes=("anger", "neutral"),
        test_own=asked,
        test_other=asked,
    )
    monkeypatch.setattr(Run, "open", lambda _: run)
    done = CliRunner().invoke(app, ["evaluate", str(folder), *given])
    if isinstance(done.exception, AskedError):
        return done.exception.args
    raise UserError(done.output)


@pytest.mark.parametrize("labels", ["own", "seven", "four"])
def test_another_corpus_is_read_under_its_own_labels(
    labels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = load(None, ["corpus.name=iemocap", "corpus.root=/corpora/iemocap", f"corpus.labels={labels}"])
    asked = evaluate(monkeypatch, tmp_path, trained, "--corpus", "tess", "--root", "/corpora/tess")
    assert asked == (trained, CorpusSettings(name="tess", root=Path("/corpora/tess"), labels="own"))


def test_only_what_says_where_things_lie_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = ["split.protocol=cross-corpus", "split.test.name=tess", "split.test.root=/old/tess"]
    trained = load(None, ["corpus.name=ravdess", "corpus.root=/old/ravdess", *tested])
    moved = ["corpus.root=/new/ravdess", "split.test.root=/new/tess"]
    (config,) = evaluate(monkeypatch, tmp_path, trained, *moved)
    assert isinstance(config, Config)
    assert config.split.test is not None
    assert (config.corpus.root, config.split.test.root) == (Path("/new/ravdess"), Path("/new/tess"))
    with pytest.raises(UserError, match=r"train\.epochs belongs to the training"):
        evaluate(monkeypatch, tmp_path, trained, "train.epochs=1")


def test_what_is_said_of_another_corpus_chooses_in_that_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = load(None, ["corpus.name=ravdess", "corpus.root=/corpora/ravdess"])
    chosen = ["corpus.where.sex=[female]", "corpus.emotions=[angry, sad]"]
    config, other = evaluate(
        monkeypatch, tmp_path, trained, "--corpus", "tess", "--root", "/tess", "corpus.root=/ravdess", *chosen
    )
    assert isinstance(config, Config)
    assert config.corpus == trained.corpus.model_copy(update={"root": Path("/ravdess")})
    assert other == CorpusSettings(
        name="tess", root=Path("/tess"), where={"sex": ("female",)}, emotions=("angry", "sad")
    )
    with pytest.raises(UserError, match=r"corpus\.emotions belongs to the training"):
        evaluate(monkeypatch, tmp_path, trained, *chosen)
