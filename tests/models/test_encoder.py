"""The speech encoders against torchaudio's own modules, on random weights in torchaudio's format."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
from torch import Tensor, nn

from parallel_ser.config import dump, load
from parallel_ser.errors import UserError
from parallel_ser.models.chain import call, stored
from parallel_ser.models.encoder.attention import position_buckets
from parallel_ser.models.encoder.blocks import PositionalConv
from parallel_ser.models.encoder.extractor import TimeNormGELU
from parallel_ser.models.encoder.plans import HUBERT, KERNELS, STRIDES, WAV2VEC2, WAVLM, Plan
from parallel_ser.models.encoder.tuning import LoRALinear
from parallel_ser.models.encoder.weights import from_torchaudio
from parallel_ser.models.registry import build, count_blocks, outline
from parallel_ser.models.settings import ModelSettings

PLANS = {"wav2vec2": WAV2VEC2, "hubert": HUBERT, "wavlm": WAVLM}
LENGTHS, FRAMES = (20, 33, 7), 40
SEED = torch.zeros(len(LENGTHS), dtype=torch.int64)
FACTORIES = {
    ("wav2vec2", "base"): "wav2vec2_base",
    ("wav2vec2", "large"): "wav2vec2_large",
    ("wav2vec2", "large_lv60k"): "wav2vec2_large_lv60k",
    ("wav2vec2", "xlsr_300m"): "wav2vec2_xlsr_300m",
    ("wav2vec2", "xlsr_1b"): "wav2vec2_xlsr_1b",
    ("wav2vec2", "xlsr_2b"): "wav2vec2_xlsr_2b",
    ("hubert", "base"): "hubert_base",
    ("hubert", "large"): "hubert_large",
    ("hubert", "xlarge"): "hubert_xlarge",
    ("wavlm", "base"): "wavlm_base",
    ("wavlm", "large"): "wavlm_large",
}


def settings(name: str, size: str) -> ModelSettings:
    return ModelSettings.model_validate({"name": name, "size": size})


def arguments(plan: Plan) -> dict[str, Any]:
    given: dict[str, Any] = {
        "extractor_mode": "layer_norm" if plan.layer_norm else "group_norm",
        "extractor_conv_layer_config": [(plan.channels, *pair) for pair in zip(KERNELS, STRIDES)],
        "extractor_conv_bias": plan.conv_bias,
        "encoder_embed_dim": plan.width,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": plan.kernel,
        "encoder_pos_conv_groups": plan.groups,
        "encoder_num_layers": plan.layers,
        "encoder_num_heads": plan.heads,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": plan.hidden,
        "encoder_ff_interm_dropout": 0.1,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": plan.norm_first,
        "encoder_layer_drop": 0.1,
        "aux_num_out": 5,
    }
    if plan.buckets:
        given |= {"encoder_num_buckets": plan.buckets, "encoder_max_distance": plan.distance}
    return given


def torchaudios(plan: Plan) -> nn.Module:
    make = torchaudio.models.wavlm_model if plan.buckets else torchaudio.models.wav2vec2_model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model: nn.Module = make(**arguments(plan))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def waveforms() -> Tensor:
    """``(utterances, 1, 320, frames)``, zero where padded."""
    x = torch.zeros(len(LENGTHS), 1, 320, FRAMES)
    generator = torch.Generator().manual_seed(6)
    for row, length in enumerate(LENGTHS):
        x[row, 0, :, :length] = 0.1 * torch.randn(320, length, generator=generator)
    return x


def alone(x: Tensor, row: int, plan: Plan) -> Tensor:
    """An utterance ``(1, samples)`` as torchaudio's bundles give it to their model, and the 80 zeros behind it."""
    signal = x[row, 0, :, : LENGTHS[row]].T.reshape(1, -1)
    if plan.layer_norm:
        signal = nn.functional.layer_norm(signal, signal.shape)
    return nn.functional.pad(signal, (0, 80))


