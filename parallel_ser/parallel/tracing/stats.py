"""What a rank does when, and how many bytes it sends: filled in by the strategies, read by benchmarks and traces.

Bytes are those of the tensors that a strategy passes on purpose. Not counted: what torch and DeepSpeed exchange by
themselves (greetings, shapes, DeepSpeed's copies of the loss) and what DeepSpeed's ZeRO sends.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Span:
    """One thing that a rank did; one within another is a part of it, and else they follow each other.

    Attributes:
        kind: ``step`` (all of ``train_step``); ``forward``, ``backward``, ``input`` and ``weight`` (the halves of a
            backward pass that is split), ``optimizer``; ``send``, ``receive``, ``halo``, ``all-reduce``,
            ``all-gather``, ``reduce-scatter``, ``broadcast``; or what a caller calls it.
        start: seconds of the machine's monotonic clock, which its processes share.
        end: likewise.
        detail: such as the stage and micro-batch.
        posted: when this rank was ready for the messages, where that was before it began to wait for them.
        messages: what it waits for within, by names that all ranks of a message give it; see ``CommStats.message``.
        cpu: seconds of the processor that this process used within, on all its threads.
    """

    kind: str
    start: float
    end: float
    detail: str = ""
    posted: float | None = None
    messages: tuple[str, ...] = ()
    cpu: float = 0.0


@dataclass
class CommStats:
    """Counts bytes always, and keeps spans while ``tracing``.

    Attributes:
        tracing: whether spans are kept; all ranks begin and end it between the same steps.
        sent: bytes that this rank sent, by kind; of a collective what a ring sends.
        calls: how many, by kind.
        seconds: spent in the calls, by kind.
        spans: since tracing began, in order of their ends but for a few.
        synchronize: waits for a device's queued work; called while tracing, so that the span of a GPU's work ends with
            the work and not when it is queued.
    """

    tracing: bool = False
    sent: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    spans: list[Span] = field(default_factory=list)
    synchronize: Callable[[], object] | None = None
    _numbers: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def span(
        self,
        kind: str,
        tensors: Tensor | Sequence[Tensor] = (),
        share: float = 1.0,
        detail: str = "",
        messages: tuple[str, ...] = (),
    ) -> Iterator[None]:
        """Time what happens within it, which sends ``share`` of the tensors' bytes."""
        start, cpu = time.perf_counter(), self.cpu()
        yield
        self.record(kind, start, detail=detail, messages=messages, cpu=self.cpu() - cpu)
        self.calls[kind] += 1
        if kind != "receive":
            every = tensors if isinstance(tensors, (list, tuple)) else (tensors,)
            self.sent[kind] += round(share * sum(one.numel() * one.element_size() for one in every))

    def cpu(self) -> float:
        """Seconds of the processor that this process has used; asked of the system while tracing alone."""
        return time.process_time() if self.tracing else 0.0

    def record(
        self,
        kind: str,
        start: float,
        end: float | None = None,
        detail: str = "",
        posted: float | None = None,
        messages: tuple[str, ...] = (),
        cpu: float = 0.0,
    ) -> None:
        """Add what took from ``start`` to ``end``, by default now, and is no call of its own: a wait for an earlier."""
        if self.tracing and self.synchronize:
            self.synchronize()
        end = time.perf_counter() if end is None else end
        self.seconds[kind] += end - start
        if self.tracing:
            self.spans.append(Span(kind, start, end, detail, posted, messages, cpu))

    def message(self, ranks: Sequence[int], mark: str = ",") -> tuple[str, ...]:
        """The name of the next message among ranks of the run, such as ``0,1#3``; nothing where nothing is traced.

        Ranks take part in their messages in the same order, so that counting gives a message the same name on each.

        Args:
            ranks: of a collective, or the sender and the receiver.
            mark: between them; ``>`` for a sender and a receiver.
        """
        if not self.tracing:
            return ()
        way = mark.join(map(str, ranks))
        self._numbers[way] += 1
        return (f"{way}#{self._numbers[way]}",)

    def trace(self, afresh: bool = True) -> None:
        """Begin to keep spans, or go on."""
        if afresh:
            self.spans.clear()
            self._numbers.clear()
        self.tracing = True
