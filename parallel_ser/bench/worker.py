"""One measurement on one rank: warm up, time steps, trace some, recognise, and tell what came of it."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from parallel_ser.bench.check import check
from parallel_ser.bench.record import Job, RankShare
from parallel_ser.bench.roofline import step_flops
from parallel_ser.config import Config
from parallel_ser.corpora.protocols import Fold
from parallel_ser.models.registry import outline
from parallel_ser.parallel.comm.context import ProcessContext, process_context
from parallel_ser.parallel.cost.partition import block_costs
from parallel_ser.system.process import busy, energy, peak_uss, reset_peak, thread_seconds, uss, uss_after_trim
from parallel_ser.training import metrics
from parallel_ser.training.batches import probabilities
from parallel_ser.training.data import Dataset
from parallel_ser.training.interrupts import Request
from parallel_ser.training.tracing import TRACED, Tracer
from parallel_ser.training.trainer import Trainer

LATENCIES = 24
"""Utterances that are recognised one by one."""
AGAIN = 6
"""Timed steps that are taken once more to see whether memory grows."""
WARM_UP = 2
"""Steps that are let pass beside one of each shape."""


@dataclass(frozen=True)
class Task:
    """What a measurement is of.

    Attributes:
        job: the row.
        config: settings of the training; the job's strategy, batch and size take their places in it.
        data: utterances with features.
        fold: whose training side is trained on.
        steps: that are timed.
        watch_memory: take some more steps to see whether it grows.
        check: compare what is trained with one process.
        hook: ``module:function`` called with the trainer before the first step, on every rank; for tests that plant
            a defect.
    """

    job: Job
    config: Config
    data: Dataset
    fold: Fold
    steps: int
    watch_memory: bool = True
    check: bool = True
    hook: str = ""

    def measure(self) -> dict[str, Any] | None:
        """Measure on this rank of the group that the environment describes; on the first rank a ``Sample``'s fields."""
        train = self.config.train
        with process_context(train.device, self.job.threads, timeout=600, share=train.shared_memory) as ranks:
            every: list[dict[str, Any]] = ranks.gather(_measured(self, ranks))
            checked = _checked(self, ranks) if self.check else {}
        return {**_together(every), "check": checked} if every else None


def _measured(task: Task, ranks: ProcessContext) -> dict[str, Any]:
    baseline = uss()
    reset_peak()
    with TemporaryDirectory() as folder:
        trainer = Trainer(_config(task), task.data, task.fold, ranks, Path(folder), Request())
        if hook := _hook(task):
            hook(trainer)
        strategy, training = trainer.strategy, trainer.training
        batches = _batches(trainer, task.steps)
        flops = _flops(trainer, batches.timed) if ranks.first else 0.0
        losses = []
        strategy.set_learning_rate(task.config.train.learning_rate)

        def step(epoch: int, indices: list[int]) -> float:
            batch = training.batch(epoch, indices, strategy.reads_inputs)
            ranks.any_rank(False)  # ranks that read inputs took longer: a step is timed from when all are there
            began = time.perf_counter()
            losses.append(strategy.train_step(batch.inputs, batch.targets))
            return time.perf_counter() - began

        for epoch, indices in batches.warm:
            step(epoch, indices)
        strategy.stats.sent.clear()
        joules, threads, cpu, began = _joules(ranks), thread_seconds(), time.process_time(), time.perf_counter()
        times = [step(epoch, indices) for epoch, indices in batches.timed]
        wall, cpu, used = time.perf_counter() - began, time.process_time() - cpu, _joules(ranks)
        computing = busy(threads, thread_seconds()) if ranks.device.type == "cpu" else task.job.threads
        resident = uss_after_trim()
        sent = {kind: count / len(times) for kind, count in strategy.stats.sent.items()}
        peak = peak_uss() - baseline
        tracer = Tracer(strategy.stats, task.job.strategy, ranks, Path(folder) / "trace.json", TRACED)
        for epoch, indices in batches.traced:
            with tracer.batch():
                batch = training.batch(epoch, indices, strategy.reads_inputs)
            losses.append(strategy.train_step(batch.inputs, batch.targets))
            tracer.done()
        again = batches.timed[:AGAIN] if task.watch_memory else []
        for epoch, indices in again:  # memory that is lost in a step is lost in every one
            step(epoch, indices)
        growth = (uss_after_trim() - resident) / (len(batches.traced) + len(again)) if again else 0.0
        found = _recognise(trainer)
    trained = [index for _, indices in batches.timed for index in indices]
    hop = task.config.features.hop
    return {
        "times": times,
        "losses": losses,
        "utterances": len(trained) / len(times),
        "audio": hop * sum(training.frames[index].shape[1] for index in trained) / len(times),
        "peak": peak,
        "growth": growth,
        "cores": cpu / wall,
        "busy": computing,
        "sent": sent,
        "shares": tracer.record["ranks"] if tracer.record else [],
        "flops": flops,
        "joules": used - joules if used is not None and joules is not None and used >= joules else None,
        **found,
    }


def _hook(task: Task) -> Callable[[Trainer], object] | None:
    module, _, name = task.hook.partition(":")
    found: Callable[[Trainer], object] | None = getattr(importlib.import_module(module), name) if name else None
    return found


def _checked(task: Task, ranks: ProcessContext) -> dict[str, tuple[float, str]]:
    """After all that is timed and counted: it takes memory of its own."""
    with TemporaryDirectory() as folder:
        return check(_config(task), task.data, task.fold, ranks, Path(folder), _hook(task))


