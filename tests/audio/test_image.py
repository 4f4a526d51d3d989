"""Spectrograms as pictures: what is drawn, and what torchvision's own network says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from parallel_ser.audio.image import ImageExtractor, picture
from parallel_ser.audio.settings import AudioSettings, ImageSettings
from parallel_ser.cli import app
from parallel_ser.config import load
from parallel_ser.errors import UserError
from parallel_ser.training.sample import require_views

RATE = 16000
AS_IT_IS = AudioSettings(denoise="off", silence="off")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = pytest.importorskip("torchvision.models")
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(models.resnet18(weights=None).state_dict(), path)
    return path


def tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def test_a_tone_is_a_white_line_at_its_band() -> None:
    for hertz in (500.0, 2000.0):
        image = picture(tone(hertz), RATE)
        assert image.shape == (3, 224, 224)
        grey = image[0] * 0.229 + 0.485
        torch.testing.assert_close(image[2] * 0.225 + 0.406, grey)
        mel = 2595 * np.log10(1 + hertz / 700) / (2595 * np.log10(1 + RATE / 2 / 700))  # HTK's scale, near Slaney's
        assert abs(float(grey.mean(1).argmax()) / 224 - mel) < 0.06
        assert 0.9 < float(grey[:, 50:170].max()) <= 1.01
        assert float(grey.min()) >= -0.01


def test_values_are_what_the_network_has_before_its_classes(weights: Path, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    file = tmp_path / "a.wav"
    soundfile.write(file, tone(700.0), RATE, subtype="FLOAT")
    extractor = ImageExtractor(AS_IT_IS, ImageSettings(network="resnet18", weights=weights))
    network = models.resnet18(weights=None).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    seen: list[torch.Tensor] = []
    network.avgpool.register_forward_hook(lambda module, given, output: seen.append(output.flatten(1)))
    with torch.no_grad():
        network(picture(tone(700.0), RATE)[None])
    values = extractor.file(file).frames[:, 0]
    assert len(extractor.names) == 512
    np.testing.assert_allclose(values, seen[0][0].numpy(), rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"resnet18\.pth are not those of alexnet"):
        ImageExtractor(AS_IT_IS, ImageSettings(network="alexnet", weights=weights))
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="holds no weights alone"):
        ImageExtractor(AS_IT_IS, ImageSettings(network="resnet18", weights=damaged))
    with pytest.raises(UserError, match="views=image needs the weights of alexnet"):
        require_views(load(None, ["classical.views=[image]"]))
    with pytest.raises(UserError, match=r"weights=gone\.pth is not a file"):
        load(None, ["classical.image.weights=gone.pth"])


def test_the_hybrid_runs_and_predicts(weights: Path, tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), ["path,speaker,emotion"]
    for speaker in range(4):
        for emotion, hertz in (("joy", 600), ("anger", 2500)):
            for take in range(2):
                name = f"{speaker}{emotion}{take}.wav"
                soundfile.write(tmp_path / name, tone(hertz) + rng.normal(0, 0.02, RATE // 2), RATE)
                rows.append(f"{name},s{speaker},{emotion}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    given = [f"corpus.root={tmp_path}/list.csv", "split.folds=2", "run.jobs=1", f"run.folder={tmp_path}/run"]
    given += ["classical.image.network=resnet18", f"classical.image.weights={weights}", "classical.search.folds=2"]
    result = CliRunner().invoke(app, ["baseline", "hybrid", *given])
    assert result.exit_code == 0, result.output
    own = load(tmp_path / "run/config.yaml", [])
    assert (own.classical.system, own.classical.views, own.features.streams) == (
        "svm",
        ("functionals", "image"),
        ("mfcc",),
    )
    told = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), str(tmp_path / "0joy0.wav"), "--json"])
    assert told.exit_code == 0, told.output
    assert '"emotion": "joy"' in told.output
