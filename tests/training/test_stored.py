"""What is kept of a tuned encoder, and networks on the features of a frozen one."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from parallel_ser.audio.settings import EncoderSettings
from parallel_ser.cli import app
from parallel_ser.config import load
from parallel_ser.corpora.registry import load as load_corpus
from parallel_ser.errors import UserError
from parallel_ser.models.chain import stored
from parallel_ser.models.encoder.weights import pretrained_names
from parallel_ser.models.registry import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.training import checkpoint, model_file
from parallel_ser.training.encoder_view import EncoderExtractor, EncoderFrames
from parallel_ser.training.inference import Run
from parallel_ser.training.main import main
from parallel_ser.training.predictions import Predictions

sys.path.insert(0, str(Path(__file__).parent))
from run_ranks import stopping

FEW = [
    "corpus.synthetic.speakers=6",
    "corpus.synthetic.sentences=1",
    "corpus.synthetic.takes=1",
    "split.folds=2",
    "split.only=[0]",
    "train.epochs=2",
    "train.threads=1",
    "train.device=cpu",
    "train.keep=last",
    "run.jobs=1",
    "strategy.name=single",
]
LORA = [*FEW, "model.name=wavlm", "model.size=tiny", "model.options.tune=lora", "model.options.rank=2"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights by the names that torchaudio gives them: a chain's, named back."""
    chain = build(ModelSettings.model_validate({"name": "wavlm", "size": "tiny"}), 320, 4, seed=3)
    held = {name: tensor.detach() for name, tensor in stored(chain).items() if name in pretrained_names(stored(chain))}
    path = tmp_path_factory.mktemp("weights") / "wavlm.safetensors"
    save_file({theirs: value.clone() for theirs, value in as_torchaudio(held)}, path)
    return path


