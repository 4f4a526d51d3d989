"""The largest network that trains when each process is held to so much memory, under several strategies.

As GPipe's and torchgpipe's tables: an encoder grows by layers, other networks in width, in steps of 5%, which is about
10% of the parameters. The planner says where a search begins, and how a pipeline is cut: so that its fullest rank is as
empty as can be. Then fresh processes try, larger or smaller from there, until one trains and the next does not.

The limit is the operating system's (``RLIMIT_DATA``): an allocation that would pass it fails. It counts what a process
may write to, resident or not, so what the interpreter had reserved and not touched by when the ranks had met is not
counted against it. On a GPU it is the share of the device's memory that torch's allocator may take.
"""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import torch

from parallel_ser.bench.plain import Bar, Kept, Plain
from parallel_ser.bench.pool import Pool
from parallel_ser.bench.suites import alone, chosen, every_strategy, rows_of, runnable
from parallel_ser.config import Config
from parallel_ser.models.batch import random_batch
from parallel_ser.models.chain import Chain
from parallel_ser.models.registry import count_parts, outline, title
from parallel_ser.models.registry import descriptor_of as descriptor_of_model
from parallel_ser.parallel.comm.context import process_context
from parallel_ser.parallel.cost.hardware_model import described
from parallel_ser.parallel.cost.model_profile import ModelProfile
from parallel_ser.parallel.cost.planner import Prediction, predict
from parallel_ser.parallel.settings import StrategySettings, layout
from parallel_ser.parallel.strategies.registry import descriptor_of
from parallel_ser.report.terminal import Rounds
from parallel_ser.system.process import map_from, reset_peak, status
from parallel_ser.training.start import started

STEP = 1.05
"""From one width to the next."""
NARROWEST, WIDEST = -60, 60
"""Powers of ``STEP`` that are considered."""
DEEPEST = 96
"""Layers of an encoder that are considered."""
IMPORTED = 420 * 2**20
"""Bytes that a process with torch takes before the model, for where to begin."""
SECONDS = 300.0
"""After which an attempt is given up."""
MAPPED = 2**16
"""Bytes from which the C library maps an allocation by itself, so that it keeps nothing that it was given back.

Of smaller ones it keeps what is free between those in use: with 1 MiB, more than an activation of an encoder for an
utterance, that were 70 to 110 MiB in each process of WavLM base.
"""
WORDS = ("allocate memory", "bad_alloc", "memoryerror", "could not create", "enough memory", "out of memory", "enomem")
"""Of problems that are want of memory."""
SIGNALS = ("ended by signal 6", "ended by signal 11")
"""What ends a process whose C++ gets none, and whose thread gets no stack."""

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "LoRA": {"model": {"options": {"tune": "lora"}}},
    "bf16": {"train": {"precision": "bf16"}},
}
"""Other ways to tune an encoder: what is changed of the settings, by group."""
HEADINGS = (
    "strategy",
    "processes",
    "size",
    "parameters",
    "of single",
    "expected by the planner",
    "peak of each process, MiB",
    "stages open at",
    "one step larger",
)


