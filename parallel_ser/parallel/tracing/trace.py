"""What ranks did, on one clock: as a trace for Perfetto and Chrome, and as where each rank's step went. Pure; no torch.

A rank *waits* in a message until the last of its ranks has come to it; from then on it *communicates*. Both are known
because all ranks' spans are on one clock::

    rank 0  | forward | receive . . . . . . : . . . . | backward |
                        waits               : communicates
    rank 1  | forward | backward          | send      | ...

Where a step went, of which the four shares sum to the step:

==============  =======================================================================================================
step            from the first to the last moment of the rank's ``train_step``
compute         what is in no message: forward and backward passes, optimizer, and the host's work between these
communication   within messages, from when all of their ranks had come
bubble          waiting, as much of it as the schedule causes with equal stages: what ``simulate`` says the rank is
                idle when each stage takes the mean of the step's measured times and transfers take none
imbalance       the rest of the waiting: the stages or slices are not equal, a rank was slower for a moment, or another
                message or the host's work came first
==============  =======================================================================================================

A strategy without a schedule (a tensor split, ddp, fsdp) has no bubble. A message that passes while the rank computes
costs nothing here, and is not seen. Spans are of the host: on a GPU each ends with the work queued before it on the
stream that computes, so a traced step is slower; what passes on NCCL's own streams is seen where the host waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

from parallel_ser.parallel.schedule.actions import Action, Kind
from parallel_ser.parallel.schedule.simulate import Times, simulate
from parallel_ser.parallel.tracing.stats import Span

PASSES: dict[str, Kind] = {"forward": "F", "backward": "B", "input": "I", "weight": "W"}
MESSAGES = ("send", "receive", "halo", "all-reduce", "all-gather", "reduce-scatter", "broadcast")

Spans = Mapping[int, Sequence[Span]]
"""By rank."""


@dataclass(frozen=True)
class Breakdown:
    """Where a rank's step went, in seconds; see the module.

    Attributes:
        rank: whose.
        step: all of it.
        compute: a share of it, as the three after it.
        communication: likewise.
        bubble: likewise.
        imbalance: likewise.
        between: of ``compute`` what is in no span: the host's work.
        cpu: seconds of the processor outside messages, where a rank may wait by looking again and again.
    """

    rank: int
    step: float
    compute: float
    communication: float
    bubble: float
    imbalance: float
    between: float
    cpu: float = 0.0


def shifted(spans: Sequence[Span], seconds: float) -> list[Span]:
    """The spans on a clock that is ``seconds`` behind."""
    return [
        replace(
            one,
            start=one.start - seconds,
            end=one.end - seconds,
            posted=None if one.posted is None else one.posted - seconds,
        )
        for one in spans
    ]


def passes(spans: Sequence[Span]) -> tuple[float, float]:
    """What a rank's own forward and backward passes take, without the messages within them.

    Returns:
        Seconds of the clock, and seconds of the processor.
    """
    own = sorted((one for one in spans if one.kind in PASSES), key=lambda one: one.start)
    messages = [one for one in spans if one.kind in MESSAGES]
    within = [one for outer in own for one in _within(messages, outer)]
    wall = sum(one.end - one.start for one in own) - covered(within)
    cpu = sum(one.cpu for one in own) - sum(one.cpu for one in within)
    return wall, max(0.0, cpu)


def waits(spans: Spans) -> dict[int, list[Span]]:
    """Within each rank's messages the time until the last of their other ranks had come, as spans of kind ``wait``."""
    came: dict[str, dict[int, float]] = {}
    for rank, own in spans.items():
        for one in own:
            for message in one.messages:
                came.setdefault(message, {})[rank] = one.start if one.posted is None else one.posted

    def until(rank: int, one: Span) -> float:
        others = (when for message in one.messages for other, when in came[message].items() if other != rank)
        return min(one.end, max(others, default=one.start))

    return {
        rank: [Span("wait", one.start, end, one.kind) for one in own if (end := until(rank, one)) > one.start]
        for rank, own in spans.items()
    }


