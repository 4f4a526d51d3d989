from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel_ser.parallel.schedule.registry import actions
from parallel_ser.parallel.tracing.clock import estimate
from parallel_ser.parallel.tracing.stats import CommStats, Span
from parallel_ser.parallel.tracing.trace import Breakdown, Spans, breakdown, covered, document, passes, shifted, waits


def message(kind: str, start: float, end: float, *names: str, posted: float | None = None) -> Span:
    return Span(kind, start, end, posted=posted, messages=names)


def shares(one: Breakdown) -> tuple[float, float, float, float]:
    return one.compute, one.communication, one.bubble, one.imbalance


# One micro-batch there and back, forward and backward passes of 2 s and 4 s on both ranks, a transfer of 1 s:
#   0  FF>..........<BBBB
#   1  ...FFBBBB>
SPLIT: Spans = {
    0: [
        Span("step", 0, 14),
        Span("forward", 0, 2),
        message("send", 2, 3, "0>1#1"),
        message("receive", 3, 10, "1>0#1"),
        Span("backward", 10, 14),
    ],
    1: [
        Span("step", 0, 14),
        message("receive", 0, 3, "0>1#1"),
        Span("forward", 3, 5),
        Span("backward", 5, 9),
        message("send", 9, 10, "1>0#1"),
        message("all-reduce", 10, 14, "0,1#1"),
    ],
}


def test_own_passes_are_without_the_messages_within_them() -> None:
    spans = [
        Span("step", 0, 20, cpu=19),
        Span("forward", 0, 6, cpu=5),
        Span("all-reduce", 2, 4, cpu=1),
        Span("halo", 3, 5, cpu=0.5),  # on its way beside the other: two seconds of both are the same
        Span("receive", 6, 10, cpu=4),
        Span("backward", 10, 15, cpu=5),
        Span("optimizer", 15, 20, cpu=5),
    ]
    assert passes(spans) == (3 + 5, 5 - 1.5 + 5)


def test_a_rank_waits_until_the_last_of_the_others_has_come() -> None:
    found = waits(SPLIT)
    assert [(one.start, one.end, one.kind, one.detail) for one in found[0]] == [(3, 9, "wait", "receive")]
    assert [(one.start, one.end, one.detail) for one in found[1]] == [(0, 2, "receive")]  # of the last no one else told


def test_who_has_posted_a_message_before_is_not_waited_for() -> None:
    late = {0: [message("send", 5, 8, "0>1#1", posted=1)], 1: [message("receive", 3, 8, "0>1#1")]}
    assert waits(late) == {0: [], 1: []}
    late[1] = [message("receive", 6, 8, "0>1#1")]
    assert [(one.start, one.end) for one in waits(late)[0]] == [(5, 6)]


def test_a_message_of_several_waits_for_the_last_of_them_and_no_longer_than_it_lasts() -> None:
    halo = {
        0: [message("halo", 4, 9, "0>1#1", "1>0#1")],
        1: [message("halo", 1, 10, "0>1#1", "1>0#1", "1>2#1", "2>1#1")],
        2: [message("halo", 7, 11, "1>2#1", "2>1#1")],
        3: [message("broadcast", 0, 3, "3,4#1")],
        4: [message("broadcast", 5, 6, "3,4#1")],
    }
    found = {rank: [(one.start, one.end) for one in own] for rank, own in waits(halo).items()}
    assert found == {0: [], 1: [(1, 7)], 2: [], 3: [(0, 3)], 4: []}


def test_waiting_that_equal_stages_cause_is_bubble() -> None:
    first, last = breakdown(SPLIT, actions("layer_split", 2, 1), [0, 1])
    assert shares(first) == (6, 2, 6, 0)
    # the last rank waits 2 s in its receive, and nobody came to what it waits for at the end
    assert shares(last) == (6, 6, 2, 0)
    assert first.step == last.step == 14
    assert (first.between, last.between) == (0, 0)


def test_waiting_for_a_longer_stage_is_imbalance() -> None:
    spans: Spans = {
        0: [Span("step", 0, 12), Span("forward", 0, 1), message("send", 1, 11, "0>1#1"), Span("backward", 11, 12)],
        1: [
            Span("step", 0, 12),
            message("receive", 0, 1, "0>1#1", posted=10),
            Span("forward", 1, 5),
            Span("backward", 5, 11),
        ],
    }
    first, last = breakdown(spans, actions("1f1b", 2, 1), [0, 1])
    # with equal stages, F = 2.5 and B = 3.5 s: 6 s idle each; it waits 9 s
    assert shares(first) == (2, 1, 6, 3)
    assert shares(last) == (11, 0, 1, 0)


def test_a_strategy_without_a_schedule_has_no_bubble() -> None:
    assert [shares(one) for one in breakdown(SPLIT)] == [(6, 2, 0, 6), (6, 6, 0, 2)]


