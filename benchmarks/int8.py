"""What a network's convolutions would take in int8, beside float32 and bfloat16: recognition, by oneDNN's own kernels.

``python benchmarks/int8.py [--size m] [--batch 32] [--threads N]`` prints a row for each convolution and the sums. The
machine must be idle. *Quantise* is what it takes to make int8 of the input, by one scale for the whole of it; weights
have one a channel; int8 products come out as bfloat16. *Off* is the error of a random input's output, as a share of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from resident import CLASSES, ROWS, table
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.utils.benchmark import Timer

from parallel_ser.models.batch import example
from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.system.cores import usable_cores

FRAMES = 224
LAST, ZERO = torch.channels_last, 128  # the memory format; what stands for 0 in unsigned int8


def milliseconds(call: Callable[[], object]) -> float:
    """Median of a call."""
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return 1e3 * float(timer.blocked_autorange().median)


def quantised(conv: nn.Conv2d, x: Tensor) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The convolution of ``x`` in int8, and the making of that ``x``."""
    scale = float(x.abs().max()) / 127
    scales = conv.weight.abs().amax((1, 2, 3)) / 127
    weight = (conv.weight / scales[:, None, None, None]).round().to(torch.int8)
    # stride, padding, dilation, groups
    how = (list(conv.stride), list(conv.padding), [1, 1], 1)
    packed = torch.ops.onednn.qconv_prepack(weight, scales, scale, ZERO, *how, list(x.shape))

    def make() -> Tensor:
        return torch.quantize_per_tensor(x, scale, ZERO, torch.quint8)

    small, zeros = make().int_repr().contiguous(memory_format=LAST), torch.zeros(len(scales), dtype=torch.int)
    given: Any = (small, scale, ZERO, packed, scales, zeros, conv.bias, *how, 1.0, 0, torch.bfloat16, "none", [], "")
    return lambda: torch.ops.onednn.qconv2d_pointwise(*given), make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="m", choices=("s", "m", "l", "xl"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=usable_cores())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    chain = build(ModelSettings(size=given.size, dropout=0.0), ROWS, CLASSES, 0).eval()
    chain.to(memory_format=LAST)
    inputs: list[tuple[nn.Conv2d, Tensor]] = []
    for module in chain.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda conv, x, y: inputs.append((conv, x[0])))
    rows, sums = [], [0.0] * 4
    with torch.inference_mode():
        batch = example((given.batch, 1, ROWS, FRAMES))
        chain(batch.x, **batch.beside)
        for conv, x in inputs:
            x = x.contiguous(memory_format=LAST)
            weights = (conv.weight, conv.bias)
            narrow = (None if one is None else one.bfloat16() for one in weights)
            whole, make = quantised(conv, x)
            how = conv.stride, conv.padding
            calls: list[Callable[[], Tensor]] = [
                partial(conv2d, x, *weights, *how),
                partial(conv2d, x.bfloat16(), *narrow, *how),
                whole,
                make,
            ]
            taken = [milliseconds(call) for call in calls]
            sums = [total + one for total, one in zip(sums, taken)]
            truth = calls[0]()
            off = float((whole().float() - truth).norm() / truth.norm())
            shape = f"{conv.in_channels} → {conv.out_channels}, {conv.kernel_size[0]} × {conv.kernel_size[1]}"
            rows.append([shape, *(f"{one:.2f}" for one in taken), f"{off:.1%}"])
    rows.append(["all", *(f"{one:.1f}" for one in sums), ""])
    print(table(["convolution", "float32, ms", "bfloat16", "int8", "quantise", "off"], rows))


if __name__ == "__main__":
    main()
