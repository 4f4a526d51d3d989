"""A classical system from settings to results: the same folds, audits and report as the neural ones."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, nullcontext
from pathlib import Path

import numpy as np
from rich.console import Console

from parallel_ser.classical.search import Found, Problem, search
from parallel_ser.config import Config
from parallel_ser.corpora.nested import inner_folds
from parallel_ser.corpora.protocols import Fold
from parallel_ser.report.tables import print_metrics
from parallel_ser.report.terminal import progress, rounds
from parallel_ser.system.cores import usable_cores
from parallel_ser.system.digests import file_digest, write_json
from parallel_ser.system.files import SameFolder
from parallel_ser.system.lock import writing
from parallel_ser.training import card, conditions, run_folder
from parallel_ser.training.copies import with_all_copies
from parallel_ser.training.data import Dataset, described, prepare
from parallel_ser.training.sample import classical_notes, require_views, sample_of

BASE = (
    "features.streams=[logmel, mfcc, pitch, voicing, loudness, intensity, spectral, quality]",
    "features.n_mels=40",
)
"""Other defaults than the network's: what functionals and mixtures are made of."""
HYBRID = ("features.streams=[mfcc]", "features.n_mfcc=40", "classical.views=[functionals, image]")
"""Of the hybrid: functionals of MFCC and what a network for pictures says of the spectrogram."""


def run(config: Config, console: Console) -> Path:
    """Search, train and test a classical system on every fold; returns the run's folder.

    A quiet console is not told how far the work is, either.

    Raises:
        UserError: whatever is wrong with the settings, the corpus or the folder, or a worker was killed.
    """
    with ExitStack() as held:
        return _run(config, console, held)


def _run(config: Config, console: Console, held: ExitStack) -> Path:
    settings = config.classical
    run_folder.check(config)
    if config.run.resume and config.run.folder:
        held.enter_context(writing(config.run.folder))
        run_folder.same_run(config)
    require_views(config)
    silent = nullcontext(lambda *_: None) if console.quiet else None
    with silent or progress("features") as advance:
        data, folds, audits = prepare(config, advance)
        data = with_all_copies(data, config, advance)
        sample, inputs = sample_of(data, config, advance)
        copies, tta_copies = (
            [sample_of(one, config, advance)[0] for one in some] for some in (data.copies, data.tta_copies)
        )
    jobs = config.run.jobs or usable_cores()
    folder = config.run.folder
    if folder is None or not config.run.resume:
        folder = run_folder.open_new(config, settings.system, jobs, 1, f"baseline {settings.system}")
        held.enter_context(writing(folder))
    run_folder.write_left_out(folder, data.left_out)
    conditions.write(folder, data, folds)
    on = f"{jobs} process{'es' * (jobs != 1)}"
    for line in (
        described(config, data, folds, audits[0].protocol),
        f"System: {settings.system} on {', '.join(settings.views)}; normalised by {settings.normalise}; {on}",
        *_beside(config),
        f"Run folder: {folder}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    places = {name: place for place, name in enumerate(data.classes)}
    # -1: an emotion of the corpus tested on that is not trained, so on no side
    labels = np.array([places.get(one.emotion, -1) for one in data.utterances])
    problems = [_problem(data, fold, config) for fold in folds]
    same, scratch = SameFolder(folder), folder / "search"
    try:
        with silent or rounds() as told:
            found = search(
                sample, labels, data.classes, problems, settings, inputs, scratch, jobs, told, copies, tta_copies
            )
    except KeyboardInterrupt:
        command = f"parallel-ser baseline {settings.system} {run_folder.going_on(folder)}"
        console.print(f"What is tried is kept. To go on: {command}", highlight=False, soft_wrap=True, markup=False)
        raise
    same.require()
    parts = []
    for fold, problem, audit, one in zip(folds, problems, audits, found, strict=True):
        home = run_folder.fold_folder(folder, fold.index)
        run_folder.write_split(home, data.utterances, fold, audit)
        run_folder.write_json(home / "search.json", {"best": dict(one.best), "tried": one.tried})
        write_json(home / run_folder.MODEL, {"model": file_digest(one.model)})
        one.model.replace(home / "model.skops")
        data.said(problem.training, fold.index, one.held_out).to_csv(home / "selection.csv")
        parts.append(data.said(problem.test, fold.index, one.tested))
        parts[-1].to_csv(home / "predictions.csv")
    predictions, metrics = run_folder.summarise(parts, audits, (*classical_notes(settings), *data.notes))
    print_metrics(console, run_folder.write_results(folder, predictions, metrics))
    card.write(folder, config)
    for fold, one in zip(folds, found, strict=True):
        console.print(f"Fold {fold.index}: {_described(one)}", highlight=False)
    console.print(f"Run folder: {folder}", highlight=False, soft_wrap=True)
    shutil.rmtree(scratch)
    return folder


def _problem(data: Dataset, fold: Fold, config: Config) -> Problem:
    """The whole training side is searched on; its inner folds do what a selection side does for a network."""
    training = tuple(sorted(fold.train + fold.select))
    inner = inner_folds(data.utterances, training, fold.protocol, config.classical.search.folds, config.classical.seed)
    return Problem(fold.index, training, tuple((one.train + one.select, one.test) for one in inner), fold.test)


def _beside(config: Config) -> list[str]:
    """That there are copies."""
    learned, tested = config.train.copies, config.train.tta_copies
    lines = [f"Copies: {learned} of each recording, altered, are learned from beside it"] if learned else []
    return lines + ([f"Answers: the mean over a recording and {tested} altered copies of it"] if tested else [])


def _described(found: Found) -> str:
    best = max(one["uar"] for one in found.tried)
    chosen = ", ".join(f"{name} {value}" for name, value in found.best.items())
    return f"{chosen or 'one candidate'}; UAR {best:.3f} on held-out utterances of the training side"