def as_torchaudio(held: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Each name as torchaudio has it; see ``models.encoder.weights``."""
    found: list[tuple[str, Tensor]] = []
    for name, value in held.items():
        block, _, last = name.partition(".")
        if block.startswith("extractor"):
            found.append((f"feature_extractor.{last}", value))
        elif block == "projection":
            found.append((f"encoder.feature_projection.{last}", value))
        elif block == "positions":
            place = last.replace("conv.", "pos_conv_embed.conv.", 1) if last.startswith("conv.") else last
            found.append((f"encoder.transformer.{place}", value))
        elif block == "sum":
            found.append((f"encoder.transformer.{last}", value))
        elif ".q_proj." in last:
            kind = last.rpartition(".")[2]
            three = [held[f"{block}.attention.{part}_proj.{kind}"] for part in "qkv"]
            number = int(block.removeprefix("layer_"))
            found.append((f"encoder.transformer.layers.{number}.attention.attention.in_proj_{kind}", torch.cat(three)))
        elif ".k_proj." not in last and ".v_proj." not in last:
            number = int(block.removeprefix("layer_"))
            inner = last.replace("attention.", "attention.attention.", 1) if "out_proj" in last else last
            found.append((f"encoder.transformer.layers.{number}.{inner}", value))
    return found


@pytest.fixture(scope="module")
def run(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of adapters on the weights, and in ``whole`` beside it the same stored whole."""
    folder = tmp_path_factory.mktemp("runs")
    given = [*LORA, f"model.weights={weights}", "train.learning_rate=0.01"]
    assert main([*given, f"run.folder={folder}/small"]) == 0
    assert main([*given, "train.store=whole", f"run.folder={folder}/whole"]) == 0
    return folder / "small"


def kept(run: Path) -> Path:
    return run / "fold-0" / "model.pt"


def test_the_kept_model_has_what_was_trained_alone(run: Path, weights: Path) -> None:
    content = checkpoint.load(kept(run))
    names = set(content["signature"])
    assert set(content["weights"]) == names - pretrained_names(names)
    assert {name for name in content["weights"] if "lora" in name}
    assert content["base"]["weights"] == str(weights)
    assert "base" not in checkpoint.load(kept(run.parent / "whole"))
    whole, completed = (model_file.read(kept(one))["weights"] for one in (run.parent / "whole", run))
    assert completed.keys() == whole.keys() == names
    for name, value in whole.items():
        torch.testing.assert_close(completed[name], value, rtol=0, atol=0)
    ours, theirs = (
        Predictions.from_csv(one / "fold-0/predictions.csv").probabilities for one in (run, run.parent / "whole")
    )
    np.testing.assert_array_equal(ours, theirs)


def test_it_answers_as_the_run_that_trained_it(run: Path, weights: Path) -> None:
    opened = Run.open(run)
    (said,), _, _ = opened.test_own(opened.config)
    np.testing.assert_allclose(said.probabilities, opened.tested()[0].probabilities, atol=1e-6)
    done = CliRunner().invoke(app, ["evaluate", str(run)])
    assert done.exit_code == 0, done.output


def test_without_its_weights_one_sentence_says_what_to_put_back(run: Path, weights: Path, tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    shutil.move(weights, aside)
    try:
        with pytest.raises(UserError, match=r"beside the weights of .*wavlm\.safetensors, which is missing: put that"):
            Run.open(run)
        Run.open(run.parent / "whole")
        save_file({"other": torch.zeros(1)}, weights)
        with pytest.raises(UserError, match="is another file now: put back the one of digest"):
            Run.open(run)
    finally:
        shutil.move(aside, weights)
    Run.open(run)


def test_a_run_goes_on_without_the_file_that_it_began_with(run: Path, weights: Path, tmp_path: Path) -> None:
    given = [*LORA, "train.learning_rate=0.01", f"run.folder={tmp_path}/stopped"]
    copy = tmp_path / "copy.safetensors"
    shutil.copy(weights, copy)
    assert stopping([*given, f"model.weights={copy}", "--stop", "3"]) == 143
    copy.unlink()
    again = ["--config", f"{tmp_path}/stopped/config.yaml", f"run.folder={tmp_path}/stopped", "run.resume=true"]
    assert main(again) == 0
    ours, theirs = (Predictions.from_csv(one / "fold-0/predictions.csv") for one in (tmp_path / "stopped", run))
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-6)
    shutil.copy(weights, copy)
    Run.open(tmp_path / "stopped")


def test_another_run_begins_with_it(run: Path, tmp_path: Path) -> None:
    """Its model has seen all that this fold tests, which is refused; the weights are read before that."""
    settings = load(None, [*LORA, f"model.weights={run}"])
    from parallel_ser.training import data, transfer

    found, folds, _ = data.prepare(settings)
    chain = build(settings.model, 320, len(found.classes), seed=1)
    initial = transfer.initial(settings, chain, found, folds[0])
    assert initial.weights.keys() == chain.signature().keys()


FROZEN = ["features.streams=[encoder]", "features.hop=0.02", "features.encoder.size=tiny", "model.name=conformer"]


def test_a_network_takes_the_frames_of_a_frozen_encoder(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    small = ["model.options.layers=1", "model.options.width=16", "model.options.channels=16", "train.warp=0"]
    given = [*FEW, *FROZEN, *small, f"features.encoder.weights={weights}", f"run.cache={tmp_path}/cache"]
    assert main([*given, f"run.folder={folder}"]) == 0
    config = load(None, given)
    extractor = EncoderFrames(config.audio, config.features.encoder)
    path = load_corpus(config.corpus).utterances[0].path
    frames = extractor.file(path).frames
    assert frames.shape[0] == len(extractor.names) == 32
    # the vector of the view is their mean and deviation
    vector = EncoderExtractor(config.audio, config.features.encoder).file(path).frames[:, 0]
    np.testing.assert_allclose(vector, np.concatenate([frames.mean(1), frames.std(1)]), rtol=1e-4, atol=1e-5)
    entries = list((tmp_path / "cache").rglob("*.features"))
    made = {entry: entry.stat().st_mtime_ns for entry in entries}
    assert len(made) == 42
    opened = Run.open(folder)
    (said,), _, _ = opened.test_own(opened.config)
    np.testing.assert_allclose(said.probabilities, opened.tested()[0].probabilities, atol=1e-6)
    assert {entry: entry.stat().st_mtime_ns for entry in (tmp_path / "cache").rglob("*.features")} == made
    _, rows, problems = opened.recognise([path])
    assert not problems
    assert sum(rows[path]) == pytest.approx(1)


def test_other_weights_than_those_that_made_the_features_are_refused(weights: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    shutil.copy(weights, own)
    folder = tmp_path / "run"
    small = ["model.options.layers=1", "model.options.width=16", "model.options.channels=16", "train.epochs=1"]
    assert main([*FEW, *FROZEN, *small, f"features.encoder.weights={own}", f"run.folder={folder}"]) == 0

    changed = {name: value + 1e-3 for name, value in load_file(own).items()}
    save_file(changed, own)
    with pytest.raises(UserError, match="was trained on features of an encoder whose weights have the digest"):
        Run.open(folder)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["features.hop=0.01"], r"features\.streams=\[encoder\] needs features\.hop=0\.02, not 0\.01"),
        (["features.hop=0.02", "audio.sample_rate=22050"], r"needs audio\.sample_rate=16000, not 22050"),
        (["features.streams=[encoder, logmel]"], "has encoder beside others, and it stands alone"),
    ],
)
def test_settings_that_no_encoder_fits_are_refused(given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load(None, ["features.streams=[encoder]", *given])


def test_without_weights_there_are_no_features() -> None:
    with pytest.raises(UserError, match=r"features\.streams=\[encoder\] needs pretrained weights: features\.encoder"):
        EncoderFrames(load(None, []).audio, EncoderSettings(size="tiny"))


def test_a_run_says_which_weights_it_began_with(run: Path) -> None:
    record = json.loads((run / "fold-0" / "initial-weights.json").read_text())
    assert record["pretrained"] is True
