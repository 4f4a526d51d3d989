"""Strategies by name."""

from __future__ import annotations

from parallel_ser.parallel.data_parallel import Ddp, Fsdp
from parallel_ser.parallel.deepspeed import DeepSpeed
from parallel_ser.parallel.layer_split import LayerSplit
from parallel_ser.parallel.pipeline import Pipeline
from parallel_ser.parallel.single import Single
from parallel_ser.parallel.strategy import Strategy
from parallel_ser.parallel.tensor_split import TensorSplit

STRATEGIES: dict[str, type[Strategy]] = {
    "single": Single,
    "layer_split": LayerSplit,
    "tensor_split": TensorSplit,
    "pipeline": Pipeline,
    "deepspeed": DeepSpeed,
    "ddp": Ddp,
    "fsdp": Fsdp,
}
