"""Recurrent layers on the meta device, against torch's own way frame by frame."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from parallel_ser.models.recurrence import WholeRecurrence

FRAMES = 6


def of(layer: nn.Module, backward: bool) -> tuple[list[Any], int]:
    """Shapes and types of what a layer gives, and the operations that it takes."""
    x = torch.empty(5, FRAMES, 12, device="meta", requires_grad=backward)
    with torch.set_grad_enabled(backward), FlopCounterMode(display=False) as counter:
        y, state = layer(x)
        if backward:
            y.sum().backward()
    given = (y, *(state if isinstance(state, tuple) else (state,)))
    return [(one.shape, one.dtype, one.device) for one in given], counter.get_total_flops()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (nn.LSTM, {"batch_first": True}),
        (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
        (nn.LSTM, {"proj_size": 4}),
        (nn.GRU, {"bias": False, "bidirectional": True}),
        (nn.RNN, {"nonlinearity": "relu", "num_layers": 2}),
    ],
)
def test_shapes_and_operations_are_torchs(kind: type[nn.Module], options: dict[str, Any]) -> None:
    layer = kind(12, 8, **options).to("meta")
    truth, flops = of(layer, False)
    with WholeRecurrence():
        ours, counted = of(layer, False)
    assert ours == truth
    assert counted == flops
    _, flops = of(layer, True)
    with WholeRecurrence():
        _, counted = of(layer, True)
    assert flops <= counted <= flops * (1 + 1 / FRAMES)  # torch needs no gradient of the first state


def test_elsewhere_it_computes_what_the_layer_computes() -> None:
    layer, x = nn.LSTM(3, 4, batch_first=True), torch.randn(2, FRAMES, 3)
    truth, _ = layer(x)
    with WholeRecurrence():
        ours, _ = layer(x)
    assert torch.equal(ours, truth)