def breakdown(spans: Spans, orders: Sequence[Sequence[Action]] = (), places: Sequence[int] = ()) -> list[Breakdown]:
    """Where each rank's step went, the mean of the steps that all ranks have.

    Args:
        spans: of each rank, with a ``step`` around each.
        orders: of the schedule, for each rank of a pipeline; none where there is no schedule.
        places: of each rank, its place in its pipeline.
    """
    waiting = waits(spans)
    steps = {
        rank: sorted((one for one in own if one.kind == "step"), key=lambda one: one.start)
        for rank, own in spans.items()
    }
    found: dict[int, list[Breakdown]] = {rank: [] for rank in spans}
    for each in zip(*steps.values(), strict=False):
        step = dict(zip(steps, each, strict=True))
        inside = {rank: _within(spans[rank], step[rank]) for rank in spans}
        idle = _idle(inside, orders)
        for rank in spans:
            most = idle[places[rank]] if idle else 0.0
            found[rank].append(_of_one(rank, step[rank], inside[rank], _within(waiting[rank], step[rank]), most))
    names = [one.name for one in fields(Breakdown) if one.name != "rank"]
    return [
        Breakdown(rank, **{name: fmean(getattr(one, name) for one in every) for name in names})
        for rank, every in found.items()
        if every
    ]


def _of_one(rank: int, step: Span, inside: Sequence[Span], waiting: Sequence[Span], idle: float) -> Breakdown:
    """Of one step; ``idle`` is the bubble of equal stages."""
    passing = covered(one for one in inside if one.kind in MESSAGES)
    waited = min(passing, covered(waiting))
    length, bubble = step.end - step.start, min(waited, idle)
    return Breakdown(
        rank,
        step=length,
        compute=length - passing,
        communication=passing - waited,
        bubble=bubble,
        imbalance=waited - bubble,
        between=length - covered(inside),
        cpu=max(0.0, step.cpu - sum(one.cpu for one in inside if one.kind in MESSAGES)),
    )


def _within(spans: Sequence[Span], outer: Span) -> list[Span]:
    return [one for one in spans if one is not outer and outer.start <= one.start and one.end <= outer.end]


def _idle(inside: Spans, orders: Sequence[Sequence[Action]]) -> tuple[float, ...]:
    """How long each place of the pipeline is idle when every stage takes the mean of these times."""
    times: dict[Kind, list[float]] = {kind: [] for kind in PASSES.values()}
    if not orders:
        return ()
    for own in inside.values():
        messages = [one for one in own if one.kind in MESSAGES]
        for one in own:
            if one.kind in PASSES:
                times[PASSES[one.kind]].append(one.end - one.start - covered(_within(messages, one)))
    forward, backward, halves, weights = (fmean(times[kind] or [0.0]) for kind in ("F", "B", "I", "W"))
    return simulate(orders, Times(forward, halves, weights, backward if times["B"] else None)).idle


def covered(spans: Iterable[Span]) -> float:
    """How long at least one of them lasts."""
    total, until = 0.0, float("-inf")
    for one in sorted(spans, key=lambda one: one.start):
        total += max(0.0, one.end - max(one.start, until))
        until = max(until, one.end)
    return total


def document(spans: Spans, title: str, notes: Mapping[str, Any]) -> dict[str, Any]:
    """A trace in Chrome's JSON object format, which https://ui.perfetto.dev and chrome://tracing open.

    One track a rank; times in µs from the first moment. Waiting is drawn within the message that is waited for.

    Args:
        spans: of each rank, on one clock.
        title: of the whole.
        notes: plain values, kept as ``otherData``.
    """
    first = min((one.start for own in spans.values() for one in own), default=0.0)

    def moment(seconds: float) -> float:
        return round((seconds - first) * 1e6, 3)

    events: list[dict[str, Any]] = [{"ph": "M", "pid": 0, "tid": 0, "name": "process_name", "args": {"name": title}}]
    waiting = waits(spans)
    for rank, own in spans.items():
        head = {"ph": "M", "pid": 0, "tid": rank}
        events.append({**head, "name": "thread_name", "args": {"name": f"rank {rank}"}})
        events.append({**head, "name": "thread_sort_index", "args": {"sort_index": rank}})
        for one in sorted((*own, *waiting[rank]), key=lambda one: (one.start, -one.end)):
            start, end = moment(one.start), moment(one.end)
            about = {"detail": one.detail} if one.detail else {}
            about |= {"messages": " ".join(one.messages)} if one.messages else {}
            what = "message" if one.kind in MESSAGES else "wait" if one.kind == "wait" else "work"
            place = {"ph": "X", "pid": 0, "tid": rank, "ts": start, "dur": round(end - start, 3)}
            events.append({"name": one.kind, "cat": what, **place, "args": about})
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": dict(notes)}