@dataclass(frozen=True)
class Attempt:
    """Whether a network trains: one step of a whole batch under the limit, in fresh processes.

    Attributes:
        config: of the training; the model, the precision, the device and the seed are read.
        strategy: with the cut of a pipeline.
        shape: of the batch ``(utterances, 1, rows, frames)``.
        classes: of emotions.
        limit: bytes a process.
        threads: of each.
    """

    config: Config
    strategy: StrategySettings
    shape: tuple[int, ...]
    classes: int
    limit: int
    threads: int

    def measure(self) -> dict[str, Any] | None:
        """Train a step on this rank; on the first rank the peak of each, in bytes, and the loss."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C++ says at length that it got no memory
        train = self.config.train.model_copy(update={"batch": self.shape[0]})
        config = self.config.model_copy(update={"strategy": self.strategy, "train": train})
        with process_context(train.device, self.threads, timeout=120, share=train.shared_memory) as ranks:
            map_from(MAPPED)
            reset_peak()
            _hold(self.limit, ranks.device)
            strategy = started(config, self.shape[2], self.classes, self.shape[3], ranks)
            gc.collect()
            for _ in range(2):  # the first one makes the moments
                loss = strategy.train_step(*random_batch(self.shape, self.classes))
            on_gpu = ranks.device.type == "cuda"
            peak = torch.cuda.max_memory_allocated(ranks.device) if on_gpu else status()["VmHWM"]
            every = ranks.gather(peak)
        return {"peaks": every, "loss": loss} if every else None


def _hold(limit: int, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / torch.cuda.mem_get_info(device)[1]), device)
        return
    now = status()
    most = limit - now["VmRSS"] + now["VmData"]
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


class Row(NamedTuple):
    """What a row is of.

    Attributes:
        settings: of the strategy.
        ranks: processes.
        variant: a name of ``VARIANTS``; empty for the settings as they are.
    """

    settings: StrategySettings
    ranks: int
    variant: str = ""


def strategies(
    ranks: int,
    batch: int,
    microbatches: int,
    blocks: int,
    parts: int,
    wanted: Sequence[str] = (),
    variants: Sequence[str] = (),
) -> dict[str, Row]:
    """Rows by their names: one process first, which the rest is compared with.

    With ``variants`` each of them has a row of it, and all have one with checkpointing.
    """
    whole, few = alone(1), alone(min(microbatches, batch))
    rows = {
        "single, whole batch": Row(whole, 1),
        "single": Row(few, 1),
        "single, checkpointing": Row(few.model_copy(update={"checkpointing": "block"}), 1),
        **{f"single, {variant}": Row(few, 1, variant) for variant in variants},
    }
    every = every_strategy(ranks, microbatches)
    for name in chosen(every, wanted or rows_of("memory")):
        most = max(1, batch // layout(every[name], ranks)[0])
        settings = every[name].model_copy(update={"microbatches": min(microbatches, most)})  # they hold less, if slower
        if (found := runnable(settings, ranks, blocks, parts, batch)) is None:
            continue
        rows[name] = Row(found, ranks)
        if variants or name == "pipeline 1f1b":
            rows[f"{name}, checkpointing"] = Row(found.model_copy(update={"checkpointing": "block"}), ranks)
        rows |= {f"{name}, {variant}": Row(found, ranks, variant) for variant in variants}
    return rows


class Search:
    """The widest network of each strategy.

    Args:
        config: of the training.
        shape: of the batch.
        classes: of emotions.
        limit: bytes a process.
        cores: that the processes share.
    """

    def __init__(self, config: Config, shape: tuple[int, ...], classes: int, limit: int, cores: int):
        self.config, self.shape, self.classes, self.limit, self.cores = config, shape, classes, limit, cores
        self.pool = Pool()
        self.facts = cache(self._facts)
        self.parts = count_parts(config.model)
        self.layered = bool(descriptor_of_model(config.model).waveform)
        self.least, self.most = (1, DEEPEST) if self.layered else (NARROWEST, WIDEST)
        self.of = cache(self._of)

    def _of(self, variant: str) -> Search:
        """The search among networks that are tuned in another way."""
        if not variant:
            return self
        config = self.config
        for group, changes in VARIANTS[variant].items():
            settings = getattr(config, group)
            if "options" in changes:
                changes = {**changes, "options": {**settings.options, **changes["options"]}}
            config = config.model_copy(update={group: settings.model_copy(update=changes)})
        found = Search(config, self.shape, self.classes, self.limit, self.cores)
        found.pool = self.pool
        return found

    def widened(self, power: int) -> Config:
        """The configuration with its network so many steps wider; an encoder with so many layers, 0 being its own."""
        model = self.config.model
        if self.layered:
            update: dict[str, Any] = {"options": {**model.options, "layers": power} if power else model.options}
        else:
            update = {"width": model.width * STEP**power}
        return self.config.model_copy(update={"model": model.model_copy(update=update)})

    def size(self, power: int) -> str:
        """Of a network, in words."""
        return f"{power} layers" if self.layered else f"{STEP**power:.2f}"

    def _chain(self, power: int) -> Chain:
        return outline(self.widened(power).model, self.shape[2], self.classes)

    def _facts(self, power: int) -> ModelProfile:
        return ModelProfile(self._chain(power), self.shape, self.config.train.precision == "bf16", flops=1e9)

    def parameters(self, power: int) -> int:
        """Of the network."""
        return sum(one.numel() for one in self._chain(power).parameters())

    def emptiest(self, settings: StrategySettings, ranks: int, power: int) -> Prediction:
        """The prediction for the cut whose fullest rank is the emptiest."""
        machine = described(ranks, 1e-4, 1e9, 1e9)
        best = predict(settings, ranks, self.facts(power), machine, self.parts)
        while not best.refusal and best.cuts:
            tighter = predict(settings, ranks, self.facts(power), machine, self.parts, best.memory * 0.99)
            if tighter.refusal:
                break
            best = tighter
        return best

    def expected(self, settings: StrategySettings, ranks: int) -> int:
        """The widest network that the planner expects to fit."""
        low, high = self.least, self.most
        while low < high:
            middle = (low + high + 1) // 2
            if self.emptiest(settings, ranks, middle).memory <= self.limit - IMPORTED:
                low = middle
            else:
                high = middle - 1
        return low

    def attempt(self, settings: StrategySettings, ranks: int, power: int) -> dict[str, Any]:
        """Try it: ``peaks`` where it trains, else ``problem``."""
        if descriptor_of(settings.name).staged:
            cuts = self.emptiest(settings, ranks, power).cuts
            settings = settings.model_copy(update={"stages": cuts})
        threads = max(1, self.cores // ranks)
        task = Attempt(self.widened(power), settings, self.shape, self.classes, self.limit, threads)
        return {"power": power, "stages": list(settings.stages), **self.pool.run(task, ranks, SECONDS)}

    def run(self, settings: StrategySettings, ranks: int) -> dict[str, Any]:
        """``expected`` power, ``found`` one (None where nothing trains), and the ``attempts``."""
        start = power = self.expected(settings, ranks)
        tried: dict[int, dict[str, Any]] = {}

        def trains(power: int) -> bool:
            if power not in tried:
                tried[power] = self.attempt(settings, ranks, power)
            return "peaks" in tried[power]

        while not trains(power) and short_of_memory(tried[power]["problem"]) and power > self.least:
            power -= 1
        while "peaks" in tried[power] and power < self.most and trains(power + 1):
            power += 1
        found = power if "peaks" in tried[power] else None
        return {"expected": start, "found": found, "attempts": list(tried.values())}


def short_of_memory(problem: str) -> bool:
    """Whether a problem's words are those of an allocation that failed."""
    return any(word in problem.lower() for word in WORDS) or any(sign in problem for sign in SIGNALS)


