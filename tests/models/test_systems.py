"""The models of the literature: their layers against torch's and torchaudio's, and what every model must keep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional
from torchaudio.models.conformer import ConformerLayer as ReferenceConformer

from parallel_ser.models.attention import Attention
from parallel_ser.models.blocks import Residual
from parallel_ser.models.conformer import ConformerLayer
from parallel_ser.models.frames import LSTM, EncoderLayer, FramePooling
from parallel_ser.models.registry import build, count_blocks, count_parts, models
from parallel_ser.models.settings import ModelSettings

WIDTH, HEADS = 12, 3
LENGTHS = (9, 5, 7)
SEEDS = torch.zeros(3, dtype=torch.int64)


def settings(name: str, **options: object) -> ModelSettings:
    size = {"size": "tiny"} if "tiny" in models()[name].sizes else {}
    return ModelSettings.model_validate({"name": name, "options": options, "dropout": 0.3, **size})


@pytest.fixture
def speech() -> tuple[torch.Tensor, torch.Tensor]:
    """Frames ``(batch, frames, width)``, zero where padded, and the share of real ones."""
    x = torch.randn(3, 10, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for row, length in enumerate(LENGTHS):
        x[row, length:] = 0.0
    return x, torch.tensor(LENGTHS) / 10


def image(frames: torch.Tensor) -> torch.Tensor:
    return frames.transpose(1, 2).unsqueeze(2)


def real(y: torch.Tensor) -> Iterator[torch.Tensor]:
    """Each utterance's real frames ``(frames, width)``."""
    frames = y.squeeze(2).transpose(1, 2)
    for row, length in enumerate(LENGTHS):
        assert not frames[row, length:].any()
        yield frames[row, :length]


