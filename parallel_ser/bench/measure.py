"""From what a user asks to a record: settings, data, the suite's rows, and the rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from parallel_ser.bench import record as records
from parallel_ser.bench import suites
from parallel_ser.bench.asked import Asked, SuiteName
from parallel_ser.bench.plain import Kept, Plain, record_path
from parallel_ser.bench.record import Job, Record
from parallel_ser.bench.run import Plan, Runner
from parallel_ser.config import Config, load
from parallel_ser.errors import UserError
from parallel_ser.models.registry import count_blocks, count_parts, descriptor_of
from parallel_ser.report.terminal import progress, rounds
from parallel_ser.system.cores import usable_cores
from parallel_ser.training.copies import prepare_training
from parallel_ser.training.data import corpora_of, input_shape, prepare
from parallel_ser.training.run_folder import results

BASE = (
    "corpus.synthetic.speakers=6",
    "split.folds=3",
    "features.window=0.032",  # as configs/ravdess.yaml
    "features.hop=0.016",
    "train.learning_rate=2e-4",  # a gentle one: rounding is amplified by a training that jumps
    "model.dropout=0.1",
)
"""Other defaults than a training's."""

COUNTS = (2, 4, 8, 16)
"""Micro-batches of the suite of that name."""
PROCESSES = (1, 2, 4, 8, 16, 32, 64)
"""Of the suite ``classical``."""
FILES = 60
"""Of the suite ``features``."""
TYPICAL, CLASSES = 3.0, 8
"""Seconds of an utterance and emotions, of the suite ``efficiency``."""
ROUNDS = 3
"""At the most, of the suites whose rows take long."""


def measure(asked: Asked) -> tuple[Path, Record | Plain]:
    """Carry out a suite, or go on with one; returns its folder, and a record of steps or a table.

    Raises:
        UserError: whatever is wrong with the settings, the corpus, the processes or the folder.
    """
    with results(asked.out, f"bench-{asked.suite}") as folder:
        if asked.suite in PLAIN:
            cores = _cores()
            return folder, PLAIN[asked.suite](asked, Kept(folder, asked.suite, asked.resume, cores), cores)
        return folder, _steps(asked, folder)


def _cores(ranks: int = 1) -> int:
    cores = usable_cores()
    if ranks > cores:
        raise UserError(
            f"--nproc {ranks} is more than this machine's {cores} cores, and ranks that share a core measure "
            f"nothing: use --nproc {cores} or fewer."
        )
    return cores


def _config(asked: Asked) -> Config:
    sized = [*([f"model.size={asked.model}"] if asked.model else []), f"train.batch={asked.batch}"]
    return load(asked.config, [*asked.overrides, *sized], BASE)


def _steps(asked: Asked, folder: Path) -> Record:
    """A suite whose rows are training steps."""
    cores, config = _cores(asked.nproc), _config(asked)
    path = record_path(folder, asked.resume)
    record = None
    if asked.resume:
        record = records.read(path)
        if record.suite != asked.suite:
            raise UserError(f"{path} is of the suite {record.suite}: go on with parallel-ser bench {record.suite}.")
        config = Config.model_validate(record.settings)
    jobs = _jobs(asked, config, cores)
    with progress("features") as advance:
        data, folds, _ = prepare_training(config, advance)
    plan = Plan(asked.suite, jobs, asked.repeats, asked.budget_seconds, tune=asked.suite == "strategies")
    with rounds() as told:
        return Runner(config, data, folds[0], path, told, asked.hooks).run(plan, record)


