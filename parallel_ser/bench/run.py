"""Rounds of measurements: A B C, A B C, … in fresh processes, each sample kept as soon as it is there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from parallel_ser.bench.pool import Pool
from parallel_ser.bench.record import Job, Record, Row, Sample
from parallel_ser.bench.roofline import measure_peaks
from parallel_ser.bench.suites import expected_bubble, is_alone, settle
from parallel_ser.bench.worker import Task
from parallel_ser.config import Config
from parallel_ser.corpora.protocols import Fold
from parallel_ser.errors import UserError
from parallel_ser.parallel.comm.context import choose_device
from parallel_ser.parallel.strategies.registry import descriptor_of
from parallel_ser.report.terminal import Rounds
from parallel_ser.system.cores import typed_command, usable_cores
from parallel_ser.system.environment import environment
from parallel_ser.training.data import Dataset

STEPS = 8
"""Timed steps of a measurement."""
SECONDS = 300.0
"""After which a measurement is given up."""


@dataclass(frozen=True)
class Plan:
    """What is measured and for how long.

    Attributes:
        suite: its name.
        jobs: the rows; those of the single process are tried first where ``tune`` is set, and the fastest kept.
        rounds: at the most.
        budget: seconds after which no further round begins.
        steps: timed in a measurement.
        tune: pick the single process's micro-batches first.
    """

    suite: str
    jobs: list[Job]
    rounds: int
    budget: float
    steps: int = STEPS
    tune: bool = False


def prepared(data: Dataset) -> Dataset:
    """The data as it travels to the ranks: without the corpora's own fields, which nothing here reads."""
    return replace(data, utterances=tuple(replace(one, fields={}) for one in data.utterances))


class Runner:
    """Carries out a plan, or goes on with the record of one that was stopped."""

    def __init__(self, config: Config, data: Dataset, fold: Fold, path: Path, told: Rounds, hooks: Mapping[str, str]):
        self.config, self.data, self.fold, self.path, self.told = config, prepared(data), fold, path, told
        self.hooks = hooks
        self.pool: Pool | None = None

    def run(self, plan: Plan, record: Record | None = None) -> Record:
        """Measure every round that the budget allows, at least one; returns the record, which is also written.

        A row that a stop left with a sample of a round is not measured again in it.
        """
        began = time.monotonic()
        self.pool = Pool({name for job in plan.jobs for name in descriptor_of(job.strategy.name).imports})
        if record is None:
            jobs = self._tuned(plan) if plan.tune else plan.jobs
            record = self._new(plan, jobs)
            record.write(self.path)
        longest = 0.0
        for number in range(plan.rounds):
            start = time.monotonic()
            if number and start - began + longest > plan.budget:
                break
            record = self._round(record, number, plan)
            longest = max(longest, time.monotonic() - start)
        return record

    def _round(self, record: Record, number: int, plan: Plan) -> Record:
        rows = record.rows
        for place, row in enumerate(rows):
            self.told(f"round {number + 1}", place, len(rows))
            if any(one.round == number for one in row.samples):
                continue
            record = record.with_sample(row.job.name, self._sample(row.job, number, plan.steps))
            record.write(self.path)
        self.told(f"round {number + 1}", len(rows), len(rows))
        return record

    def _sample(self, job: Job, number: int, steps: int) -> Sample:
        assert self.pool is not None
        first, checked = number == 0, number == 0 and not is_alone(job.strategy)
        hook = self.hooks.get(job.name, "")
        task = Task(job, self.config, self.data, self.fold, steps, first, checked, hook)
        return Sample(round=number, **self.pool.run(task, job.ranks, SECONDS))

    def _tuned(self, plan: Plan) -> list[Job]:
        """The plan's jobs with the fastest of the single process's micro-batches, the tie-break that people forget."""
        singles = [job for job in plan.jobs if is_alone(job.strategy)]
        seconds = {}
        for place, job in enumerate(singles):
            self.told("trying the single process", place, len(singles))
            sample = self._sample(job, -1, max(3, plan.steps // 2))
            if not sample.problem:
                seconds[job.name] = median(sample.steps)
        self.told("trying the single process", len(singles), len(singles))
        if not seconds:
            raise UserError("the single process could not be measured, so there is nothing to compare with.")
        return settle(plan.jobs, seconds)

    def _new(self, plan: Plan, jobs: Sequence[Job]) -> Record:
        fold, device = self.fold, choose_device(self.config.train.device, 0)
        sides = f"{len(fold.train)} utterances trained on, {len(fold.test)} tested"
        return Record(
            suite=plan.suite,
            command=typed_command(),
            environment=environment(max(job.ranks for job in jobs), min(job.threads for job in jobs)),
            settings=self.config.model_dump(mode="json"),
            device=device.type,
            peak=self._peak(device),
            data=f"{self.config.corpus.name}: {sides}, {len(self.data.rows)} rows a frame",
            rows=tuple(Row(job=job, expected_bubble=expected_bubble(job.strategy, job.ranks)) for job in jobs),
        )

    def _peak(self, device: torch.device) -> float:
        """Of one core, all being busy, or of one GPU; this process computes nothing else."""
        cores = usable_cores()
        torch.set_num_threads(cores)
        precision = torch.bfloat16 if self.config.train.precision == "bf16" else torch.float32
        return measure_peaks(device, precision).flops / (cores if device.type == "cpu" else 1)
