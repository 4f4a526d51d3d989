"""Self-attention of the encoders; WavLM's with a gated bias by relative position (Chen et al. 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from parallel_ser.models.encoder.plans import Plan


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear layer as the encoders begin: weights of deviation 0.02, no bias."""
    layer = nn.Linear(inputs, outputs, bias)
    nn.init.normal_(layer.weight, std=0.02)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def position_buckets(queries: int, keys: int, offset: int, buckets: int, distance: int, device: torch.device) -> Tensor:
    """The bucket ``(queries, keys)`` of each key's place beside each query's, which begin ``offset`` frames later.

    Half of the buckets are for keys behind the query. Of each half, one half is for single frames, and the rest grow as
    their logarithm up to ``distance`` (Raffel et al. 2020, T5).
    """
    apart = torch.arange(keys, device=device) - torch.arange(offset, offset + queries, device=device)[:, None]
    half = buckets // 2
    exact = half // 2
    near = apart.abs()
    # beside 0, whose logarithm is none, only what is far is taken from here
    far = exact + (near.clamp_min(1).float() / exact).log() / math.log(distance / exact) * (half - exact)
    return (apart > 0) * half + torch.where(near < exact, near, far.long().clamp_max(half - 1))


class SelfAttention(nn.Module):
    """Multi-head attention on ``(batch, frames, width)``; no frame attends to padding.

    With ``plan.buckets`` a bias is added to how queries meet keys: of each head and bucket of relative position one
    from the ``table`` that the layers share, times a gate of the query's own features.
    """

    def __init__(self, plan: Plan, first: bool) -> None:
        super().__init__()
        self.heads, self.buckets, self.distance = plan.heads, plan.buckets, plan.distance
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (linear(plan.width, plan.width) for _ in range(4))
        if plan.buckets:
            self.gru_rel_pos_linear = linear(plan.width // plan.heads, 8)
            self.gru_rel_pos_const = nn.Parameter(torch.ones(1, plan.heads, 1, 1))
            if first:
                self.rel_attn_embed = nn.Embedding(plan.buckets, plan.heads)
                nn.init.normal_(self.rel_attn_embed.weight, std=0.02)

    def forward(self, x: Tensor, mask: Tensor, table: Tensor | None = None) -> Tensor:
        """``mask``: ``(batch, frames)``, 1 on real frames; ``table``: ``(batch, buckets, heads)``, alike in a batch."""
        return self.out_proj(self.mixed(x, x, mask, table))

    def mixed(self, x: Tensor, own: Tensor, mask: Tensor, table: Tensor | None) -> Tensor:
        """The heads' mixtures of values, side by side; ``own``: the features of ``x`` that these heads are made of."""
        key, value, mask = self.seen(self.k_proj(x), self.v_proj(x), mask)
        query, key, value = (
            one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (self.q_proj(x), key, value)
        )
        bias = torch.zeros_like(mask, dtype=query.dtype).masked_fill(mask == 0, -1e9)[:, None, None, :]
        if table is not None:
            bias = bias + self.positions(own, key.shape[2], table)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, bias.to(query.dtype))
        return mixed.transpose(1, 2).flatten(2)

    def seen(self, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values of all frames, and their mask."""
        return key, value, mask

    def offset(self, queries: int) -> int:
        """The place of the first query among the keys."""
        return 0

    def positions(self, own: Tensor, keys: int, table: Tensor) -> Tensor:
        """The gated bias ``(batch, heads, queries, keys)``."""
        place = position_buckets(own.shape[1], keys, self.offset(own.shape[1]), self.buckets, self.distance, own.device)
        bias = nn.functional.embedding(place, table[0]).permute(2, 0, 1)  # all rows of a batch are alike
        heads = own.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        gates = self.gru_rel_pos_linear(heads).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        a, b = gates.chunk(2, -1)
        return (a * (b * self.gru_rel_pos_const - 1.0) + 2.0) * bias