def randomise(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        zero = torch.zeros_like(ours.query.bias)
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, zero, ours.value.bias]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def test_an_encoder_layer_is_torchs(speech: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, valid = speech
    ours = EncoderLayer(WIDTH, HEADS, 20, 0.0, "layer").double().eval()
    theirs = nn.TransformerEncoderLayer(WIDTH, HEADS, 20, 0.0, batch_first=True).double().train()
    randomise(ours)
    copy_attention(ours.attention, theirs.self_attn)
    for name, module in (("linear1", ours.up), ("linear2", ours.down), ("norm1", ours.norm1), ("norm2", ours.norm2)):
        getattr(theirs, name).load_state_dict(module.state_dict())
    for row, (y, length) in enumerate(zip(real(ours(image(x), valid, SEEDS)), LENGTHS, strict=True)):
        torch.testing.assert_close(y, theirs(x[row : row + 1, :length])[0])


@pytest.mark.parametrize("stride", [1, 2])
def test_a_residual_block_of_one_row_is_a_convolution_along_time(
    speech: tuple[torch.Tensor, torch.Tensor], stride: int
) -> None:
    x, valid = speech
    ours = Residual(WIDTH, WIDTH, 3, (1, stride), rows=1).double()
    randomise(ours)

    def along(module: nn.Conv2d, y: torch.Tensor) -> torch.Tensor:
        width = module.kernel_size[1]
        return functional.conv1d(y, module.weight[:, :, 0], None, module.stride[1], width // 2)

    for row, (y, length) in enumerate(zip(ours(image(x), valid, SEEDS), LENGTHS, strict=True)):
        one = x[row : row + 1, :length].transpose(1, 2)
        inner = functional.group_norm(along(ours.conv1, one), 3, ours.norm1.weight, ours.norm1.bias).relu()
        last = functional.group_norm(along(ours.conv2, inner), 3, ours.norm2.weight, ours.norm2.bias)
        truth = (last + (one if ours.shortcut is None else along(ours.shortcut, one))).relu()
        torch.testing.assert_close(y[:, 0, : truth.shape[-1]], truth[0])


def test_a_conformer_layer_is_torchaudios(speech: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Which has one group in its normalisation, as ours has with one head."""
    x, valid = speech
    ours = ConformerLayer(WIDTH, 1, 5, 0.0, "layer").double().eval()
    theirs = ReferenceConformer(WIDTH, 4 * WIDTH, 1, 5, use_group_norm=True).double().eval()
    randomise(ours)
    copy_attention(ours.attention, theirs.self_attn)
    theirs.self_attn_layer_norm.load_state_dict(ours.norm.state_dict())
    theirs.final_layer_norm.load_state_dict(ours.last.state_dict())
    for mine, other in ((ours.first, theirs.ffn1), (ours.second, theirs.ffn2)):
        for place, part in ((0, mine.norm), (1, mine.up), (4, mine.down)):
            other.sequential[place].load_state_dict(part.state_dict())
    mine, other = ours.convolution, theirs.conv_module
    other.layer_norm.load_state_dict(mine.norm.state_dict())
    with torch.no_grad():
        other.sequential[0].weight.copy_(torch.cat([mine.value.weight, mine.gate.weight]).unsqueeze(2))
        other.sequential[0].bias.copy_(torch.cat([mine.value.bias, mine.gate.bias]))
        other.sequential[2].weight.copy_(mine.depthwise.weight.squeeze(2))
        other.sequential[2].bias.zero_()
        other.sequential[5].weight.copy_(mine.out.weight.unsqueeze(2))
        other.sequential[5].bias.copy_(mine.out.bias)
    other.sequential[3].load_state_dict(mine.group_norm.state_dict())
    for row, (y, length) in enumerate(zip(real(ours(image(x), valid, SEEDS)), LENGTHS, strict=True)):
        torch.testing.assert_close(y, theirs(x[row, :length].unsqueeze(1), None)[:, 0])


def test_an_lstm_layer_is_torchs_on_real_frames(speech: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, valid = speech
    ours = LSTM(WIDTH, 8, 0.5, "layer").double().eval()
    for row, (y, length) in enumerate(zip(real(ours(image(x), valid, SEEDS)), LENGTHS, strict=True)):
        torch.testing.assert_close(y, ours.lstm(x[row : row + 1, :length])[0][0])


@pytest.mark.parametrize("kind", ["mean", "last"])
def test_pooling_takes_real_frames_alone(speech: tuple[torch.Tensor, torch.Tensor], kind: str) -> None:
    x, valid = speech
    pooled = FramePooling(kind)(image(x), valid, SEEDS)
    for row, length in enumerate(LENGTHS):
        own = x[row, :length]
        torch.testing.assert_close(pooled[row], own[-1] if kind == "last" else own.mean(0))


@pytest.mark.parametrize("name", sorted(models()))
def test_every_model_keeps_what_its_description_says(name: str) -> None:
    model = settings(name)
    rows = models()[name].waveform or 20
    chain = build(model, rows, classes=5, seed=3).eval()
    assert len(chain) == count_blocks(model)
    assert count_parts(model) >= 1
    again = build(model, rows, classes=5, seed=3).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in chain.state_dict().items())
    x = torch.randn(2, 1, rows, 64, generator=torch.Generator().manual_seed(4))
    x[1, ..., 41:] = 0.0
    with torch.no_grad():
        logits = chain(x, torch.tensor([1.0, 41 / 64]), SEEDS[:2])
        wide = torch.nn.functional.pad(x, (0, 32))
        later = chain(wide, torch.tensor([64 / 96, 41 / 96]), SEEDS[:2])
    assert logits.shape == (2, 5)
    torch.testing.assert_close(logits, later, rtol=1e-4, atol=1e-5)  # padding changes nothing


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "conformer", "options": {"depth": 3}}, r"options\.depth is none of model\.name=conformer.*layers=4"),
        ({"name": "conformer", "options": {"layers": 0}}, "a whole number from 1"),
        ({"name": "conformer", "options": {"layers": 2.5}}, "a whole number from 1"),
        (
            {"name": "conformer", "options": {"channels": 8}},
            "channels=8 are fewer channels than 16, of which",
        ),
        ({"name": "resnet1d", "options": {"width": 36}}, "width=36 does not divide into groups=8"),
        ({"name": "conformer", "options": {"kernel": 4}}, "kernel=4 must be odd"),
        ({"name": "lstm_transformer", "options": {"heads": 5}}, "width=128 does not divide into heads=5"),
        ({"name": "mfcc_lstm", "options": {"pooling": "median"}}, "pooling must be mean or last"),
        ({"name": "mfcc_lstm", "size": "m"}, r"model\.size belongs to model\.name=cnn"),
        ({"name": "cnn", "options": {"layers": 3}}, "its options are none"),
        ({"name": "cnn", "size": "base"}, "model.size must be one of s, m, l, xl of model.name=cnn"),
        ({"name": "wavlm", "size": "xlarge"}, "model.size must be one of base, large, tiny of model.name=wavlm"),
        ({"name": "hubert", "options": {"hidden": 100}}, "hidden=100 must be a multiple of 16"),
        ({"name": "hubert", "attention": 2}, r"model\.attention belongs to model\.name=cnn"),
    ],
)
def test_options_that_a_model_does_not_have_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ModelSettings.model_validate(given)
