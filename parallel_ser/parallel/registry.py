"""Strategies by name; each is imported when it is asked for, since torch's parts that they stand on take a second."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parallel_ser.parallel.strategy import Strategy

STRATEGIES = {
    "single": "single.Single",
    "layer_split": "layer_split.LayerSplit",
    "tensor_split": "tensor_split.TensorSplit",
    "pipeline": "pipeline.Pipeline",
    "deepspeed": "deepspeed.DeepSpeed",
    "ddp": "data_parallel.Ddp",
    "fsdp": "data_parallel.Fsdp",
}


def strategy_class(name: str) -> type[Strategy]:
    """The class of the strategy of that name."""
    module, _, kind = STRATEGIES[name].partition(".")
    found: type[Strategy] = getattr(import_module(f"parallel_ser.parallel.{module}"), kind)
    return found
