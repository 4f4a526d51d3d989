"""A trace of a few of a run's steps: spans of all ranks, gathered on the first, which writes and tells them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.schedule.actions import Orders
from parallel_ser.parallel.schedule.registry import actions
from parallel_ser.parallel.settings import StrategySettings, layout, schedule_name
from parallel_ser.parallel.strategies.registry import descriptor_of
from parallel_ser.parallel.tracing import clock, trace
from parallel_ser.parallel.tracing.stats import CommStats
from parallel_ser.system.files import write_text

WARM_UP, TRACED = 2, 3
"""Steps that are let pass, for they are slower, and steps that are traced."""


class Tracer:
    """Traces a few steps of a training, on every rank alike, without a change to what is trained.

    Attributes:
        record: on the first rank, once the steps are done: where they went, as ``report`` tells it.
    """

    record: dict[str, Any] | None = None

    def __init__(
        self, stats: CommStats, settings: StrategySettings, mesh: ProcessContext, path: Path, steps: int
    ) -> None:
        """Trace the third to fifth of ``steps`` steps, or the last three where there are fewer, to ``path``."""
        self.stats, self.settings, self.mesh, self.path = stats, settings, mesh, path
        first = max(0, min(WARM_UP, steps - TRACED))
        self.traced = range(first, min(first + TRACED, steps))
        self.step = 0

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Around the making of a batch; after it the ranks of a traced step wait for each other.

        For some ranks read inputs and others do not: what the step costs does not depend on that.
        """
        if self.step in self.traced:
            self.stats.trace(afresh=self.step == self.traced.start)
        with self.stats.span("batch"):
            yield
        if self.stats.tracing:
            with self.stats.span("wait", detail="for the other ranks' batches"):
                self.mesh.any_rank(False)

    def done(self) -> None:
        """After a step; after the last that is traced the trace is written.

        Raises:
            UserError: it cannot be written.
        """
        self.stats.tracing = False  # what is between steps, such as the selection, is none of it
        self.step += 1
        if self.traced and self.step == self.traced.stop:
            self._write()

    def _write(self) -> None:
        ahead, wrong = clock.offsets(self.mesh)
        every = self.mesh.gather(trace.shifted(self.stats.spans, ahead[self.mesh.rank]))
        self.stats.spans.clear()
        self.mesh.rank0_only(lambda: self._tell(dict(enumerate(every)), wrong))

    def _tell(self, spans: trace.Spans, wrong: float) -> None:
        import json

        orders, places = schedule_of(self.settings, self.mesh.size)
        title = name_of(self.settings)
        record = {
            "strategy": title,
            "steps": [number + 1 for number in self.traced],
            "clock": "one" if not wrong else f"of several machines, within {1e3 * wrong:.3f} ms of each other",
            "ranks": [asdict(one) for one in trace.breakdown(spans, orders, places)],
        }
        write_text(self.path, json.dumps(trace.document(spans, title, record)) + "\n")
        self.record = record | {"file": str(self.path)}


def schedule_of(settings: StrategySettings, ranks: int) -> tuple[Orders, list[int]]:
    """The schedule of a strategy's pipelines, and each rank's place in its own; no schedule where there is none."""
    _, pipeline, tensor = layout(settings, ranks)
    places = [rank // tensor % pipeline for rank in range(ranks)]
    if pipeline == 1:
        return [], places
    return actions(schedule_name(settings), pipeline, settings.microbatches), places


def name_of(settings: StrategySettings) -> str:
    """Such as ``pipeline 1f1b``."""
    return f"{settings.name} {descriptor_of(settings.name).words(settings)}".rstrip()
