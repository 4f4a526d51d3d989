"""A run from settings to results, on every rank; what torchrun starts."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from parallel_ser.config import Config, load, option_as_setting
from parallel_ser.errors import UserError
from parallel_ser.system import installed, leftovers, limits, stops
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.system.terminal import any_name

if TYPE_CHECKING:
    from rich.console import Console

    from parallel_ser.corpora.audit import Audit
    from parallel_ser.corpora.protocols import Fold
    from parallel_ser.parallel.comm.context import ProcessContext
    from parallel_ser.training.data import Dataset
    from parallel_ser.training.interrupts import Request
    from parallel_ser.training.predictions import Predictions


WAIT = 30.0
"""Seconds at the most that a rank with nothing to say leaves to the one that has."""
PEER_ENDED = (
    "another process of the run has ended, so this one ends, too; the run goes on from its last checkpoint with "
    "run.resume=true."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse ``[--config FILE] [key=value …]`` and run; returns the exit status.

    ======================  ======
    what ended it           status
    ======================  ======
    all folds trained       0
    a mistake of the user   2
    SIGINT, SIGTERM, …      130, 143, … with where it stands saved
    ======================  ======
    """
    parser = argparse.ArgumentParser(
        description="Train and evaluate on the processes that torchrun starts.",
        epilog="Any setting can be given as group.key=value, as train.epochs=3; configs/default.yaml has them all.",
    )
    parser.add_argument("--config", type=Path, help="YAML with settings; without it the built-in corpus is used")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--quiet", action="store_true", help="print the run folder alone, and what goes wrong")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    first = os.environ.get("RANK", "0") == "0"
    silence = StringIO()  # what is wrong with the command line is wrong on every rank, and said once
    with nullcontext() if first else redirect_stderr(silence), nullcontext() if first else redirect_stdout(silence):
        given, unknown = parser.parse_known_intermixed_args(arguments)
    debug = given.debug or bool(os.environ.get("PARALLEL_SER_DEBUG"))
    config = None
    try:
        if unknown:
            typed = list(sys.argv[1:] if arguments is None else arguments)
            raise UserError(
                option_as_setting(typed, ("--config", "--debug", "--quiet"))
                or f"there is no option {unknown[0]}; -h lists them."
            )
        with stops.as_exceptions():  # before and after training, which heeds them by itself
            config = load(given.config, given.overrides)
            limits.require_files(int(os.environ.get("WORLD_SIZE", "1")))
            return run(config, given.quiet)
    except UserError as error:
        if debug:
            raise
        # All ranks read the same settings, so the first tells; later a rank that raises is alone in it (see together).
        if first or config is not None:
            print(f"error: {error}", file=sys.stderr, flush=True)
        else:
            let_the_first_say()
        return 2
    except KeyboardInterrupt as interrupt:
        stops.ignore()  # torchrun passes the terminal's on: once is enough
        status = stops.status_of(interrupt)
        # torchrun ends by SIGTERM what is left where a process has failed, which has said why; else it speaks itself
        if first and not (status == 128 + signal.SIGTERM and "TORCHELASTIC_RUN_ID" in os.environ):
            print(f"{stops.INTERRUPTED}; the features made so far are kept", file=sys.stderr, flush=True)
        return status