def _flops(trainer: Trainer, timed: Sequence[tuple[int, list[int]]]) -> float:
    """Operations of a timed step, mean over them; each shape is counted once."""
    config, data = trainer.config, trainer.data
    chain = outline(config.model, len(data.rows), len(data.classes))

    @cache
    def count(shape: tuple[int, ...]) -> float:
        return step_flops(block_costs(chain, shape))

    shapes = [tuple(trainer.training.batch(*one, with_inputs=False).inputs.x.shape) for one in timed]
    return fmean(map(count, shapes))


def _joules(ranks: ProcessContext) -> float | None:
    """What this rank can tell of: its GPU, or on the first rank the processors of all."""
    if ranks.device.type == "cuda":
        return energy(ranks.device.index)
    return energy() if ranks.first else None


def _config(task: Task) -> Config:
    train = task.config.train.model_copy(update={"batch": task.job.batch})
    model = task.config.model.model_copy(update={"size": task.job.size})
    return task.config.model_copy(update={"strategy": task.job.strategy, "train": train, "model": model})


@dataclass(frozen=True)
class _Batches:
    """(epoch, utterances) of each step."""

    warm: list[tuple[int, list[int]]]
    timed: list[tuple[int, list[int]]]
    traced: list[tuple[int, list[int]]]


def _batches(trainer: Trainer, steps: int) -> _Batches:
    """The steps of the first epochs; before them one of each shape that they have, for what is made once a shape."""
    training = trainer.training
    every: list[tuple[int, list[int]]] = []
    epoch = 0
    while len(every) < steps + TRACED:
        full = [one for one in training.order(epoch) if len(one) == trainer.config.train.batch]
        every += [(epoch, one) for one in full or training.order(epoch)]
        epoch += 1
    every = every[: steps + TRACED]
    shapes: dict[tuple[int, ...], tuple[int, list[int]]] = {}
    for number, indices in every:
        shapes.setdefault(tuple(training.batch(number, indices, with_inputs=False).inputs.x.shape), (number, indices))
    return _Batches([*shapes.values(), *every[:WARM_UP]], every[:steps], every[steps:])


def _recognise(trainer: Trainer) -> dict[str, Any]:
    """Recognise the test side in batches, some of it one by one, on every rank alike."""
    strategy, settings, fold = trainer.strategy, trainer.config.train, trainer.fold
    tested = trainer.inputs(fold.test)
    probabilities(strategy.predict, tested, settings.batch)  # each shape once
    began = time.perf_counter()
    rows = probabilities(strategy.predict, tested, settings.batch)
    seconds = time.perf_counter() - began
    latencies = []
    for turn in range(2):  # the first turn makes what is made once a shape
        for place in range(min(len(tested), LATENCIES)):
            one = tested.take([place])
            began = time.perf_counter()
            probabilities(strategy.predict, one, 1)
            if turn:
                latencies.append(time.perf_counter() - began)
    truth = np.array([trainer.data.label(index) for index in fold.test])
    confusion = metrics.confusion_matrix(truth, rows.argmax(1), len(trainer.data.classes))
    uar = float(metrics.uar(confusion))
    return {"inference": seconds, "inferred": len(tested), "latencies": latencies, "uar": uar}


def _together(every: list[dict[str, Any]]) -> dict[str, Any]:
    """The ranks' as one: the slowest rank's times, the sum of what was sent and used."""
    first = every[0]
    sent: dict[str, float] = {}
    for one in every:
        for kind, count in one["sent"].items():
            sent[kind] = sent.get(kind, 0.0) + count
    joules = [one["joules"] for one in every if one["joules"] is not None]
    shares = [{name: one[name] for name in RankShare.model_fields} for one in first["shares"]]
    return {
        "steps": [max(times) for times in zip(*(one["times"] for one in every), strict=True)],
        "losses": first["losses"],
        "utterances": first["utterances"],
        "audio": first["audio"],
        "inference": max(one["inference"] for one in every),
        "inferred": first["inferred"],
        "latencies": [max(times) for times in zip(*(one["latencies"] for one in every), strict=True)],
        "uar": first["uar"],
        "peaks": [one["peak"] for one in every],
        "growth": max(one["growth"] for one in every),
        "cores": sum(one["cores"] for one in every),
        "busy": sum(one["busy"] for one in every),
        "sent": sent,
        "shares": shares,
        "flops": first["flops"],
        "joules": sum(joules) if joules else None,
    }


class Work(Protocol):
    """What ranks do together."""

    def measure(self) -> dict[str, Any] | None:
        """Do it on this rank of the group that the environment describes; on the first rank what came of it."""


def rank(task: Work, number: int, ranks: int, port: int, tell: Callable[[Any], None]) -> None:
    """A rank's whole life, in a process of its own; what it found, or what went wrong, goes to ``tell``."""
    os.environ.update(
        RANK=str(number),
        LOCAL_RANK=str(number),
        WORLD_SIZE=str(ranks),
        LOCAL_WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    status_of_exit = 0
    try:
        found = task.measure()
        if found is not None:
            tell({"found": found})
    except BaseException as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # torch's pipeline tells of the stage first
            cause = cause.__cause__
        tell({"problem": f"rank {number}: {' '.join(str(cause).split())[:300] or type(cause).__name__}"})
        status_of_exit = 1
    os._exit(status_of_exit)  # gloo's threads may outlive the interpreter's tidying up; see hard_exit