@pytest.mark.parametrize("name", sorted(PLANS))
def test_in_a_padded_batch_every_layer_is_torchaudios_of_the_utterance_alone(name: str) -> None:
    plan = PLANS[name]["tiny"]
    theirs = torchaudios(plan)
    chain = build(settings(name, "tiny"), 320, 4, seed=1).eval()
    chain.load({**stored(chain), **from_torchaudio(theirs.state_dict(), chain.signature())})
    generator = torch.Generator().manual_seed(7)
    for name_, parameter in chain.named_parameters():
        if name_.endswith("share"):
            parameter.data.copy_(torch.randn(1, generator=generator))
    shares = torch.cat([p.data for n, p in chain.named_parameters() if n.endswith("share")]).softmax(0)
    beside = {"valid": torch.tensor(LENGTHS) / FRAMES, "seed": SEED}
    layers, x = [], waveforms()
    y: Any = x
    with torch.no_grad():
        for block_name, block in chain.named_children():
            y = call(block, y, beside)
            if block_name == "positions" or block_name.startswith("layer_"):
                layers.append(y[0])
            if block_name == "sum":
                break
        for row, length in enumerate(LENGTHS):
            signal = alone(x, row, plan)
            features, _ = theirs.feature_extractor(signal, None)
            hidden, _ = theirs.encoder._preprocess(features)
            first = theirs.encoder.transformer._preprocess(hidden)
            expected = [first, *theirs.extract_features(signal)[0]]
            assert len(expected) == len(layers) == plan.layers + 1
            for ours, other in zip(layers, expected):
                torch.testing.assert_close(ours[row, :, 0, :length].T, other[0], rtol=1e-5, atol=1e-5)
            if plan.norm_first:
                expected[-1] = theirs.encoder.transformer.layer_norm(expected[-1])
            mean = sum(share * one[0] for share, one in zip(shares, expected))
            torch.testing.assert_close(y[row, :, 0, :length].T, mean, rtol=1e-5, atol=1e-5)


def test_where_torchaudio_leaves_padding_out_the_padded_batch_is_its_own() -> None:
    """Its base models count padding in their first normalisation, and its WavLM takes no lengths."""
    plan = HUBERT["tiny"]
    theirs = torchaudios(plan)
    chain = build(settings("hubert", "tiny"), 320, 4, seed=1).eval()
    chain.load({**stored(chain), **from_torchaudio(theirs.state_dict(), chain.signature())})
    x = waveforms()
    signals = torch.zeros(len(LENGTHS), 320 * FRAMES + 80)
    for row, length in enumerate(LENGTHS):
        signals[row, : 320 * length + 80] = alone(x, row, plan)
    lengths = torch.tensor([320 * length + 80 for length in LENGTHS])
    y: Any = x
    with torch.no_grad():
        expected, counts = theirs.extract_features(signals, lengths)
        for name, block in chain.named_children():
            y = call(block, y, {"valid": torch.tensor(LENGTHS) / FRAMES, "seed": SEED})
            if name == "layer_01":
                break
    assert counts.tolist() == list(LENGTHS)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(y[0][row, :, 0, :length].T, expected[-1][row, :length], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "size"), sorted(FACTORIES))
