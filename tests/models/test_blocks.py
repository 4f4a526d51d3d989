"""Blocks and chains against torch's own functions, literal formulas and counting."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from parallel_ser.models.batch import example, tensors
from parallel_ser.models.blocks import AttentiveStatistics, Dropout, MaskedGroupNorm
from parallel_ser.models.chain import Chain, frame_mask, hashed_uniform
from parallel_ser.models.cnn import TIME_STRIDE, build
from parallel_ser.models.plans import count_blocks
from parallel_ser.models.settings import ModelSettings

SIZES = {"s": 0.3e6, "m": 3e6, "l": 30e6, "xl": 120e6}


def settings(size: str = "s", dropout: float = 0.3) -> ModelSettings:
    return ModelSettings.model_validate({"size": size, "dropout": dropout})


def padded(utterances: list[torch.Tensor], frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Utterances ``(channels, rows, n)`` as a batch of ``frames`` frames, and the share that is real."""
    x = torch.stack([functional.pad(one, (0, frames - one.shape[-1])) for one in utterances])
    return x, torch.tensor([one.shape[-1] / frames for one in utterances])


def seeds(count: int, start: int = 0) -> torch.Tensor:
    return torch.arange(start, start + count, dtype=torch.int64)


@pytest.fixture(scope="module")
def small() -> Chain:
    return build(settings(), rows=16, classes=5, seed=1).eval()


def test_group_norm_of_one_whole_utterance_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = MaskedGroupNorm(4, 12)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(12, generator=generator))
        norm.bias.copy_(torch.randn(12, generator=generator))
    x = 3 * torch.randn(2, 12, 5, 7, generator=generator) + 1
    truth = functional.group_norm(x, 4, norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(norm(x, torch.ones(2, 7)), truth, rtol=1e-5, atol=1e-5)


def test_group_norm_under_autocast_sums_in_single_precision() -> None:
    """In bfloat16 a mean of 8 has steps of 1/32, and its square loses a variance of 1."""
    x = torch.randn(2, 12, 5, 7, generator=torch.Generator().manual_seed(0)) + 8
    norm, mask = MaskedGroupNorm(4, 12), torch.ones(2, 7)
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x, mask)
    torch.testing.assert_close(out, functional.group_norm(x, 4), rtol=1e-4, atol=1e-4)


def test_what_a_network_passes_on_in_bfloat16_is_bfloat16_and_what_it_says_is_near(small: Chain) -> None:
    x, valid = padded([torch.randn(1, 16, n, generator=torch.Generator().manual_seed(n)) for n in (32, 24)], 32)
    plain = small(x, valid, seeds(2))
    kinds = []
    with torch.autocast("cpu", torch.bfloat16):
        for block in small:
            x = block(x, valid, seeds(2))
            kinds.append(x.dtype)
    assert set(kinds[:-3]) == {torch.bfloat16}
    assert (x - plain).norm() < 0.05 * plain.norm()


def test_group_norm_of_a_padded_utterance_is_that_of_its_real_frames() -> None:
    x = torch.randn(1, 8, 3, 6, generator=torch.Generator().manual_seed(1))
    norm = MaskedGroupNorm(2, 8)
    mask = torch.tensor([[1.0] * 6 + [0.0] * 4])
    out = norm(functional.pad(x, (0, 4)), mask)
    torch.testing.assert_close(out[..., :6], functional.group_norm(x, 2), rtol=1e-5, atol=1e-5)
    assert (out[..., 6:] == 0).all()


def test_group_norms_gradient_is_that_of_its_values_and_of_torchs() -> None:
    generator = torch.Generator().manual_seed(3)
    norm = MaskedGroupNorm(2, 4).double()
    x = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1.0] * 5, [1.0] * 3 + [0.0] * 2], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, *_: norm(x, mask), (x, norm.weight, norm.bias))
    wanted = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad((norm(x, mask) * wanted).sum(), (x, norm.weight, norm.bias))
    each = [functional.group_norm(x[i : i + 1, :, :, :n], 2, norm.weight, norm.bias) for i, n in ((0, 5), (1, 3))]
    truth = sum((out * wanted[i : i + 1, :, :, : out.shape[-1]]).sum() for i, out in enumerate(each))
    assert isinstance(truth, torch.Tensor)
    for one, other in zip(ours, torch.autograd.grad(truth, (x, norm.weight, norm.bias))):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("frames", [8, 24, 37, 61, 64])
