"""A run's folder: settings, models, predictions, metrics, pictures.

::

    RUN/config.yaml           the resolved settings: --config RUN/config.yaml repeats the run
    RUN/environment.json      machine, versions, processes, threads, git revision, command
    RUN/metrics.json          over all folds; predictions.csv, confusion.png and summary.png beside it
    RUN/recordings.json       the bandwidth, noise and length that most recordings trained on have
    RUN/left-out.csv          recordings that could not be used, where there are any
    RUN/fold-0/model.pt       the kept model; last/, from which training goes on
    RUN/fold-0/split.csv      which recordings train, select and test; split.file takes it
    RUN/fold-0/audit.json     what the fold's sides share; predictions.csv, history.json, curves.png, tensorboard/
    RUN/fold-0/initial-weights.json  with model.weights: whose weights were begun with, and what they had seen
    RUN/fold-0/trace.json     with run.trace: what each rank did in a few steps
    RUN/fold-0/model.skops    of a classical system, in place of model.pt; search.json has what was tried
    RUN/fold-0/model-digest.json which model.skops it is
    RUN/fusion.json           of a fusion: its runs; RUN/fold-0/fusion.json has how their answers become one
    RUN/fold-0/selection.csv  predictions of speakers that the model was not trained on and that are not tested
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from shlex import quote
from typing import Any

from parallel_ser import yaml_text
from parallel_ser.config import Config, dump, load
from parallel_ser.corpora.audit import Audit, combine
from parallel_ser.corpora.base import Problem, Utterance
from parallel_ser.corpora.protocols import Fold
from parallel_ser.corpora.settings import CorpusSettings, PartSettings
from parallel_ser.errors import UserError
from parallel_ser.models.registry import title
from parallel_ser.parallel.strategies.registry import one_process
from parallel_ser.system import digests
from parallel_ser.system.csv_text import csv_text
from parallel_ser.system.digests import file_digest
from parallel_ser.system.environment import environment
from parallel_ser.system.files import cache_key, extra, numbered, plain, require_writable, write_text
from parallel_ser.system.terminal import printable, text_of
from parallel_ser.training.metrics import Metrics, measure
from parallel_ser.training.predictions import Predictions, concatenate

RUNS = Path("runs")
"""Where runs without a ``run.folder`` go."""
FUSION = "fusion.json"
"""In the folder of a fusion: the runs that it is of; in those of its folds: how they are pooled."""
MODEL = "model-digest.json"
"""Beside a classical model: the digest of its file."""
METRICS = "metrics.json"
"""The result over all folds, with a digest of its bytes."""
FREE = ("threads", "device", "checkpoint_every", "store", "views", "bind", "shared_memory", "peer_timeout")
"""Settings of ``train`` with which a run may go on that was begun with others."""
UNCHANGED = "# Written by the run; digest "
"""Begins the line of config.yaml by which a change is found."""
TRANSDUCTIVE = (
    "features were standardised by each speaker's own unlabelled utterances (transductive, and helped where the "
    "corpus is balanced)"
)
ENROLLED = "features were standardised by {} other unlabelled utterances of each tested speaker, drawn at random"


def check(config: Config) -> None:
    """Refuse, before any work, a folder that the run cannot have.

    Raises:
        UserError: it exists and ``run.resume`` is off, or it does not and ``run.resume`` is on; or nothing can be
            written there.
    """
    folder = config.run.folder
    if config.run.resume:
        if folder is None or not (folder / "config.yaml").exists():
            raise UserError("run.resume=true needs run.folder, the folder of a run to go on with.")
    elif folder is not None and folder.exists():
        raise UserError(
            f"the run folder {folder} exists: give another run.folder, or run.resume=true to go on with it."
        )
    require_writable(folder or RUNS)


def kind_of(config: Config, ranks: int) -> str:
    """The model and the strategy of a run, as its folder's name has them; one process is no strategy.

    >>> kind_of(load(None, ["strategy.name=pipeline"]), 2)
    'cnn-s-pipeline'
    """
    model = config.model
    named = model.file.stem if model.file else title(model).replace(" ", "-")
    return f"{named}-{config.strategy.name if ranks > 1 else one_process().name}"


def open_new(config: Config, kind: str, ranks: int, threads: int, command: str = "") -> Path:
    """Make the folder of a new run, with its settings and what it ran on; returns it.

    Args:
        config: of the run; without ``run.folder`` the folder is named by the time, the corpus and ``kind``.
        kind: of the run, for that name.
        ranks: its processes.
        threads: of each.
        command: runs it again, with --config.

    Raises:
        UserError: it exists by now, or cannot be made.
    """
    folder = make(config.run.folder, f"{config.corpus.title}-{kind}")
    train = config.train.model_copy(update={"threads": threads})
    run = config.run.model_copy(update={"folder": None, "resume": False})
    resolved = anywhere(config.model_copy(update={"train": train, "run": run}))
    command = command or f"train --nproc {ranks}"
    repeat = printable(f"# To repeat: parallel-ser {command} --config {quote(f'{folder}/config.yaml')}") + "\n"
    text = dump(resolved)
    write_text(folder / "config.yaml", f"{repeat}{UNCHANGED}{_settings_digest(text)}\n{text}")
    write_json(folder / "environment.json", environment(ranks, threads))
    return folder


def make(folder: Path | None, name: str) -> Path:
    """Make a folder for results and return it: ``folder``, or without one ``runs/<date-time>-<name>``.

    Two runs never share one: what begins in the same second is numbered.

    Raises:
        UserError: it exists, or cannot be made.
    """
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    names = chain([stamp], (f"{stamp}-{number}" for number in count(2)))
    while True:
        target = folder or RUNS / next(names)
        try:
            target.mkdir(parents=True)
        except FileExistsError as error:  # another run was quicker
            if folder is not None:
                raise UserError(f"the run folder {target} exists by now: give another run.folder.") from error
        except OSError as error:
            raise UserError(f"cannot make the run folder {target}: {error.strerror or error}.") from error
        else:
            return target


@contextmanager
def results(folder: Path | None, name: str) -> Iterator[Path]:
    """A folder for results: ``folder``, which may be there, or one that ``make`` names; removed if it stays empty."""
    target = folder or make(None, name)
    try:
        yield target
    finally:
        if folder is None:
            with suppress(OSError):  # there is something in it
                target.rmdir()


def anywhere(config: Config) -> Config:
    """The same settings with absolute folders, so that they hold from any folder."""

    def placed(weights: Path | None) -> dict[str, Path | None]:
        """A path, or the name of a bundle."""
        return {"weights": weights.absolute() if weights and weights.exists() else weights}

    model = config.model.model_copy(update=placed(config.model.weights))
    encoder = config.classical.encoder.model_copy(update=placed(config.classical.encoder.weights))
    classical = config.classical.model_copy(update={"encoder": encoder})
    frames = config.features.encoder.model_copy(update=placed(config.features.encoder.weights))
    features = config.features.model_copy(update={"encoder": frames})
    changed = config.model_copy(update={"model": model, "classical": classical, "features": features})
    return _with_folders(changed, lambda path: path and path.absolute())


def _with_folders(config: Config, change: Callable[[Path | None], Path | None]) -> Config:
    """The same settings with other places of the corpora, of a given split and of the cache."""

    def part(corpus: PartSettings) -> PartSettings:
        return corpus.model_copy(update={"root": change(corpus.root)})

    def whole(corpus: CorpusSettings) -> CorpusSettings:
        return corpus.model_copy(update={"root": change(corpus.root), "also": tuple(map(part, corpus.also))})

    split = {"test": config.split.test and whole(config.split.test), "file": change(config.split.file)}
    changes = {
        "corpus": whole(config.corpus),
        "split": config.split.model_copy(update=split),
        "run": config.run.model_copy(update={"cache": change(config.run.cache)}),
    }
    return config.model_copy(update=changes)


def without_folders(config: Config) -> Config:
    """The same settings less those that say where things lie, which may move."""
    return _with_folders(config, lambda path: None)


def same_run(config: Config) -> None:
    """Refuse to go on with the run in ``run.folder`` under settings that would make it another one.

    Raises:
        UserError: names the first group that differs; strategy and run may.
    """
    folder = config.run.folder
    assert folder is not None  # as ``check`` has seen
    before, config = without_folders(settings(folder)), without_folders(anywhere(config))
    for group in ("corpus", "split", "audio", "features", "functionals", "classical", "model", "train"):
        ours, theirs = getattr(config, group), getattr(before, group)
        for name in type(ours).model_fields:
            free = group == "train" and name in FREE
            free = free or (group == "classical" and name in ("backend", "scheduler"))
            if not free and getattr(ours, name) != getattr(theirs, name):
                raise UserError(
                    f"{folder} was trained with {group}.{name}={getattr(theirs, name)}, not {getattr(ours, name)}: "
                    f"go on with {going_on(folder)}."
                )


def going_on(folder: Path) -> str:
    """The words that make a command go on with a run, as a shell takes them."""
    return f"--config {quote(f'{folder}/config.yaml')} {quote(f'run.folder={folder}')} run.resume=true"


def settings(folder: Path) -> Config:
    """The settings of a run.

    Raises:
        UserError: the folder is not one of a run, or a setting has changed since the run wrote it.
    """
    path = folder / "config.yaml"
    if not path.exists():
        raise UserError(f"{folder} is not the folder of a run: it holds no config.yaml.")
    config, text = load(plain(path), []), path.read_text(encoding="utf-8")
    if UNCHANGED + _settings_digest(text) not in text.splitlines():
        raise UserError(
            f"{path} has changed since the run wrote it, and its models were trained as it was: put it back; "
            f"corpus.root, split.test.root, split.file and run.cache alone may change."
        )
    return config


def _settings_digest(text: str) -> str:
    """Of settings in YAML, without the folders that may move."""
    data = yaml_text.read(text)[0] or {}
    split = data.get("split") or {}
    corpora = [data.get("corpus") or {}, split.get("test") or {}]
    for part in [part for corpus in corpora for part in (corpus, *corpus.get("also", ()))]:
        part.pop("root", None)
    for group, name in ((split, "file"), (data.get("run") or {}, "cache")):
        group.pop(name, None)
    return cache_key([data])


def folds(folder: Path) -> list[int]:
    """The folds of a run that have a model."""
    return [index for index, home in numbered(folder, "fold-") if any(home.glob("model.*"))]


def require_models(folder: Path) -> None:
    """Refuse a run that has lost the model of a fold: the others would answer in its place, and otherwise.

    Raises:
        UserError: a fold is tested, or stands in the result of the finished run, and has no model.
    """
    result = (digests.cached_json(folder / METRICS) or {}).get("audit") or {}
    if lost := {*tested_folds(folder), *result.get("folds", ())} - {*folds(folder)}:
        raise UserError(
            f"{fold_folder(folder, min(lost))} has no model any more, and the others would answer otherwise: put it "
            f"back, or delete that folder and {folder / METRICS} to go without."
        )


def tested_folds(folder: Path) -> list[int]:
    """The folds of a run that are tested."""
    return [index for index, home in numbered(folder, "fold-") if (home / "predictions.csv").exists()]


def is_fusion(folder: Path) -> bool:
    """Whether the folder is of ``parallel-ser fuse``."""
    return (folder / FUSION).exists()


def digest_of(folder: Path) -> str:
    """Of a run's models, or of what pools them in a fusion."""
    homes = [home for _, home in numbered(folder, "fold-")]
    files = sorted(file for home in homes for file in [*home.glob("model.*"), *home.glob(FUSION)])
    return cache_key([file_digest(path) for path in files])