def _jobs(asked: Asked, config: Config, cores: int) -> list[Job]:
    blocks, parts = count_blocks(config.model), count_parts(config.model)
    if asked.suite == "strategies":
        jobs = suites.strategies(
            asked.nproc, cores, config.model.size, asked.batch, asked.microbatches, blocks, parts, asked.strategies
        )
    elif asked.suite == "scaling":
        names = asked.strategies or suites.rows_of(asked.suite)
        jobs = suites.scaling(cores, config.model.size, asked.batch, parts, blocks, names)
    elif asked.suite == "microbatches":
        schedules = asked.strategies or ("gpipe", "1f1b")
        jobs = suites.microbatches(asked.nproc, cores, config.model.size, asked.batch, COUNTS, schedules, blocks)
    else:
        raise AssertionError(f"the suite {asked.suite} has neither jobs nor an entry in PLAIN")
    if all(suites.is_alone(job.strategy) for job in jobs):
        every = suites.every_strategy(asked.nproc, asked.microbatches)
        raise UserError(f"--strategies {','.join(asked.strategies)} names none of {', '.join(every)}.")
    return jobs


def _classical(asked: Asked, kept: Kept, cores: int) -> Plain:
    from parallel_ser.bench import classical

    with rounds() as told:
        counts = [count for count in PROCESSES if count <= cores]
        return classical.measure(_settings(asked), counts, min(asked.repeats, ROUNDS), kept, told)


def _accuracy(asked: Asked, kept: Kept, cores: int) -> Plain:
    from parallel_ser.bench import accuracy

    with rounds() as told:
        return accuracy.measure(asked.systems, _settings(asked), kept, told)


def _models(asked: Asked, kept: Kept, cores: int) -> Plain:
    from parallel_ser.bench import models

    given = models.Given(asked.config, [*BASE[:2], *asked.overrides] if asked.corpus is None else asked.overrides)
    with rounds() as told:
        return models.measure(asked.systems, given, asked.repeats, asked.budget_seconds, kept, told)


def _features(asked: Asked, kept: Kept, cores: int) -> Plain:
    from parallel_ser.bench import features

    files = [one.path for one in corpora_of(_config(asked))[0].utterances]
    chosen = files[:: max(1, len(files) // FILES)][:FILES]
    with rounds() as told:
        return features.measure(chosen, cores, min(asked.repeats, ROUNDS), kept, told)


def _memory(asked: Asked, kept: Kept, cores: int) -> Plain:
    from parallel_ser.bench import memory

    config = _config(asked)
    rows = memory.strategies(
        asked.nproc,
        asked.batch,
        asked.microbatches,
        count_blocks(config.model),
        count_parts(config.model),
        asked.strategies,
        tuple(memory.VARIANTS) if descriptor_of(config.model).waveform and not asked.strategies else (),
    )
    with progress("features") as advance:
        data, _, _ = prepare(config, advance)
    shape = (asked.batch, 1, len(data.rows), data.typical_frames)
    search = memory.Search(config, shape, len(data.classes), asked.limit, cores)
    with rounds() as told:
        return memory.measure(search, rows, kept, told)


def _efficiency(asked: Asked, kept: Kept, cores: int) -> Plain:
    from parallel_ser.bench import efficiency, memory

    config = _config(asked)
    blocks, parts = count_blocks(config.model), count_parts(config.model)
    wanted = asked.strategies or efficiency.STRATEGIES
    rows = memory.strategies(asked.nproc, asked.batch, asked.microbatches, blocks, parts, wanted)
    shape = (asked.batch, 1, *input_shape(config, TYPICAL))
    search = memory.Search(config, shape, CLASSES, asked.limit, cores)
    with rounds() as told:
        return efficiency.measure(search, rows, min(asked.repeats, ROUNDS), kept, told)


def _settings(asked: Asked) -> list[str]:
    return [*asked.overrides, *(["--config", str(asked.config)] if asked.config else [])]


PLAIN: Mapping[SuiteName, Callable[[Asked, Kept, int], Plain]] = {
    "memory": _memory,
    "efficiency": _efficiency,
    "classical": _classical,
    "features": _features,
    "accuracy": _accuracy,
    "models": _models,
}
"""Suites whose rows are no training steps: each of what is asked, where samples are kept, and the cores."""
