"""From what a user asks to a record: settings, data, the suite's rows, and the rounds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from parallel_ser.bench import record as records
from parallel_ser.bench import suites
from parallel_ser.bench.record import Job, Record
from parallel_ser.bench.run import Plan, Runner
from parallel_ser.config import Config, load
from parallel_ser.errors import UserError
from parallel_ser.models.plans import GROUPS, count_blocks
from parallel_ser.report.terminal import progress, rounds
from parallel_ser.training.data import prepare
from parallel_ser.training.run_folder import stamped

BASE = (
    "corpus.synthetic.speakers=6",
    "split.folds=3",
    "train.learning_rate=2e-4",  # a gentle one: rounding is amplified by a training that jumps
    "model.dropout=0.1",
)
"""Other defaults than a training's."""

COUNTS = (2, 4, 8, 16)
"""Micro-batches of the suite of that name."""


@dataclass(frozen=True)
class Asked:
    """The command line of ``parallel-ser bench``; ``budget`` is in seconds, the rest as there."""

    suite: str
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    ranks: int = 2
    size: str = "s"
    batch: int = 32
    microbatches: int = 4
    wanted: tuple[str, ...] = ()
    rounds: int = 5
    budget: float = 180.0
    out: Path | None = None
    resume: bool = False
    hooks: tuple[tuple[str, str], ...] = ()
    """Rows with a function that spoils them, for tests."""


def measure(asked: Asked) -> tuple[Path, Record]:
    """Carry out a suite, or go on with one; returns its folder and record.

    Raises:
        UserError: whatever is wrong with the settings, the corpus, the processes or the folder.
    """
    cores = len(os.sched_getaffinity(0))
    if asked.ranks > cores:
        raise UserError(
            f"--nproc {asked.ranks} is more than this machine's {cores} cores, and ranks that share a core measure "
            f"nothing: use --nproc {cores} or fewer."
        )
    config = load(asked.config, asked.overrides, BASE)
    folder = asked.out or stamped(f"bench-{asked.suite}")
    path = folder / "records.json"
    record = None
    if asked.resume:
        if not path.exists():
            raise UserError("--resume goes on in a folder with a records.json: name it with --out.")
        record = records.read(path)
        if record.suite != asked.suite:
            raise UserError(f"{path} is of the suite {record.suite}: go on with parallel-ser bench {record.suite}.")
        config = Config.model_validate(record.settings)
    elif path.exists():
        raise UserError(f"{folder} has results already: give another --out, or --resume to go on there.")
    jobs = _jobs(asked, config, cores)
    with progress("features") as advance:
        data, folds, _ = prepare(config, advance)
    plan = Plan(asked.suite, jobs, asked.rounds, asked.budget, tune=asked.suite == "strategies")
    with rounds() as told:
        return folder, Runner(config, data, folds[0], path, told, dict(asked.hooks)).run(plan, record)


def _jobs(asked: Asked, config: Config, cores: int) -> list[Job]:
    blocks = count_blocks(config.model.model_copy(update={"size": asked.size}))
    if asked.suite == "strategies":
        jobs = suites.strategies(
            asked.ranks, cores, asked.size, asked.batch, asked.microbatches, blocks, GROUPS, asked.wanted
        )
    elif asked.suite == "scaling":
        names = asked.wanted or ("ddp", "tensor_split time", "pipeline 1f1b")
        jobs = suites.scaling(cores, asked.size, asked.batch, GROUPS, blocks, names)
    else:
        schedules = asked.wanted or ("gpipe", "1f1b")
        jobs = suites.microbatches(asked.ranks, cores, asked.size, asked.batch, COUNTS, schedules, blocks)
    if not any(job.strategy.name != "single" for job in jobs):
        every = suites.every_strategy(asked.ranks, asked.microbatches)
        raise UserError(f"--strategies {','.join(asked.wanted)} names none of {', '.join(every)}.")
    return jobs