def fold_folder(folder: Path, index: int) -> Path:
    """Where a fold's files lie."""
    return folder / f"fold-{index}"


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a file of a run.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return json.loads(plain(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: the run has not come that far.") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from error


def metrics_of(folder: Path) -> dict[str, Any]:
    """The result of a finished run.

    Raises:
        UserError: there is none yet, or one of its bytes has changed.
    """
    path = folder / METRICS
    if not path.exists():
        raise UserError(f"{path} is missing: the run has not come that far.")
    found = digests.read_json(path)
    with digests.shaped(path):
        Metrics.model_validate(found)
    return found


def write_left_out(folder: Path, problems: Sequence[Problem]) -> None:
    """Store which recordings a run has left out, and why; nothing where none."""
    if problems:
        rows = [(str(one.path), one.kind, one.detail) for one in problems]
        write_text(folder / "left-out.csv", csv_text([("path", "kind", "why"), *rows]))


def write_split(home: Path, utterances: Sequence[Utterance], fold: Fold, audit: Audit) -> None:
    """Store a fold's audit with its verdict in words, and which recordings train, select and test.

    Raises:
        UserError: a run that goes on had another split, since its corpus has changed.
    """
    sides = {"train": fold.train, "select": fold.select, "test": fold.test}
    rows = [
        (side, one.speaker, one.emotion, str(one.path.absolute()))
        for side, indices in sides.items()
        for one in (utterances[index] for index in indices)
    ]
    path = home / "split.csv"
    if path.exists() and _without_folders(_split_rows(path)) != _without_folders(rows):
        raise UserError(
            f"the corpus has other recordings than when {home.parent} was begun, which {path} lists: put it back as it "
            "was, or begin another run."
        )
    write_text(path, csv_text([("split", "speaker", "emotion", "path"), *rows]))
    write_json(home / "audit.json", {**audit.model_dump(mode="json"), "verdict": audit.verdict()})


def _split_rows(path: Path) -> list[tuple[str, ...]]:
    try:
        with plain(path).open(encoding="utf-8", newline="") as file:
            return [tuple(map(text_of, row)) for row in csv.reader(file) if row][1:]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}, in which a run's split stands, cannot be read: {error}.") from error


def _without_folders(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows with the files' names alone: a corpus may move."""
    names = (Path(row[-1]).name.encode(errors="backslashreplace").decode() for row in rows)  # as write_text has them
    return [(*row[:-1], name) for row, name in zip(rows, names, strict=True)]


def summarise(
    parts: Sequence[Predictions], audits: Sequence[Audit], notes: Sequence[str] = ()
) -> tuple[Predictions, Metrics]:
    """All folds' predictions and their metrics, with the protocol's audit and what must be said beside a figure."""
    predictions = concatenate(list(parts))
    summary = combine(list(audits))
    record = {**summary.model_dump(mode="json"), "verdict": summary.verdict()}
    record["selection_verdict"] = summary.selection_verdict()
    metrics = measure(predictions, record)
    return predictions, metrics.model_copy(update={"notes": (*metrics.notes, *notes)})


def normalisation_notes(mode: str, enrolled: int = 0) -> tuple[str, ...]:
    """What must be said beside a figure of how its features were standardised."""
    return {"speaker": (TRANSDUCTIVE,), "enrol": (ENROLLED.format(enrolled),)}.get(mode, ())


def write_results(folder: Path, predictions: Predictions, metrics: Metrics) -> dict[str, Any]:
    """Write predictions, metrics and their pictures; returns the metrics as a plain record."""
    from parallel_ser.report.figures import confusion_picture, summary_picture

    record = metrics.model_dump(mode="json")
    predictions.to_csv(folder / "predictions.csv")
    digests.write_json(folder / METRICS, record)
    extra(lambda: confusion_picture(record, folder / "confusion.png"))
    extra(lambda: summary_picture(record, folder / "summary.png"))
    return record
