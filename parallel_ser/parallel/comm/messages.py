"""Messages between two ranks that are on their way while a rank does other things, with their bytes and times taken."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor

from parallel_ser.parallel.tracing.stats import CommStats


class TimedWork:
    """Messages that were begun; the time that is waited for their end is kept."""

    def __init__(
        self, works: Sequence[Any], stats: CommStats, kind: str, posted: float, messages: tuple[str, ...]
    ) -> None:
        self.works, self.stats, self.kind = works, stats, kind
        self.posted, self.messages = posted, messages

    def wait(self) -> None:
        """Wait until the tensors are sent, or have arrived."""
        if not self.works:
            return
        start, cpu = time.perf_counter(), self.stats.cpu()
        for work in self.works:
            work.wait()
        used = self.stats.cpu() - cpu
        self.stats.record(self.kind, start, posted=self.posted, messages=self.messages, cpu=used)


def timed(op: dist.P2POp, stats: CommStats) -> dist.P2POp:
    """The same operation, of which ``stats`` counts the bytes and the time to begin and to wait for it.

    Under NCCL torch merges a batch of operations into one piece of work: there the wait for it is not seen.
    """
    plain, group, tag, peer = op.op, op.group, op.tag, op.peer  # not op itself: in a circle its tensor would be kept
    sends = plain is dist.isend
    me, kind = dist.get_rank(), "send" if sends else "receive"
    place = {"group_dst" if sends else "group_src": op.group_peer}

    @functools.wraps(plain)
    def begin(tensor: Tensor, *_: Any, **__: Any) -> TimedWork | None:
        messages = stats.message((me, peer) if sends else (peer, me), ">")
        posted = time.perf_counter()
        with stats.span(kind, tensor):
            work = plain(tensor, group=group, tag=tag, **place)
        return TimedWork([work], stats, kind, posted, messages) if work else None

    op.op = begin  # type: ignore[assignment]
    return op