def test_every_size_is_that_of_torchaudios_factory(name: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {*PLANS[name]} == {"tiny", *(one for model, one in FACTORIES if model == name)}
    for maker in ("wav2vec2_model", "wavlm_model"):
        monkeypatch.setattr(torchaudio.models.wav2vec2.model, maker, lambda **given: given)
    theirs = getattr(torchaudio.models, FACTORIES[name, size])()
    ours = arguments(PLANS[name][size])
    shapes = [(512, *pair) for pair in zip(KERNELS, STRIDES)]
    assert theirs["extractor_conv_layer_config"] in (None, shapes)  # none means these
    for key in ours.keys() - {"extractor_conv_layer_config", "aux_num_out"}:
        if "drop" not in key:
            assert theirs[key] == ours[key], key
    assert ("encoder_num_buckets" in theirs) == ("encoder_num_buckets" in ours)


def test_older_names_and_wrapped_models_load_and_others_are_refused() -> None:
    theirs = torchaudios(WAV2VEC2["tiny"]).state_dict()
    signature = outline(settings("wav2vec2", "tiny"), 320, 4).signature()
    whole = from_torchaudio(theirs, signature)
    start = "encoder.transformer.pos_conv_embed.conv."
    older = {
        name.replace(f"{start}parametrizations.weight.original0", f"{start}weight_g").replace(
            f"{start}parametrizations.weight.original1", f"{start}weight_v"
        ): value
        for name, value in theirs.items()
    }
    wrapped = {f"wav2vec2.{name}": value for name, value in older.items()} | {"logit_generator.x": torch.zeros(1)}
    for state in (older, wrapped):
        again = from_torchaudio(state, signature)
        assert again.keys() == whole.keys()
        assert all(torch.equal(again[name], value) for name, value in whole.items())
    last = {name: value for name, value in theirs.items() if "layers.1.final" not in name}
    with pytest.raises(ValueError, match=r"it lacks layer_01.final_layer_norm.bias and 1 more"):
        from_torchaudio(last, signature)
    with pytest.raises(ValueError, match=r"it holds layer_00\.attention\.gru_rel_pos_const"):
        from_torchaudio(torchaudios(WAVLM["tiny"]).state_dict(), signature)


def test_the_gradient_of_the_normalisation_over_time_and_gelu_is_autograds() -> None:
    """Where all frames count, torch's GroupNorm is the same; where not, its formula written in operations of torch."""
    generator = torch.Generator().manual_seed(8)
    x = torch.randn(2, 4, 9, generator=generator, dtype=torch.float64).requires_grad_()
    counted = (torch.arange(9) < torch.tensor([[9], [5]])).double()
    norm = TimeNormGELU(4).double()
    nn.init.normal_(norm.weight, generator=generator)
    torch.autograd.gradcheck(lambda x, w, b: norm(x, counted), (x, norm.weight, norm.bias))
    for place, frames in ((0, 9), (1, 5)):
        real = x[place : place + 1, :, :frames]
        theirs = nn.functional.gelu(nn.functional.group_norm(real, 4, norm.weight, norm.bias))
        torch.testing.assert_close(norm(x, counted)[place : place + 1, :, :frames], theirs)


def test_the_normalisation_over_time_sums_in_single_precision_under_autocast() -> None:
    """Far from zero: sums in bfloat16, which has eight bits, would lose the deviation beside the mean."""
    generator = torch.Generator().manual_seed(5)
    x = (10 + torch.randn(2, 4, 200, generator=generator)).bfloat16().requires_grad_()
    norm, counted = TimeNormGELU(4), torch.ones(2, 200)
    nn.init.normal_(norm.weight, generator=generator)
    above = torch.randn(2, 4, 200, generator=generator).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x, counted)
    got = torch.autograd.grad(y, (x, norm.weight, norm.bias), above)
    exact = x.detach().double().requires_grad_()
    precise = copy.deepcopy(norm).double()
    z = nn.functional.gelu(nn.functional.group_norm(exact, 4, precise.weight, precise.bias, precise.eps))
    wanted = torch.autograd.grad(z, (exact, precise.weight, precise.bias), above.double())
    assert y.dtype == torch.bfloat16
    for ours, theirs in ((y, z), *zip(got, wanted, strict=True)):
        assert (ours.double() - theirs).norm() < 0.01 * theirs.norm()


def test_the_gradient_of_the_positional_convolution_is_autograds() -> None:
    generator = torch.Generator().manual_seed(9)
    conv = PositionalConv(dataclasses.replace(WAVLM["tiny"], width=4, groups=2, kernel=4)).double()
    x = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    inputs = (x, conv.weight_v, conv.weight_g, conv.bias)
    torch.autograd.gradcheck(lambda x, v, g, b: conv(x), inputs)
    split = copy.deepcopy(conv)
    split.split_weight_grad = True
    for frozen in inputs:  # what nobody asks for is not computed, and the rest is the same
        rest = [place for place, one in enumerate(inputs) if one is not frozen]
        frozen.requires_grad_(requires_grad=False)
        ours = torch.autograd.grad(conv(x).square().sum(), [inputs[place] for place in rest])
        frozen.requires_grad_()
        theirs = torch.autograd.grad(split(x).square().sum(), (x, split.weight_v, split.weight_g, split.bias))
        torch.testing.assert_close(ours, tuple(theirs[place] for place in rest))
    weight = torch.nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 4, 4, padding=2, groups=2).double(), dim=2)
    originals = {"original0": conv.weight_g, "original1": conv.weight_v}
    weight.load_state_dict({"bias": conv.bias} | {f"parametrizations.weight.{k}": v for k, v in originals.items()})
    torch.testing.assert_close(conv(x), weight(x)[..., :5])


def test_positions_fall_into_torchaudios_buckets() -> None:
    attention = torchaudio.models.wav2vec2.wavlm_attention.WavLMSelfAttention(8, 2, 0.0, True, True, 320, 800)
    places = torch.arange(1500)
    theirs = attention._relative_positions_bucket(places[None, :] - places[:, None])
    assert torch.equal(position_buckets(1500, 1500, 0, 320, 800, torch.device("cpu")), theirs)
    assert torch.equal(position_buckets(700, 1500, 800, 320, 800, torch.device("cpu")), theirs[800:])


