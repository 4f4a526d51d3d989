"""Which of an encoder's weights are trained: all, the top layers, low-rank adapters (LoRA, Hu et al. 2021), or none."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from parallel_ser.models.encoder.attention import SelfAttention
from parallel_ser.models.encoder.descriptor import layer_name

ADAPTED = ("q_proj", "v_proj")
"""Layers of attention that have adapters, as in the paper."""
OWN = ("pool.", "embed.", "head.")
"""Blocks that are not the encoder's."""
ALWAYS = (".share", ".lora_a", ".lora_b")
"""Ends of the names of what is trained whatever the way."""


class LoRALinear(nn.Linear):
    """A linear layer whose weights stay, beside ``alpha / rank`` times a product of two small matrices that learn.

    It begins as the layer alone: ``lora_b`` is zero. ``merged`` is the same layer without adapters.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: int) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_a = nn.Parameter(torch.empty(rank, linear.in_features))
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """``(..., inputs)`` to ``(..., outputs)``."""
        low = nn.functional.linear(nn.functional.linear(x, self.lora_a), self.lora_b)
        return super().forward(x) + self.scale * low

    def merged(self) -> Tensor:
        """The weights of a plain layer that answers alike."""
        return self.weight + self.scale * self.lora_b @ self.lora_a


def adapt(attention: SelfAttention, rank: int, alpha: int) -> None:
    """Give an attention its adapters."""
    for name in ADAPTED:
        setattr(attention, name, LoRALinear(getattr(attention, name), rank, alpha))


def hold(chain: nn.Module, tune: str, layers: int, top: int) -> None:
    """Stop the training of what stays.

    Args:
        chain: an encoder's, of ``layers`` layers.
        tune: ``whole``, ``top`` (the ``top`` last layers and what is behind them), ``lora`` or ``frozen``.
        layers: of the transformer.
        top: of them, those that are trained under ``top``.
    """
    trained: tuple[str, ...] = OWN
    if tune == "top":
        trained += ("sum.", *(f"{layer_name(number)}." for number in range(max(0, layers - top), layers)))
    for name, parameter in chain.named_parameters():
        parameter.requires_grad_(tune == "whole" or name.startswith(trained) or name.endswith(ALWAYS))
