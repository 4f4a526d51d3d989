"""The convolution of an edge that a neighbour sent, where the time is split."""

from __future__ import annotations

import pytest
import torch

from parallel_ser.parallel.tensor.time import _backward, _edge_stride


@pytest.mark.parametrize("channels", [1, 2, 16])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_gradients_in_bfloat16_do_not_depend_on_what_lies_behind_the_edge(
    channels: int, stride: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = 4, channels, 16, 1
    edge = torch.randn(shape, generator=generator)
    memory = torch.full((edge.numel() + 4096,), torch.nan, dtype=torch.bfloat16)
    behind = memory[: edge.numel()].copy_(edge.flatten()).view(shape)
    weight = torch.randn(32, channels, 3, 1, generator=generator)
    gradient = torch.randn(4, 32, 16 // stride[0], 1, generator=generator)
    both = [
        _backward(gradient.to(x.dtype), x, weight.to(x.dtype), _edge_stride(stride), (1, 0), (True, True, False))
        for x in (behind, edge)
    ]
    for ours, truth in zip(*both):
        if truth is not None:
            torch.testing.assert_close(ours.float(), truth, rtol=0.02, atol=0.1)