def let_the_first_say(seconds: float = WAIT) -> None:
    """Do not end before the rank that tells what is wrong: torchrun would stop that one. As it ends, it ends this."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        time.sleep(seconds)


def run(config: Config, quiet: bool = False) -> int:
    """Train the folds of a run under its strategy, test each, and report; returns the exit status.

    A quiet one prints its folder alone.

    Raises:
        UserError: whatever is wrong with the settings, the corpus or the folder; the first rank says it.
    """
    import torch
    from rich.console import Console

    from parallel_ser.parallel.comm.context import process_context
    from parallel_ser.parallel.comm.pinning import pin_cores
    from parallel_ser.system.files import SameFolder
    from parallel_ser.system.lock import writing
    from parallel_ser.training import run_folder, transfer
    from parallel_ser.training.interrupts import Stopped, heed

    console = Console(quiet=quiet)
    with (
        process_context(
            config.train.device,
            config.train.threads,
            share=config.train.shared_memory,
            peer_timeout=config.train.peer_timeout,
            advice="It goes on from its last checkpoint with run.resume=true.",
        ) as ranks,
        ExitStack() as held,
    ):

        def own(folder: Path) -> None:
            ranks.rank0_only(lambda: held.enter_context(writing(folder)))

        ranks.rank0_only(lambda: run_folder.check(config))
        if config.run.resume and config.run.folder:
            own(config.run.folder)
        data, folds, audits = ranks.rank0_first(lambda: _prepare(config, ranks, quiet))
        ranks.rank0_only(lambda: transfer.check(config, data, folds))
        if config.strategy.name == "auto":
            config = ranks.rank0_first(lambda: _chosen(config, data, ranks, console), share=True)
        if config.train.tune == "auto":
            config = _tuned(config, data, ranks, console)
        folder = ranks.rank0_first(lambda: _open(config, ranks, data, folds, audits), share=True)
        if not config.run.resume:
            own(folder)
        if config.train.bind:
            pin_cores(torch.get_num_threads())  # not before: features are made on every core
        if ranks.first:
            for line in _described(config, data, folds, audits[0].protocol, ranks, folder):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        home = SameFolder(folder)
        with heed() as request:
            try:
                parts = [
                    _run_fold(config, data, folds, number, folder, ranks, console, request)
                    for number in range(len(folds))
                ]
            except Stopped as stopped:
                if ranks.first:
                    console.print(
                        f"Stopped and saved at {stopped}. To go on: parallel-ser train --nproc {ranks.size} "
                        f"{run_folder.going_on(folder)}",
                        highlight=False,
                        soft_wrap=True,
                    )
                return 128 + (request.signal or signal.SIGTERM)

        def report() -> None:
            from parallel_ser.report.tables import print_metrics
            from parallel_ser.training import card

            predictions, metrics = run_folder.summarise(
                parts,
                audits,
                (
                    *run_folder.normalisation_notes(config.train.normalise),
                    *transfer.notes(folder, [fold.index for fold in folds]),
                    *data.notes,
                ),
            )
            console.print()
            home.require()
            print_metrics(console, run_folder.write_results(folder, predictions, metrics))
            card.write(folder, config)
            if quiet:
                print(folder, flush=True)
            console.print(f"Run folder: {folder}", highlight=False, soft_wrap=True)

        ranks.rank0_only(report)
    return 0


def _prepare(config: Config, ranks: ProcessContext, quiet: bool) -> tuple[Dataset, list[Fold], list[Audit]]:
    """Data and folds; the first rank fills the cache before the others come here."""
    from parallel_ser.models.registry import count_blocks, count_parts
    from parallel_ser.parallel.requirements import validate
    from parallel_ser.report.terminal import progress
    from parallel_ser.training import run_folder
    from parallel_ser.training.copies import prepare_training
    from parallel_ser.training.start import require_trainable

    validate(config.strategy, ranks.size, count_blocks(config.model), count_parts(config.model))
    require_trainable(config)
    if not ranks.first:
        return prepare_training(config)
    if config.run.resume:
        run_folder.same_run(config)
    if quiet:
        return prepare_training(config)
    with progress("features") as advance:
        return prepare_training(config, advance)


def _chosen(config: Config, data: Dataset, ranks: ProcessContext, console: Console) -> Config:
    """The settings with the strategy that the planner expects to be the fastest."""
    from parallel_ser.training.choose import facts_of, ranked

    facts = facts_of(config, len(data.rows), len(data.classes), data.typical_frames)
    best = ranked(config, facts, ranks.size)[0]
    console.print(f"strategy.name=auto is {best.name}: {1e3 * best.step:.0f} ms a step expected", highlight=False)
    return config.model_copy(update={"strategy": best.settings})


def _tuned(config: Config, data: Dataset, ranks: ProcessContext, console: Console) -> Config:
    """The settings with the number of micro-batches that is fastest here."""
    from parallel_ser.training.tune import tuned

    shape = (config.train.batch, 1, len(data.rows), data.typical_frames)
    found = tuned(config, shape, len(data.classes), ranks)
    if ranks.first:
        console.print(f"train.tune=auto is strategy.microbatches={found.strategy.microbatches}", highlight=False)
    return found


def _open(config: Config, ranks: ProcessContext, data: Dataset, folds: list[Fold], audits: list[Audit]) -> Path:
    """Make the folder of a new run, and store what was left out and the audits; returns it."""
    import torch

    from parallel_ser.training import conditions, run_folder

    folder = config.run.folder
    if folder is None or not config.run.resume:
        kind = run_folder.kind_of(config, ranks.size)
        folder = run_folder.open_new(config, kind, ranks.size, torch.get_num_threads())
    run_folder.write_left_out(folder, data.left_out)
    conditions.write(folder, data, folds)
    for fold, audit in zip(folds, audits, strict=True):
        run_folder.write_split(run_folder.fold_folder(folder, fold.index), data.utterances, fold, audit)
    return folder


def _described(
    config: Config, data: Dataset, folds: list[Fold], protocol: str, ranks: ProcessContext, folder: Path
) -> list[str]:
    """What is about to be trained on what, by what and where."""
    import torch

    from parallel_ser.models.registry import build, outline, title
    from parallel_ser.models.registry import descriptor_of as model_of
    from parallel_ser.parallel.strategies.registry import descriptor_of, one_process
    from parallel_ser.training.data import described

    shape = (config.model, len(data.rows), len(data.classes))
    # a file of the user's may need numbers, which an outline has not
    network = build(*shape, config.train.seed) if config.model.file else outline(*shape)
    millions = sum(one.numel() for one in network.parameters()) / 1e6
    strategy = config.strategy
    how = one_process().name
    if ranks.size > 1:
        how = f"{strategy.name} {descriptor_of(strategy.name).words(strategy)}".rstrip()
        how += f", {strategy.microbatches} micro-batch{'es' * (strategy.microbatches != 1)}"
    count, threads = ranks.size, torch.get_num_threads()
    on = f"{count} process{'es' * (count != 1)} of {threads} thread{'s' * (threads != 1)} on {ranks.device.type}"
    random = model_of(config.model).waveform and not config.model.weights
    begins = "; its weights begin at random, model.weights= names pretrained ones" if random else ""
    return [
        described(config, data, folds, protocol),
        f"Model: {title(config.model)}, {millions:.2f} M parameters; normalised by {config.train.normalise}; "
        f"the {config.train.keep} epoch is kept{begins}",
        f"Strategy: {how}; {on}",
        f"Run folder: {folder}",
    ]


def _run_fold(
    config: Config,
    data: Dataset,
    folds: list[Fold],
    number: int,
    run: Path,
    ranks: ProcessContext,
    console: Console,
    request: Request,
) -> Predictions:
    """Train and test one fold; one that an earlier stop left finished is read."""
    from parallel_ser.report.steps import print_steps
    from parallel_ser.system.files import extra
    from parallel_ser.training import run_folder
    from parallel_ser.training.metrics import measure
    from parallel_ser.training.predictions import Predictions
    from parallel_ser.training.trainer import Trainer
    from parallel_ser.training.watch import Screen, Watch

    fold, left = folds[number], len(folds) - number - 1
    folder = run_folder.fold_folder(run, fold.index)
    finished = folder / "predictions.csv"
    if ranks.rank0_first(lambda: config.run.resume and finished.exists(), share=True):
        return ranks.rank0_first(lambda: Predictions.from_csv(finished), share=True)
    trainer = Trainer(config, data, fold, ranks, folder, request)
    if config.run.resume:
        trainer.resume()
    sides = f"{len(fold.train)} training, {len(fold.select)} selection, {len(fold.test)} test utterances"
    title = f"Fold {fold.index} ({number + 1} of {len(folds)}): {sides}"
    log = folder / "tensorboard"
    with Screen(console, title, log, trainer.first_step, left) if ranks.first else Watch() as watch:
        went = trainer.train(watch, config.run.trace and not number)
        if went:
            print_steps(console, went)
        predictions = trainer.test()
        if ranks.first:
            watch.tested(measure(predictions).model_dump(mode="json"))

    def write() -> None:
        from parallel_ser.report.figures import training_curves

        trainer.home.require()
        run_folder.write_json(folder / "history.json", trainer.progress.history)
        extra(lambda: training_curves(trainer.progress.history, folder / "curves.png"))
        predictions.to_csv(finished)  # last: it says that the fold is finished

    ranks.rank0_only(write)
    return predictions


def rank() -> NoReturn:
    """One rank of a run from its command line to its end; what torchrun starts."""
    leave = HardExit() if "RANK" in os.environ else sys.exit
    any_name()
    first = os.environ.get("RANK", "0") == "0"  # which tells of what is wrong on every rank
    if os.environ.get("LOCAL_RANK") == "0":
        leftovers.claim_of_launcher()
    if found := installed.problem():
        if first:
            print(f"error: {found}", file=sys.stderr, flush=True)
        else:
            let_the_first_say()
        leave(2)
    try:
        status = main()
    except SystemExit as ended:  # another rank tells the user why, or argparse has
        if ended.code and not first:
            let_the_first_say()
        status = ended.code if isinstance(ended.code, int) else 2
    except Exception as error:
        status = 1
        if found := installed.explain(error) or limits.explain(error):
            status = 2
            if first:
                print(f"error: {found}", file=sys.stderr, flush=True)
            else:
                let_the_first_say()
        else:
            from parallel_ser.parallel.comm.context import lost_a_peer

            if not lost_a_peer(error):
                traceback.print_exc()
            else:
                let_the_first_say(10.0)
                print(f"error: {PEER_ENDED}", file=sys.stderr, flush=True)
    leave(status)


if __name__ == "__main__":
    rank()