def test_logits_do_not_depend_on_padding_or_companions(small: Chain, frames: int) -> None:
    generator = torch.Generator().manual_seed(frames)
    one = torch.randn(1, 16, frames, generator=generator)
    others = [5 * torch.randn(1, 16, length, generator=generator) for length in (96, 9, 50)]
    own = -(-frames // TIME_STRIDE) * TIME_STRIDE
    with torch.no_grad():
        alone = small(*padded([one], own), seeds(1))
        together = small(*padded([others[0], one, *others[1:]], 96), seeds(4))
        wide = small(*padded([one], 160), seeds(1, 9))
    torch.testing.assert_close(together[1:2], alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(wide, alone, rtol=1e-5, atol=1e-5)


def test_attentive_statistics_are_the_papers_formula() -> None:
    generator = torch.Generator().manual_seed(2)
    pool = AttentiveStatistics(6, 4)
    x = torch.randn(2, 3, 2, 8, generator=generator)
    x[1, :, :, 5:] = 0
    out = pool(x, torch.tensor([1.0, 5 / 8]), seeds(2))
    linear, _, last = pool.requires_grad_(False).score
    for place, real in enumerate((8, 5)):
        vectors = [x[place, :, :, t].reshape(6) for t in range(real)]
        scores = [float(last.weight[0] @ torch.tanh(linear.weight @ h + linear.bias)) for h in vectors]
        total = sum(math.exp(score) for score in scores)
        weights = [math.exp(score) / total for score in scores]
        mean = sum((w * h for w, h in zip(weights, vectors)), torch.zeros(6))
        square = sum((w * h * h for w, h in zip(weights, vectors)), torch.zeros(6))
        deviation = (square - mean * mean).clamp_min(0).sqrt()
        torch.testing.assert_close(out[place, :6], mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(out[place, 6:], deviation, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 12])
def test_dropout_draws_the_same_whatever_the_micro_batches(parts: int) -> None:
    layer = Dropout(0.4, "embed")
    x = torch.ones(12, 50)
    whole = layer(x, seeds(12))
    size = -(-12 // parts)
    cut = [layer(x[start : start + size], seeds(12)[start : start + size]) for start in range(0, 12, size)]
    assert torch.equal(torch.cat(cut), whole)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    out = Dropout(0.3, "head")(torch.ones(200, 500), seeds(200, 77))
    assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=0.006)  # 4 sigma
    assert out[out != 0].unique().tolist() == pytest.approx([1 / 0.7])


def test_dropout_is_another_in_another_layer_or_step_and_none_in_evaluation() -> None:
    x = torch.ones(4, 200)
    layer = Dropout(0.5, "embed")
    assert not torch.equal(layer(x, seeds(4)), layer(x, seeds(4, 100)))
    assert not torch.equal(layer(x, seeds(4)), Dropout(0.5, "head")(x, seeds(4)))
    assert torch.equal(layer.eval()(x, seeds(4)), x)
    assert torch.equal(Dropout(0.0, "embed")(x, seeds(4)), x)


def test_hashed_uniform_looks_uniform_and_independent() -> None:
    rows = hashed_uniform(seeds(300), 5, 1000)
    count = rows.numel()
    assert rows.dtype == torch.float64
    assert 0 <= float(rows.min()) < float(rows.max()) < 1
    assert float(rows.mean()) == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / count))
    assert float(rows.var()) == pytest.approx(1 / 12, abs=4 * math.sqrt(1 / 180 / count))
    bins = torch.histc(rows.float(), 16, 0, 1)
    chi = float(((bins - count / 16) ** 2 / (count / 16)).sum())
    assert chi < 45  # 15 degrees of freedom: exceeded once in 10,000

    def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])

    bound = 4.5 / math.sqrt(count)
    assert abs(correlation(rows[:, 1:], rows[:, :-1])) < bound  # neighbouring places
    assert abs(correlation(rows[1:], rows[:-1])) < bound  # neighbouring seeds
    assert abs(correlation(rows, hashed_uniform(seeds(300), 6, 1000))) < bound  # neighbouring streams


