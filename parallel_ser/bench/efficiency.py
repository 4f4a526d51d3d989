"""What a network costs under each strategy: utterances a second, memory of the fullest process beside the planner's.

Each row is some steps on one batch of random numbers in fresh processes; its losses are compared with those of one
process. A pipeline is cut so that its fullest rank is as empty as can be, as in the suite ``memory``.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from parallel_ser.bench.memory import MAPPED, Row, Search
from parallel_ser.bench.plain import Bar, Kept, Plain
from parallel_ser.bench.pool import Pool
from parallel_ser.config import Config
from parallel_ser.models.batch import random_batch
from parallel_ser.models.registry import title
from parallel_ser.parallel.comm.context import peak_memory, process_context
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.strategies.registry import descriptor_of
from parallel_ser.report.terminal import Rounds
from parallel_ser.system.process import map_from, reset_peak, uss
from parallel_ser.training.start import started

SECONDS = 1800.0
"""After which a row is given up."""
STRATEGIES = ("pipeline 1f1b", "pipeline zbv", "tensor_split", "fsdp", "zero1", "ddp")
HEADINGS = (
    "strategy",
    "processes",
    "utterances/s",
    "peak MiB",
    "of single",
    "planned MiB",
    "utterances/s per GiB",
    "loss off by",
)


@dataclass(frozen=True)
class Steps:
    """Some steps of a strategy: a ``pool`` task.

    Attributes:
        config: of the training.
        strategy: with the cut of a pipeline.
        shape: of the batch ``(utterances, 1, rows, frames)``.
        classes: of emotions.
        threads: of each process.
        repeats: timed steps, behind one that makes the moments.
    """

    config: Config
    strategy: StrategySettings
    shape: tuple[int, ...]
    classes: int
    threads: int
    repeats: int

    def measure(self) -> dict[str, Any] | None:
        """Seconds of each step, losses, and of each process the peak above what it held after its imports."""
        train = self.config.train.model_copy(update={"batch": self.shape[0]})
        config = self.config.model_copy(update={"strategy": self.strategy, "train": train})
        batch = random_batch(self.shape, self.classes)
        with process_context(train.device, self.threads, timeout=SECONDS, share=train.shared_memory) as ranks:
            map_from(MAPPED)  # the planner's bytes are those in use, not those that the C library keeps
            before = uss() if ranks.device.type == "cpu" else 0
            reset_peak()
            strategy = started(config, self.shape[2], self.classes, self.shape[3], ranks)
            gc.collect()
            seconds, losses = [], []
            for _ in range(1 + self.repeats):
                began = time.perf_counter()
                losses.append(strategy.train_step(*batch))
                seconds.append(time.perf_counter() - began)
            every = ranks.gather(peak_memory(ranks.device) - before)
        return {"seconds": seconds[1:], "losses": losses, "peaks": every} if every else None


def measure(search: Search, rows: Mapping[str, Row], repeats: int, kept: Kept, told: Rounds) -> Plain:
    """A row for each strategy; those that are kept are not measured again."""
    pool, found, planned = Pool(), {}, {}
    for place, (name, (settings, ranks, _)) in enumerate(rows.items()):
        told("strategies", place, len(rows))
        expected = search.emptiest(settings, ranks, 0)
        planned[name] = expected.memory
        if descriptor_of(settings.name).staged:
            settings = settings.model_copy(update={"stages": expected.cuts})
        threads = max(1, search.cores // ranks)
        task = Steps(search.config, settings, search.shape, search.classes, threads, repeats)
        found[name] = kept.sample(name, 0, partial(pool.run, task, ranks, SECONDS))
    told("strategies", len(rows), len(rows))
    whole = found.get("single", {})
    lines, bars = [], []
    for name, one in found.items():
        if "problem" in one:
            lines.append(
                (name, f"{rows[name].ranks}", *["–"] * 3, f"{planned[name] / 2**20:,.0f}", "–", one["problem"][:60])
            )
            continue
        rates = [search.shape[0] / seconds for seconds in one["seconds"]]
        rate, peak = statistics.median(rates), max(one["peaks"])
        gibs = sum(one["peaks"]) / 2**30
        off = _off(one["losses"], whole["losses"]) if "losses" in whole else float("nan")
        lines.append(
            (
                name,
                f"{rows[name].ranks}",
                f"{rate:.2f}",
                f"{peak / 2**20:,.0f}",
                f"{peak / max(whole['peaks']):.2f}" if "peaks" in whole else "–",
                f"{planned[name] / 2**20:,.0f}",
                f"{rate / gibs:.2f}",
                f"{off:.0e}" if off else "0",
            )
        )
        bars.append(Bar(name, rate, min(rates), max(rates)))
    utterances, _, height, frames = search.shape
    size = search.parameters(0) / 1e6
    data = f"{title(search.config.model)}, {size:.1f} M parameters; {utterances} utterances of {height} × {frames}"
    return Plain("efficiency", data, HEADINGS, lines, _said(found, rows), "utterances a second", bars)


def _off(ours: list[float], theirs: list[float]) -> float:
    """The largest relative difference of two runs' losses."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def _said(found: Mapping[str, dict[str, Any]], rows: Mapping[str, Row]) -> list[str]:
    sound = {name: max(one["peaks"]) for name, one in found.items() if "peaks" in one}
    split = {name: peak for name, peak in sound.items() if rows[name].ranks > 1}
    if "single" not in sound or not split:
        return ["Nothing could be compared."]
    least = min(split, key=lambda name: split[name])
    share = split[least] / sound["single"]
    return [f"Emptiest: {least}, whose fullest of {rows[least].ranks} processes peaks at {share:.2f} of one process."]