def test_messages_within_passes_are_no_compute_and_what_is_in_no_span_is() -> None:
    spans: Spans = {
        0: [
            Span("step", 10, 30),
            Span("forward", 12, 20),
            message("all-reduce", 13, 16, "0,1#1"),
            message("broadcast", 14, 15),  # within another: not counted again
            message("all-reduce", 22, 23),
            message("all-reduce", 40, 50),  # after the step
        ],
        1: [Span("step", 10, 30), message("all-reduce", 15, 16, "0,1#1")],
    }
    one, _ = breakdown(spans)
    assert shares(one) == (16, 2, 0, 2)
    assert one.between == 20 - 8 - 1


def test_steps_are_averaged_and_one_that_a_rank_lacks_is_left_out() -> None:
    spans: Spans = {
        0: [Span("step", 0, 4), Span("step", 10, 16), message("send", 11, 13), Span("step", 20, 99)],
        1: [Span("step", 10, 16), Span("step", 0, 4)],
    }
    assert [(one.rank, one.step) for one in breakdown(spans)] == [(0, 5), (1, 5)]
    assert breakdown(spans)[0].communication == 1
    assert breakdown({0: [Span("step", 0, 1)], 1: []}) == []


@given(data=st.data(), ranks=st.integers(1, 3))
def test_the_shares_sum_to_the_step(data: st.DataObject, ranks: int) -> None:
    kinds = st.sampled_from(["forward", "backward", "send", "receive", "all-reduce", "optimizer"])
    moments = st.lists(st.floats(0, 100), min_size=2, max_size=12, unique=True).map(sorted)
    names = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=2, unique=True).map(tuple)
    spans: dict[int, list[Span]] = {}
    for rank in range(ranks):
        edges = data.draw(moments)
        own = [Span(data.draw(kinds), *edge, messages=data.draw(names)) for edge in pairwise(edges)]
        spans[rank] = [Span("step", edges[0], edges[-1]), *own]
    orders = actions("1f1b", ranks, 3) if data.draw(st.booleans()) else []
    for one in breakdown(spans, orders, range(ranks)):
        assert sum(shares(one)) == pytest.approx(one.step, rel=1e-12)
        assert min(shares(one)) >= -1e-9
        assert -1e-9 <= one.between <= one.compute + 1e-9


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9))))
def test_covered_counts_every_moment_once(edges: list[tuple[int, int]]) -> None:
    spans = [Span("send", start, start + length) for start, length in edges]
    assert covered(spans) == len({moment for start, length in edges for moment in range(start, start + length)})


def test_the_document_is_what_trace_viewers_read() -> None:
    made = json.loads(json.dumps(document(SPLIT, "layer_split", {"clock": "one"})))
    assert made["displayTimeUnit"] == "ms"
    assert made["otherData"] == {"clock": "one"}
    events = made["traceEvents"]
    assert {(e["name"], e["tid"], e["args"]["name"]) for e in events if e["name"].endswith("_name")} == {
        ("process_name", 0, "layer_split"),
        ("thread_name", 0, "rank 0"),
        ("thread_name", 1, "rank 1"),
    }
    drawn = [(e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X" and e["tid"] == 0]
    assert drawn == [
        ("step", 0, 14e6),
        ("forward", 0, 2e6),
        ("send", 2e6, 1e6),
        ("receive", 3e6, 7e6),
        ("wait", 3e6, 6e6),
        ("backward", 10e6, 4e6),
    ]
    assert next(e for e in events if e["name"] == "receive")["args"] == {"messages": "1>0#1"}
    assert document({}, "nothing", {})["traceEvents"][0]["args"] == {"name": "nothing"}


def test_a_clock_that_is_ahead_is_put_back() -> None:
    before = [Span("send", 5, 6, "x", posted=4, messages=("a",)), Span("forward", 7, 8)]
    assert shifted(before, 3) == [Span("send", 2, 3, "x", posted=1, messages=("a",)), Span("forward", 4, 5)]


def test_the_quickest_answer_tells_how_far_a_clock_is_ahead() -> None:
    assert estimate([(0.0, 105.0, 10.0), (20.0, 121.5, 21.0)]) == (101.0, 0.5)


def test_a_meter_keeps_spans_only_while_it_traces_and_counts_messages_by_their_ranks() -> None:
    stats = CommStats()
    with stats.span("forward"):
        pass
    assert not stats.spans
    assert stats.message([0, 1]) == ()
    settled: list[int] = []
    stats.synchronize = lambda: settled.append(1)
    stats.trace()
    assert [stats.message([0, 1]), stats.message([0, 1], ">"), stats.message([0, 1])] == [
        ("0,1#1",),
        ("0>1#1",),
        ("0,1#2",),
    ]
    with stats.span("step"), stats.span("forward", detail="stage 0"):
        pass
    inner, outer = stats.spans
    assert (inner.kind, inner.detail, outer.kind) == ("forward", "stage 0", "step")
    assert outer.start <= inner.start <= inner.end <= outer.end
    assert len(settled) == 2
    stats.trace(afresh=False)
    assert len(stats.spans) == 2
    assert stats.message([0, 1]) == ("0,1#3",)
    stats.trace()
    assert not stats.spans
    assert stats.message([0, 1]) == ("0,1#1",)
