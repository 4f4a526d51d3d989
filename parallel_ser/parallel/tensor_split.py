"""Each block on all ranks of a copy, split as ``split_channel`` and ``split_time`` say."""

from __future__ import annotations

from parallel_ser.parallel.single import Single


class TensorSplit(Single):
    """The step of one process, on blocks that the base class has split over the tensor axis."""
