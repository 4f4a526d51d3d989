"""What torch's recurrent layers give and cost on the meta device, without going through the frames one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")


class WholeRecurrence(TorchFunctionMode):
    """Within it LSTM, GRU and RNN on the meta device take their matrix products for all frames at once.

    Shapes, types and floating-point operations are those of the layer, in a time that does not grow with the frames:
    torch takes such a layer apart frame by frame there. Packed sequences, projections and other devices are left alone.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See the class."""
        if getattr(func, "__name__", "") in _KINDS and not kwargs and len(args) == 9 and args[0].is_meta:
            made = _whole(func.__name__, *args)
            if made is not None:
                return made
        return func(*args, **(kwargs or {}))


def _whole(
    kind: str,
    x: Tensor,
    states: Any,
    weights: Sequence[Tensor],
    biased: bool,
    layers: int,
    dropout: float,
    training: bool,
    both_ways: bool,
    batch_first: bool,
) -> tuple[Tensor, ...] | None:
    """The outputs of one of torch's functions on the meta device; None where it has projections."""
    ways = 2 if both_ways else 1
    each = len(weights) // (layers * ways)
    if each != (4 if biased else 2):
        return None
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            inward, along = weights[each * (layer * ways + way) :][:2]
            width = along.shape[1]
            hidden = functional.linear(x, inward)[..., :width]
            outputs.append(functional.linear(hidden, along)[..., :width])
        x = torch.cat(outputs, -1)
    state: Tensor = states[0] if kind == "lstm" else states
    return (x, *(torch.empty_like(state) for _ in range(2 if kind == "lstm" else 1)))
