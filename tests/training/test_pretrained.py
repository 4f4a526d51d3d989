"""Beginning with weights in torchaudio's format: a file, a bundle's place, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torchaudio
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor

from parallel_ser.audio.settings import EncoderSettings
from parallel_ser.config import load
from parallel_ser.corpora.registry import load as load_corpus
from parallel_ser.errors import UserError
from parallel_ser.models.chain import stored
from parallel_ser.models.encoder.weights import from_torchaudio
from parallel_ser.models.registry import build, outline
from parallel_ser.models.settings import ModelSettings
from parallel_ser.training import checkpoint
from parallel_ser.training.baseline import BASE, run
from parallel_ser.training.encoder_view import EncoderExtractor
from parallel_ser.training.main import main

SMALL = [
    "corpus.synthetic.speakers=6",
    "corpus.synthetic.sentences=1",
    "corpus.synthetic.takes=1",
    "split.folds=2",
    "split.only=[0]",
    "model.name=wavlm",
    "model.size=tiny",
    "train.epochs=1",
    "train.threads=1",
    "train.device=cpu",
    "train.learning_rate=1e-12",  # after one epoch the weights are those that were begun with
    "run.jobs=1",
    "strategy.name=single",
]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights as torchaudio's own module of that size has them."""
    torch.manual_seed(3)
    theirs = torchaudio.models.wavlm_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=[(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2],
        extractor_conv_bias=False,
        encoder_embed_dim=32,
        encoder_projection_dropout=0.1,
        encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=4,
        encoder_num_layers=2,
        encoder_num_heads=4,
        encoder_num_buckets=32,
        encoder_max_distance=40,
        encoder_attention_dropout=0.1,
        encoder_ff_interm_features=64,
        encoder_ff_interm_dropout=0.1,
        encoder_dropout=0.1,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.1,
        aux_num_out=None,
    )
    return dict(theirs.state_dict())


def test_a_classical_system_takes_a_frozen_encoder(state: dict[str, Tensor], tmp_path: Path) -> None:
    file, folder = tmp_path / "weights.pth", tmp_path / "run"
    torch.save(state, file)
    asked = ["classical.views=[encoder]", f"classical.encoder.weights={file}", "classical.encoder.size=tiny"]
    few = ["corpus.synthetic.speakers=6", "corpus.synthetic.sentences=1", "corpus.synthetic.takes=1", "split.folds=2"]
    search = ["classical.search.folds=2", "classical.search.cost=[1]", "classical.search.width=[1]", "run.jobs=1"]
    config = load(None, [*asked, *few, *search, f"run.folder={folder}"], BASE)
    run(config, Console(quiet=True))
    assert (folder / "metrics.json").exists()
    extractor = EncoderExtractor(config.audio, config.classical.encoder)
    path = load_corpus(config.corpus).utterances[0].path
    values = extractor.file(path).frames
    chain = build(ModelSettings.model_validate({"name": "wavlm", "size": "tiny"}), 320, 4, seed=9).eval()
    chain.load({**stored(chain), **from_torchaudio(state, chain.signature())})
    x = torch.from_numpy(extractor.waveform.file(path).frames)[None, None]
    with torch.no_grad():
        y = chain.part(0, 8)(x, torch.ones(1), torch.zeros(1, dtype=torch.int64))[0, :, 0]
    assert list(dict(chain.named_children()))[7] == "sum"
    expected = torch.cat([y.mean(1), y.std(1, correction=0)])
    torch.testing.assert_close(torch.from_numpy(values[:, 0]), expected, rtol=1e-5, atol=1e-6)
    first = EncoderExtractor(config.audio, config.classical.encoder.model_copy(update={"layer": 0}))
    assert first.key != extractor.key
    assert not torch.allclose(torch.from_numpy(first.file(path).frames[:, 0]), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs pretrained weights: classical.encoder.weights="),
        ({"weights": "WAVLM_HUGE"}, "neither a file nor a folder of a run nor a bundle"),
    ],
)
def test_a_view_without_weights_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        EncoderExtractor(load(None, []).audio, EncoderSettings.model_validate(given))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main([*SMALL, *arguments]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_run_begins_with_the_weights_of_a_file(suffix: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    file, folder = tmp_path / f"weights.{suffix}", tmp_path / "run"
    (torch.save if suffix == "pth" else save_file)(state, file)
    assert main([*SMALL, f"model.weights={file}", f"run.folder={folder}"]) == 0
    signature = outline(ModelSettings.model_validate({"name": "wavlm", "size": "tiny"}), 320, 7).signature()
    trained = checkpoint.load(folder / "fold-0" / "model.pt")["weights"]
    for name, value in from_torchaudio(state, signature).items():
        torch.testing.assert_close(trained[name], value, rtol=0, atol=1e-9)
    record = json.loads((folder / "fold-0" / "initial-weights.json").read_text())
    assert record["path"] == str(file)
    assert record["anew"] == ["pool", "embed", "head"]
    notes = json.loads((folder / "metrics.json").read_text())["notes"]
    assert any("pretrained elsewhere" in note and str(file) in note for note in notes)


def test_a_bundle_is_looked_for_where_torchaudio_keeps_it(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    said = refusal(capsys, "model.weights=WAVLM_BASE", f"run.folder={tmp_path}/none")
    place = tmp_path / "hub" / "checkpoints" / "wavlm_base.pth"
    assert f"fetch https://download.pytorch.org/torchaudio/models/wavlm_base.pth to {place}" in said
    assert not (tmp_path / "none").exists()
    place.parent.mkdir(parents=True)
    torch.save(state, place)
    assert main([*SMALL, "model.weights=WAVLM_BASE", f"run.folder={tmp_path}/run"]) == 0


def test_what_is_not_such_weights_is_refused(
    state: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(content: object, name: str = "file.pth") -> str:
        torch.save(content, tmp_path / name)
        return refusal(capsys, f"model.weights={tmp_path}/{name}", f"run.folder={tmp_path}/none")

    assert "it cannot be read as tensors" in said({"x": Path("executed")})
    assert "it is no state dict of tensors" in said([1, 2])
    assert "it lacks extractor_1" in said({})
    cut = {name: value[..., :-1] if "output_dense.weight" in name else value for name, value in state.items()}
    assert "output_dense.weight is [32, 63], not [32, 64]" in said(cut)
    assert "does not exist" in refusal(capsys, f"model.weights={tmp_path}/absent.pth")
    assert "those of wavlm are WAVLM_BASE, WAVLM_BASE_PLUS, WAVLM_LARGE" in refusal(capsys, "model.weights=WAVLM_HUGE")
    assert not (tmp_path / "none").exists()
