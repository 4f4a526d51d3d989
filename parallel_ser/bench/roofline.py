"""How fast the network could be on this machine, and how fast it is.

The roofline of Williams, Waterman & Patterson (2009): arithmetic or memory bounds a pass. It can reach no more than
``min(peak, intensity × bandwidth)`` operations a second, its intensity being operations over the fewest bytes that it
must move.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from parallel_ser.parallel.cost.block_profile import BlockProfile, BlockProfiles

SECONDS = 0.15
"""For each kernel of a peak."""
WORDS = 1 << 26
"""Of each array that bandwidth is measured with, far beyond a cache."""


@dataclass(frozen=True)
class Peaks:
    """What the machine can do.

    Attributes:
        flops: floating-point operations a second of its best matrix kernel.
        bandwidth: bytes a second between memory and processor.
    """

    flops: float
    bandwidth: float

    def attainable(self, flops: float, moved: float) -> float:
        """Operations a second that work of ``flops`` which moves ``moved`` bytes can reach.

        >>> Peaks(100.0, 10.0).attainable(40.0, 8.0)
        50.0
        """
        return min(self.flops, self.bandwidth * flops / moved) if moved else self.flops


@dataclass(frozen=True)
class Pass:
    """A block's forward and backward pass together, of one micro-batch; the last entry of a list is the whole chain's.

    Attributes:
        name: of the block.
        flops: operations; a backward pass has twice those of a forward pass.
        moved: the fewest bytes between memory and processor.
        forward: seconds.
        backward: seconds.
        attainable: operations a second.
    """

    name: str
    flops: float
    moved: float
    forward: float
    backward: float
    attainable: float

    @property
    def achieved(self) -> float:
        """Operations a second."""
        return self.flops / (self.forward + self.backward)


def measure_peaks(device: torch.device, precision: torch.dtype) -> Peaks:
    """Measure this machine with the threads that torch has: the best of matrix products and convolutions, and a sum."""
    kernels: list[Callable[[], object]] = []
    for size in (1024, 2048):
        a = torch.randn(size, size, device=device, dtype=precision)
        kernels.append(lambda a=a: torch.mm(a, a))  # type: ignore[misc]
    x = torch.randn(32, 64, 32, 64, device=device, dtype=precision).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, device=device, dtype=precision).contiguous(memory_format=torch.channels_last)
    kernels.append(lambda: functional.conv2d(x, weight, padding=1))
    work = [2.0 * 1024**3, 2.0 * 2048**3, 2.0 * 9 * 64 * 64 * x.numel() / 64]
    flops = max(count / _least(kernel, device) for count, kernel in zip(work, kernels, strict=True))
    one, two = (torch.ones(WORDS, device=device) for _ in range(2))
    return Peaks(flops, 3 * 4 * WORDS / _least(lambda: torch.add(one, two, out=one), device))


def _least(kernel: Callable[[], object], device: torch.device) -> float:
    """The fewest seconds of a call."""

    def once() -> float:
        began = time.perf_counter()
        kernel()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    once()
    seconds = [once() for _ in range(3)]
    while sum(seconds) < SECONDS:
        seconds.append(once())
    return min(seconds)


def least_bytes(block: BlockProfile) -> float:
    """Bytes that a block's passes must move: what enters and leaves it, its weights, and the gradients of all three.

    The forward pass reads the input and the weights and writes the output; the backward pass reads the input, the
    weights and the output's gradient, and writes the gradients of the input and of the weights.
    """
    return 3.0 * block.entering + 2.0 * block.leaving + 3.0 * block.parameters


def passes(profile: BlockProfiles, peaks: Peaks) -> list[Pass]:
    """Each block of a profile under the roof, then all of them together.

    The first block's input has no gradient: neither is its arithmetic counted, nor its bytes.
    """
    found = []
    for place, block in enumerate(profile.blocks):
        flops = _with_backward(block.flops, place)
        moved = least_bytes(block) - (0.0 if place else block.entering)
        roof = peaks.attainable(flops, moved)
        found.append(Pass(block.name, flops, moved, block.forward, block.backward, roof))
    seconds = sum(one.flops / one.attainable for one in found if one.flops)
    flops = sum(one.flops for one in found)
    whole = Pass(
        "all",
        flops,
        sum(one.moved for one in found),
        profile.total("forward"),
        profile.total("backward"),
        flops / seconds if seconds else peaks.flops,
    )
    return [*found, whole]


def step_flops(costs: Sequence[float]) -> float:
    """Operations of a training step, of the blocks' forward operations: see ``passes``.

    >>> step_flops([1.0, 10.0])
    32.0
    """
    return sum(_with_backward(cost, place) for place, cost in enumerate(costs))


def _with_backward(forward: float, place: int) -> float:
    """Operations of both passes: the first block's input has no gradient."""
    return forward * (3.0 if place else 2.0)