def test_a_model_has_defaults_of_its_own_for_other_settings(tmp_path: Path) -> None:
    config = load(None, ["model.name=wavlm", "train.batch=4"])
    assert (config.model.size, config.features.streams, config.train.normalise) == ("base", ("waveform",), "none")
    assert (config.train.batch, config.features.hop, config.train.learning_rate) == (4, 0.02, 1e-4)
    written = tmp_path / "config.yaml"
    written.write_text(dump(config))
    assert load(written, []) == config


def test_an_encoder_may_have_another_number_of_layers() -> None:
    model = ModelSettings.model_validate({"name": "hubert", "size": "tiny", "options": {"layers": 5}})
    chain = outline(model, 320, 4)
    assert len(chain) == count_blocks(model)
    assert [name for name, _ in chain.named_children() if name.startswith("layer_")][-1] == "layer_04"


def trained(**options: object) -> set[str]:
    given = {"name": "wavlm", "size": "tiny", "options": options}
    chain = build(ModelSettings.model_validate(given), 320, 4, seed=1)
    blocks = {"pool", "embed", "head"}
    return {n for n, p in chain.named_parameters() if p.requires_grad and n.partition(".")[0] not in blocks}


def test_what_is_trained_of_an_encoder() -> None:
    shares = {"positions.share", "layer_00.share", "layer_01.share"}
    whole, top, adapters = trained(), trained(tune="top", top=1), trained(tune="lora", rank=2)
    assert {name.partition(".")[0] for name in whole} >= {"extractor_1", "projection", "layer_00"}
    assert {name for name in top if not name.startswith("layer_01.")} == shares - {"layer_01.share"}
    assert len(top) > 10
    parts = [f"{proj}.lora_{half}" for proj in ("q_proj", "v_proj") for half in "ab"]
    assert adapters == shares | {f"layer_0{layer}.attention.{part}" for layer in (0, 1) for part in parts}
    assert trained(tune="frozen") == shares


def test_adapters_begin_as_nothing_and_merge_into_the_weights() -> None:
    plain = nn.Linear(6, 5)
    adapted = LoRALinear(plain, rank=2, alpha=8)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(adapted(x), plain(x))
    nn.init.normal_(adapted.lora_b, generator=torch.Generator().manual_seed(10))
    expected = x @ (plain.weight + 8 / 2 * adapted.lora_b @ adapted.lora_a).T + plain.bias
    torch.testing.assert_close(adapted(x), expected)
    torch.testing.assert_close(nn.functional.linear(x, adapted.merged(), plain.bias), expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["model.name=wavlm", "features.streams=[logmel]"], r"takes features.streams=\[waveform\], not \['logmel'\]"),
        (["features.streams=[waveform]"], "is what hubert, wav2vec2, wavlm take, not model.name=cnn"),
        (["model.name=hubert", "train.normalise=train"], "needs train.normalise=none, not normalise=train"),
        (["model.name=hubert", "features.hop=0.01"], "needs features.hop=0.02, not hop=0.01"),
        (["features.streams=[waveform,logmel]"], "it stands alone"),
        (["model.name=wavlm", "model.options={tune: some}"], "tune=some must be one of whole, top, lora, frozen"),
        (
            ["train.noise=5"],
            "train.noise changes the sound, of which model.name=cnn sees features alone: with train.copies=3",
        ),
        (
            ["model.name=wavlm", "train.copies=2"],
            "train.copies is for features of frames, and model.name=wavlm takes the wav",
        ),
        (
            [f"model.file={__file__}", "train.gain=3"],
            "train.gain changes the sound, of which model.file=.*.py sees features alone: with train.copies=3",
        ),
        (
            [f"model.file={__file__}", "features.streams=[waveform]", "train.band=3000"],
            "train.band is for features of frames, and model.file=.*.py takes the waveform, which train.noise",
        ),
        (["model.name=hubert", "train.speed=0.1"], "train.speed is for features of frames, .*train.warp .its speed"),
        (["train.speed=0.1"], "train.speed changes the sound, of which model.name=cnn sees features alone"),
        (
            [f"model.file={__file__}", "features.streams=[encoder]", "audio.sample_rate=8000", "features.f_max=4000"],
            r"features.streams=\[encoder\] needs audio.sample_rate=16000, not 8000",
        ),
        (["train.copies=2", "train.band=9000"], "train.band=9000 is above half of audio.sample_rate=16000"),
    ],
)
def test_other_inputs_are_refused(given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load(None, given)