def measure(search: Search, rows: dict[str, Row], kept: Kept, told: Rounds) -> Plain:
    """Search for each row; those that are kept are not searched again."""
    found = {}
    for place, (name, row) in enumerate(rows.items()):
        told("strategies", place, len(rows))
        found[name] = kept.sample(name, 0, partial(search.of(row.variant).run, row.settings, row.ranks))
    told("strategies", len(rows), len(rows))
    sizes = {name: search.parameters(one["found"]) for name, one in found.items() if one["found"] is not None}
    reference = sizes.get("single")
    lines = []
    for name, one in found.items():
        size, expected = sizes.get(name), search.parameters(one["expected"])
        done = next((tried for tried in one["attempts"] if "peaks" in tried and tried["power"] == one["found"]), None)
        failed = [tried for tried in one["attempts"] if "problem" in tried]
        lines.append(
            (
                name,
                f"{rows[name].ranks}",
                search.size(one["found"]) if size else "none",
                f"{size / 1e6:.1f} M" if size else "–",
                f"{size / reference:.2f}" if size and reference else "–",
                f"{expected / 1e6:.1f} M",
                ", ".join(f"{peak / 2**20:.0f}" for peak in done["peaks"]) if done else "–",
                " ".join(map(str, done["stages"])) if done and done["stages"] else "–",
                _why(failed[-1]["problem"]) if failed else "not tried",
            )
        )
    utterances, _, height, frames = search.shape
    grown = "of other numbers of layers" if search.layered else f"widened in steps of {STEP - 1:.0%}"
    data = (
        f"{title(search.config.model)}, {grown}; {utterances} utterances of {height} × "
        f"{frames}; {search.limit / 2**20:.0f} MiB a process, the interpreter's {IMPORTED / 2**20:.0f} or so among them"
    )
    named = [Bar(name, size / 1e6, size / 1e6, size / 1e6) for name, size in sizes.items()]
    return Plain("memory", data, HEADINGS, lines, _said(sizes, rows), "million parameters that train", named)


def _why(problem: str) -> str:
    return "no memory" if short_of_memory(problem) else problem[:80]


def _said(sizes: dict[str, int], rows: dict[str, Row]) -> list[str]:
    split = {name: size for name, size in sizes.items() if rows[name].ranks > 1}
    whole = {name: size for name, size in sizes.items() if rows[name].ranks == 1}
    if not split or not whole:
        return ["Nothing could be compared."]
    best, base = max(split, key=lambda name: split[name]), max(whole, key=lambda name: whole[name])
    times = split[best] / whole[base]
    said = [
        f"Largest: {best}, {split[best] / 1e6:.1f} M parameters on {rows[best].ranks} processes, {times:.2f} times the "
        f"largest of one process ({base}, {whole[base] / 1e6:.1f} M)."
    ]
    if times < 1.0:
        said.append("One process holds more: at this size activations weigh more than what is split.")
    return said
