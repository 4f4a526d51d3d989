"""Convolutions of several sizes over a sequence, what is taken of them over time, and attention between two of them.

After Peng, Lu, Pan & Liu 2021 (ICASSP, doi 10.1109/ICASSP39728.2021.9414286), whose MSCNN, SPU and attention these are.
Words go beside the activations: ``text`` ``(batch, words)`` int64, 0 where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from parallel_ser.models.blocks import frames_of
from parallel_ser.models.chain import Block

AUDIO_KERNELS, TEXT_KERNELS = (5, 7, 9, 11), (2, 3, 4, 5)
STATISTICS = 3
WORDS = 128
"""Of an utterance at the most, as in the paper."""
XVECTOR = 512
"""Values of a speaker embedding (Snyder et al. 2018)."""


class MultiScale(nn.Module):
    """Convolutions of several sizes, each over all features: ``(batch, places, features)`` to
    ``(batch, places, kernels, filters)``, zero in padding.

    An even kernel has the more places behind its own. What is padding counts as zero.
    """

    def __init__(self, features: int, filters: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.kernels = tuple(kernels)
        self.convs = nn.ModuleList(nn.Conv1d(features, filters, kernel) for kernel in kernels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``mask``: ``(batch, places)``, 1 where it is no padding."""
        mask = mask.to(x.dtype)
        x = (x * mask[:, :, None]).transpose(1, 2)
        y = [
            conv(nn.functional.pad(x, ((size - 1) // 2, size // 2)))
            for conv, size in zip(self.convs, self.kernels, strict=True)
        ]
        return torch.stack(y, 1).relu().permute(0, 3, 1, 2) * mask[:, :, None, None]


def statistics(y: Tensor, mask: Tensor) -> Tensor:
    """Mean, maximum and deviation of what ``MultiScale`` gives: ``(batch, 3, kernels, filters)`` (the SPU)."""
    weight = (mask / mask.sum(1, keepdim=True).clamp_min(1.0)).to(y.dtype)[:, :, None, None]
    mean = (weight * y).sum(1)
    variance = (weight * (y - mean[:, None]).square()).sum(1)
    return torch.stack([mean, y.amax(1), (variance + 1e-6).sqrt()], 1)  # behind a rectifier padding is no maximum


class AudioStatistics(Block):
    """``MultiScale`` over frames and its statistics: ``(batch, channels, rows, frames)`` to ``(batch, values)``.

    ``xvector`` ``(batch, 512)`` comes behind them where the block is made to take one.
    """

    def __init__(self, features: int, filters: int, xvector: bool) -> None:
        super().__init__()
        self.scales = MultiScale(features, filters, AUDIO_KERNELS)
        self.xvector = xvector

    def forward(self, x: Tensor, valid: Tensor, xvector: Tensor | None = None) -> Tensor:
        """See the class; without ``xvector`` it is zero."""
        frames, mask = frames_of(x, valid)
        y = statistics(self.scales(frames, mask), mask).flatten(1)
        if not self.xvector:
            return y
        beside = y.new_zeros(len(y), XVECTOR) if xvector is None else xvector.to(y.dtype)
        return torch.cat([y, beside], 1)


def words_of(text: Tensor | None, like: Tensor) -> Tensor:
    """``text``, or of batches that are only measured or counted, which have none, ``WORDS`` unknown words each."""
    return torch.ones(len(like), WORDS, dtype=torch.int64, device=like.device) if text is None else text


class WordVectors(Block):
    """Vectors of the words: ``(batch, audio)`` to the same and ``(batch, words, width)``."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary + 2, width, padding_idx=0)

    def forward(self, x: Tensor, text: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """See the class."""
        return x, self.table(words_of(text, x)).to(x.dtype)


class TextStatistics(Block):
    """``MultiScale`` over words and its statistics, behind the audio's.

    ``(batch, audio)`` and ``(batch, words, width)`` to ``(batch, values)``; with ``keep`` also the audio's statistics
    and the text's convolutions, for ``CrossAttention``.

    Args:
        swem: the mean and the maximum of the words' vectors come behind the statistics (Shen et al. 2018).
    """

    def __init__(self, width: int, filters: int, swem: bool, keep: bool) -> None:
        super().__init__()
        self.scales = MultiScale(width, filters, TEXT_KERNELS)
        self.swem, self.keep = swem, keep

    def forward(  # type: ignore[override]
        self, x: tuple[Tensor, Tensor], text: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """See the class."""
        audio, vectors = x
        mask = (words_of(text, audio) != 0).to(audio.dtype)
        y = self.scales(vectors, mask)
        parts = [audio, statistics(y, mask).flatten(1)]
        if self.swem:
            count = mask.sum(1, keepdim=True).clamp_min(1.0)
            parts.append((vectors * mask[:, :, None]).sum(1) / count)
            parts.append(vectors.masked_fill(mask[:, :, None] == 0, -torch.inf).amax(1))
        joined = torch.cat(parts, 1)
        return (joined, y.flatten(2)) if self.keep else joined


class CrossAttention(Block):
    """The audio's statistics ask the text's convolutions; what they are answered comes behind all statistics.

    For each of mean, maximum and deviation the vector of an audio kernel is compared with every word's of a text
    kernel, and the answer is the mean of the latter by the softmax of the products. Values ``(batch, given)`` and
    convolutions ``(batch, words, kernels · filters)`` to ``(batch, given + answers)``.

    Args:
        pairs: ``all``: 16 of audio and text kernels, 48 · filters values; ``equal``: 4 of equal rank, 12 · filters.
    """

    def __init__(self, filters: int, pairs: str) -> None:
        super().__init__()
        self.filters, self.pairs = filters, pairs

    def forward(self, x: tuple[Tensor, Tensor], text: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """See the class."""
        given, y = x
        audio = given[:, : STATISTICS * len(AUDIO_KERNELS) * self.filters]
        query = audio.unflatten(1, (STATISTICS, len(AUDIO_KERNELS), self.filters))
        key = y.unflatten(2, (len(TEXT_KERNELS), self.filters))
        away = (words_of(text, given) == 0)[:, None, None, :]
        if self.pairs == "all":
            score = torch.einsum("bsif,bwjf->bsijw", query, key).masked_fill(away[:, :, None], -1e9)
            answer = torch.einsum("bsijw,bwjf->bsijf", score.softmax(-1), key)
        else:
            score = torch.einsum("bsjf,bwjf->bsjw", query, key).masked_fill(away, -1e9)
            answer = torch.einsum("bsjw,bwjf->bsjf", score.softmax(-1), key)
        return torch.cat([given, answer.flatten(1)], 1)


class Hidden(Block):
    """A linear layer and a rectifier: ``(batch, inputs)`` to ``(batch, outputs)``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """See the class."""
        return self.linear(x).relu().to(x.dtype)