def test_hashed_uniform_is_a_function_of_seed_stream_and_place() -> None:
    big = torch.tensor([0, 1, 2**40 + 7, 2**61 + 12345])
    rows = hashed_uniform(big, 1, 64)
    assert torch.equal(rows, hashed_uniform(big, 1, 64))
    assert torch.equal(rows[:, :10], hashed_uniform(big, 1, 10))
    assert torch.equal(rows[2:3], hashed_uniform(big[2:3], 1, 64))
    assert len({tuple(row) for row in rows.tolist()}) == 4
    assert not torch.equal(rows, hashed_uniform(big, 2, 64))


@pytest.mark.parametrize(
    ("share", "frames", "real"),
    [(1.0, 4, 4), (0.6, 5, 3), (0.25, 4, 1), (0.3, 4, 2), (1 / 96, 12, 1), (1 / 96, 96, 1), (0.5, 3, 2), (7 / 8, 8, 7)],
)
def test_frame_mask_truth_table(share: float, frames: int, real: int) -> None:
    assert frame_mask(torch.tensor([share]), frames).tolist() == [[1.0] * real + [0.0] * (frames - real)]


@given(frames=st.integers(1, 4000).map(lambda n: 8 * n), data=st.data())
def test_frame_mask_at_every_depth_is_exact_division(frames: int, data: st.DataObject) -> None:
    real = data.draw(st.integers(1, frames))
    share = torch.tensor([real / frames])
    for stride in (1, 2, 4, 8):
        assert int(frame_mask(share, frames // stride).sum()) == -(-real // stride)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_have_about_the_parameters_they_promise(size: str) -> None:
    with torch.device("meta"):
        chain = build(settings(size), rows=64, classes=8, seed=0)
    assert sum(p.numel() for p in chain.parameters()) == pytest.approx(SIZES[size], rel=0.2)
    assert len(chain) == count_blocks(settings(size))


def test_the_same_seed_gives_the_same_weights_and_touches_no_global_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (build(settings(), 16, 5, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["stem.conv.weight"], other["stem.conv.weight"])


def test_slices_are_chains_that_keep_names_and_make_the_whole(small: Chain) -> None:
    first, second = small[:3], small[3:]
    assert isinstance(first, Chain)
    names = [name for part in (first, second) for name, _ in part.named_parameters()]
    assert names == [name for name, _ in small.named_parameters()]
    x, valid, seed = torch.randn(2, 1, 16, 32), torch.ones(2), seeds(2)
    with torch.no_grad():
        assert torch.equal(second(first(x, valid, seed), valid, seed), small(x, valid, seed))


@pytest.mark.parametrize("shape", [(2, 1, 16, 32), (3, 1, 16, 72)])
def test_shapes_are_those_of_a_real_forward(small: Chain, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    seen = [tuple(x.shape)]
    with torch.no_grad():
        for block in small:
            x = block(x, torch.ones(shape[0]), seeds(shape[0]))
            seen.append(tuple(x.shape))
    edges = small.edges(example(shape))
    assert [tuple(tensors(edge)[0].shape) for edge in edges] == seen
    assert seen[-1] == (shape[0], 5)


def test_a_skeleton_has_no_memory_and_leaves_the_chain_alone(small: Chain) -> None:
    skeleton = small.skeleton()
    assert all(p.is_meta for p in skeleton.parameters())
    assert not any(p.is_meta for p in small.parameters())
    assert skeleton.signature() == small.signature()
