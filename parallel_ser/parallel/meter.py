"""What a rank does when, and how many bytes it sends: filled in by the strategies, read by benchmarks and traces."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Span:
    """One thing that a rank did.

    Attributes:
        kind: ``forward``, ``backward``, ``weight``, ``send``, ``receive``, ``halo``, ``all-reduce``, ``all-gather``,
            ``broadcast`` or ``optimizer``.
        start: seconds of the machine's monotonic clock, which its processes share.
        end: likewise.
        detail: such as the stage and micro-batch.
    """

    kind: str
    start: float
    end: float
    detail: str = ""


@dataclass
class Meter:
    """Counts bytes always, and keeps spans while ``tracing``.

    Attributes:
        tracing: whether spans are kept.
        sent: bytes that this rank sent, by kind; of a collective what a ring sends.
        seconds: spent in the calls, by kind.
        spans: since tracing began.
    """

    tracing: bool = False
    sent: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    spans: list[Span] = field(default_factory=list)

    @contextmanager
    def span(
        self, kind: str, tensors: Tensor | Sequence[Tensor] = (), share: float = 1.0, detail: str = ""
    ) -> Iterator[None]:
        """Time what happens within it, which sends ``share`` of the tensors' bytes."""
        start = time.perf_counter()
        yield
        end = time.perf_counter()
        self.seconds[kind] += end - start
        if kind != "receive":
            every = (tensors,) if isinstance(tensors, Tensor) else tensors
            self.sent[kind] += round(share * sum(one.numel() * one.element_size() for one in every))
        if self.tracing:
            self.spans.append(Span(kind, start, end, detail))
