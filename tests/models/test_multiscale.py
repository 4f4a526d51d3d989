"""MSCNN, SPU and the attention between audio and text: against their formulas and the paper's counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from parallel_ser.models.multiscale import AudioStatistics, CrossAttention, MultiScale, TextStatistics, statistics
from parallel_ser.models.registry import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.compatibility import behaviours

FILTERS, LENGTHS = 6, (9, 4, 1)


def padded(width: int) -> tuple[Tensor, Tensor]:
    """Sequences ``(batch, places, width)`` with other numbers than zero in padding, and the mask."""
    x = torch.randn(3, 10, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, (torch.arange(10) < torch.tensor(LENGTHS)[:, None]).double()


@pytest.mark.parametrize("kernels", [(5, 7, 9, 11), (2, 3, 4, 5)])
def test_convolutions_are_torchs_same_ones(kernels: tuple[int, ...]) -> None:
    x, mask = padded(7)
    ours = MultiScale(7, FILTERS, kernels).double()
    y = ours(x, mask)
    assert y.shape == (3, 10, 4, FILTERS)
    for number, kernel in enumerate(kernels):
        theirs = nn.Conv1d(7, FILTERS, kernel, padding="same").double()
        theirs.load_state_dict(ours.convs[number].state_dict())
        for row, length in enumerate(LENGTHS):
            expected = theirs(x[row : row + 1, :length].transpose(1, 2))[0].T.relu()
            torch.testing.assert_close(y[row, :length, number], expected)
            assert not y[row, length:].any()


def test_statistics_are_those_of_real_places() -> None:
    x, mask = padded(8)
    y = x.relu().unflatten(2, (4, 2)) * mask[:, :, None, None]
    found = statistics(y, mask)
    for row, length in enumerate(LENGTHS):
        own = y[row, :length]
        expected = [own.mean(0), own.amax(0), (own.var(0, correction=0) + 1e-6).sqrt()]
        torch.testing.assert_close(found[row], torch.stack(expected))


def test_swem_is_the_mean_and_maximum_of_real_words() -> None:
    vectors, mask = padded(5)
    block = TextStatistics(5, FILTERS, swem=True, keep=False).double()
    joined = block((torch.zeros(3, 2, dtype=torch.float64), vectors), mask.long())
    for row, length in enumerate(LENGTHS):
        own = vectors[row, :length]
        torch.testing.assert_close(joined[row, -10:], torch.cat([own.mean(0), own.amax(0)]))


@pytest.mark.parametrize("pairs", ["all", "equal"])
def test_attention_is_the_papers_formula(pairs: str) -> None:
    audio = torch.randn(3, 3 * 4 * FILTERS + 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    y, mask = padded(4 * FILTERS)
    answers = CrossAttention(FILTERS, pairs)((audio, y), mask.long())[:, audio.shape[1] :]
    for row, length in enumerate(LENGTHS):
        expected = []
        for statistic in range(3):
            for i in range(4):
                for j in range(4) if pairs == "all" else [i]:
                    start = (4 * statistic + i) * FILTERS
                    asks = audio[row, start : start + FILTERS]
                    h = y[row, :length, j * FILTERS : (j + 1) * FILTERS]
                    expected.append((h @ asks).softmax(0) @ h)
        torch.testing.assert_close(answers[row], torch.cat(expected))


def weights(module: nn.Module) -> tuple[int, int]:
    """Of convolutions, and their biases."""
    convs = [one for one in module.modules() if isinstance(one, nn.Conv1d)]
    return sum(one.weight.numel() for one in convs), sum(one.bias.numel() for one in convs if one.bias is not None)


def test_counts_are_the_papers() -> None:
    chain = build(ModelSettings.model_validate({"name": "mscnn_spu_att"}), rows=96, classes=4, seed=0)
    parts = dict(chain.named_children())
    assert weights(parts["audio"]) == (393_216, 512)
    assert weights(parts["text"]) == (537_600, 512)
    x, valid = torch.randn(2, 1, 96, 12), torch.ones(2)
    assert parts["audio"](x, valid).shape == (2, 1536)
    assert AudioStatistics(96, 128, xvector=True)(x, valid).shape == (2, 1536 + 512)
    words = torch.randn(2, 5, 300)
    plain = TextStatistics(300, 128, swem=False, keep=False)
    assert plain((torch.zeros(2, 0), words), torch.ones(2, 5).long()).shape == (2, 1536)
    assert TextStatistics(300, 128, True, False)((torch.zeros(2, 0), words), torch.ones(2, 5).long()).shape == (2, 2136)
    with torch.no_grad():
        out = torch.zeros(2, 3072), torch.zeros(2, 5, 512)
    assert CrossAttention(128, "all")(out, torch.ones(2, 5).long()).shape == (2, 3072 + 6144)
    assert CrossAttention(128, "equal")(out, torch.ones(2, 5).long()).shape == (2, 3072 + 1536)


def test_a_table_of_words_has_no_split_backward_pass(tmp_path: Path) -> None:
    """Its gradient does not come through the block's input, so zero-bubble schedules lose it: refused."""
    chain = build(ModelSettings.model_validate({"name": "mscnn_spu_att"}), rows=16, classes=4, seed=0)
    found = {name: one.split for name, one in behaviours(chain, (4, 1, 16, 32), tmp_path).items()}
    assert found.pop("words") == "it gives other gradients of table.weight"
    assert not any(found.values())
