"""Checkpoints come back whole, or are refused in a sentence; nothing in one is ever executed."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parallel_ser.config import load
from parallel_ser.corpora.base import Utterance
from parallel_ser.errors import UserError
from parallel_ser.models.cnn import build
from parallel_ser.models.registry import Beside
from parallel_ser.models.settings import ModelSettings
from parallel_ser.system.digests import seal
from parallel_ser.training import checkpoint, model_file
from parallel_ser.training.batches import Views
from parallel_ser.training.data import Dataset
from parallel_ser.training.extras import Extras
from parallel_ser.training.normalise import Normaliser
from parallel_ser.training.preprocessor import Preprocessor

SPEAKER = Utterance(Path("a.wav"), "", "s", "unknown", "")
NONE = Extras(Beside())
SEEN = {side: {unit: ["a"] for unit in ("recording", "speaker", "text")} for side in ("train", "select")}
SIGNATURE = {"a.weight": [3, 2], "b.bias": [4]}


def content() -> dict[str, Any]:
    weights = {"a.weight": torch.randn(3, 2), "b.bias": torch.randn(4).double()}
    return {"weights": weights, "progress": {"losses": [0.1, 1 / 3], "best": -1.0, "name": "é", "none": None}}


def write_sealed(path: Path, content: object) -> None:
    """As ``checkpoint.save`` would, whatever the content."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    seal(buffer)
    path.write_bytes(buffer.getvalue())


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    saved = content()
    path = tmp_path / "deep" / "last.pt"
    checkpoint.save(path, saved, SIGNATURE)
    found = checkpoint.load(path)
    checkpoint.fits(path, found, SIGNATURE)
    assert found["progress"] == saved["progress"]
    for name, value in saved["weights"].items():
        assert torch.equal(found["weights"][name], value)
        assert found["weights"][name].dtype == value.dtype
    assert [one.name for one in path.parent.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, content(), SIGNATURE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "is damaged" in refused(path)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    rng = np.random.default_rng(0)
    wrong = [b"hello", b"PK\x03\x04 not a zip", *(rng.bytes(int(size)) for size in rng.integers(1, 400, 300))]
    for data in wrong:
        path.write_bytes(data)
        refused(path)


@pytest.mark.parametrize("other", [[1, 2], {"weights": {}}, {"format": 99}, torch.zeros(2), "text"])
def test_another_programs_file_is_refused(tmp_path: Path, other: object) -> None:
    path = tmp_path / "other.pt"
    write_sealed(path, other)
    assert "format" in refused(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.pt")
    refused(tmp_path)


class Bomb:
    """Unpickling it would make the file it names."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_executed(tmp_path: Path, zipped: bool) -> None:
    path, target = tmp_path / "last.pt", tmp_path / "executed"
    bomb = {"format": checkpoint.FORMAT, "signature": {}, "bomb": Bomb(target)}
    if zipped:
        write_sealed(path, bomb)
    else:
        path.write_bytes(pickle.dumps(bomb))
    refused(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        ({"a.weight": [3, 2]}, "has no b.bias"),
        ({"a.weight": [3, 5], "b.bias": [4]}, r"a\.weight is \[3, 5\], not \[3, 2\]"),
        ({**SIGNATURE, "c.weight": [1]}, r"c\.weight is not in the model"),
    ],
)
def test_another_model_is_refused_by_the_parameter(tmp_path: Path, theirs: dict[str, list[int]], named: str) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, content(), theirs)
    with pytest.raises(UserError, match=named):
        checkpoint.fits(path, checkpoint.load(path), SIGNATURE)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    saved = content()
    checkpoint.save(path, saved, SIGNATURE)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        checkpoint.save(path, content(), SIGNATURE)
    assert [one.name for one in tmp_path.iterdir()] == ["last.pt"]
    assert torch.equal(checkpoint.load(path)["weights"]["a.weight"], saved["weights"]["a.weight"])


def test_a_model_file_holds_all_that_recognising_needs(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = [rng.standard_normal((16, count)).astype(np.float32) for count in (40, 9, 70)]
    settings = ModelSettings(size="s")
    chain = build(settings, rows=16, classes=3, seed=4)
    normaliser = Normaliser.fit("train", frames)
    path = tmp_path / "model.pt"
    model_file.save(
        path, chain.signature(), chain.state_dict(), ("joy", "fear", "calm"), Preprocessor(normaliser, NONE), SEEN
    )
    model = model_file.load(path, load(None, []), Views(1, 0.0, 0))
    assert model.classes == ("joy", "fear", "calm")
    data = Dataset((SPEAKER,) * 3, model.classes, (), frames, [""] * 3, measures=[{}] * 3, fingerprints=[b""] * 3)
    alone = [model.probabilities(data.take([place]))[0] for place in range(3)]
    np.testing.assert_allclose(model.probabilities(data), alone, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        one = torch.from_numpy((frames[0] - normaliser.mean) / normaliser.deviation)[None, None]
        truth = chain.eval()(one, torch.ones(1), torch.zeros(1, dtype=torch.int64)).softmax(1)
    np.testing.assert_allclose(alone[0], truth[0].numpy(), rtol=1e-4)


def test_a_checkpoint_is_no_model_and_another_size_does_not_fit(tmp_path: Path) -> None:
    settings = ModelSettings(size="s")
    chain = build(settings, rows=16, classes=3, seed=4)
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"state": {}}, chain.signature())
    with pytest.raises(UserError, match=r"holds no model.*model\.pt"):
        model_file.load(path, load(None, []), Views(1, 0.0, 0))
    normaliser = Normaliser("none", np.zeros((16, 1), np.float32), np.ones((16, 1), np.float32))
    model_file.save(path, chain.signature(), chain.state_dict(), ("a", "b", "c"), Preprocessor(normaliser, NONE), SEEN)
    with pytest.raises(UserError, match=r"another model: its stem\.conv\.weight is"):
        model_file.load(path, load(None, ["model.size=m"]), Views(1, 0.0, 0))
