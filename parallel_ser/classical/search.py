"""Folds × candidates in processes, through joblib.

Three rounds, each spread over the workers:

    prepare  (fold)             normalise and encode, on the fold's training side; the arrays go to files
    try      (fold, group)      scores of the training side's utterances, each held out in one inner fold, by a few
                               candidates that differ in their cost alone, so that they share a kernel
    finish   (fold)             the best candidate on the whole training side; calibrated on those scores

Arrays are read from the files memory-mapped, so workers share them and nothing is copied to them. A task holds BLAS to
one thread and depends on nothing but its arguments: any number of workers gives the same numbers. What a task has
finished lies in a file of its own, so that a search which is cut short goes on from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from parallel_ser.classical.front import CEPSTRA, ENCODED, Front, front_of
from parallel_ser.classical.recogniser import Recogniser, load, save
from parallel_ser.classical.sample import Frames, Sample
from parallel_ser.classical.settings import ClassicalSettings
from parallel_ser.classical.systems import Candidate, build, candidates, groups, scored
from parallel_ser.decision import calibration
from parallel_ser.decision.probabilities import softmax
from parallel_ser.errors import UserError
from parallel_ser.system.digests import cached_json, file_digest, read_bytes, write_bytes, write_json
from parallel_ser.system.leftovers import begun, workers

DONE = "prepared.json"
"""In a fold's folder: the digest of each file that was prepared."""


@dataclass(frozen=True)
class Problem:
    """One outer fold as indices into the sample: what is learned from, how that is cut inside, what is tested."""

    index: int
    training: tuple[int, ...]
    inner: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """(learned from, held out) pairs, counting through ``training``."""
    test: tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """What came of a fold.

    Attributes:
        model: the file of the best candidate, fitted on the whole training side; in the search's folder.
        best: that candidate.
        tried: each candidate with its UAR on the held-out utterances of the training side.
        held_out: its calibrated probabilities of the training side's utterances, each held out, (training, classes).
        tested: its probabilities of the test side, (test, classes).
    """

    model: Path
    best: Candidate
    tried: list[dict[str, Any]]
    held_out: np.ndarray
    tested: np.ndarray

    @property
    def recogniser(self) -> Recogniser:
        """Read from the file."""
        return Recogniser.load(self.model)


def search(
    sample: Sample,
    labels: np.ndarray,
    classes: tuple[str, ...],
    problems: Sequence[Problem],
    settings: ClassicalSettings,
    inputs: dict[str, list[str]],
    folder: Path,
    jobs: int,
    progress: Callable[[str, int, int], None] = lambda title, done, total: None,
    copies: Sequence[Sample] = (),
    tta_copies: Sequence[Sample] = (),
) -> list[Found]:
    """Search every fold's training side, and test its best candidate.

    Args:
        sample: of all utterances, raw views.
        labels: (utterances,) in 0 … classes - 1.
        classes: names.
        problems: the folds.
        settings: the system and what is tried.
        inputs: names of the values of the vector views, which are kept with the model.
        folder: for what passes between the tasks; it may hold an earlier search's of the same settings.
        jobs: processes, each on one thread; with one the search runs in this process.
        progress: told the round, and how many of its tasks are done.
        copies: of all utterances, altered, which are learned from beside them; raw views. The front is fitted to the
            recordings alone.
        tta_copies: of all utterances, altered, whose scores are averaged with the recordings' own, held out and tested.

    Raises:
        UserError: a worker was killed; what was finished stays in ``folder``.
    """
    for name, versions in (("raw", (sample, *copies)), ("tta", tta_copies)):
        _write_versions(folder, name, (one.only(_needed(settings)) for one in versions))
    np.save(folder / "labels.npy", labels)
    kernels = groups(candidates(settings))
    with _pool(settings, jobs) as run:
        list(run("preparing", [(_prepare, (folder, one, settings)) for one in problems], progress))
        tasks = [(_try, (folder, one, settings, group)) for one in problems for group in kernels]
        list(run("searching", tasks, progress))
        results = run("testing", [(_finish, (folder, one, settings, classes, inputs)) for one in problems], progress)
        found = dict(results)
    return [found[one.index] for one in problems]


def _needed(settings: ClassicalSettings) -> list[str]:
    """The raw views that the system is made of."""
    if settings.system == "gmm":
        return [CEPSTRA]
    vectors = [name for name in settings.views if name not in ENCODED]
    return vectors + [CEPSTRA] * (len(vectors) < len(settings.views))


def _used(settings: ClassicalSettings) -> Sequence[str]:
    """The views that the system reads, made ready."""
    return (CEPSTRA,) if settings.system == "gmm" else settings.views


# --- the tasks --------------------------------------------------------------------------------------------------------


def _prepare(folder: Path, problem: Problem, settings: ClassicalSettings) -> int:
    """Fit the front, and write the training side as it is learned from and as it is tested, and the test side."""
    home = folder / f"fold-{problem.index}"
    if (before := cached_json(home / DONE)) and before == _prepared(home):
        return problem.index
    for stale in home.glob("tried-*.scores"):  # of arrays that are not there any more
        stale.unlink()
    sample, *copies = _versions(folder, "raw")
    answered = [sample, *_versions(folder, "tta")]
    front, used = front_of(settings), _used(settings)
    training = front.fit(sample.take(problem.training))
    more = (front(one.take(problem.training), training=True) for one in copies)
    _write_versions(home, "training", (one.only(used) for one in chain([training], more)))
    if settings.normalise == "enrol" or len(answered) > 1:  # else training recordings are the same on either side
        _write_versions(home, "held", (front(one.take(problem.training)).only(used) for one in answered))
    _write_versions(home, "test", (front(one.take(problem.test)).only(used) for one in answered))
    save(home / "front.skops", front)
    write_json(home / DONE, _prepared(home))
    return problem.index


def _prepared(home: Path) -> dict[str, str]:
    """The digest of each file that is prepared for a fold, but for those of a folder that older versions wrote."""
    files = [home / "front.skops", *home.glob("*-*/*.npy")]
    return {str(one.relative_to(home)): file_digest(one) for one in sorted(files) if one.exists()}


def _try(folder: Path, problem: Problem, settings: ClassicalSettings, group: Sequence[Candidate]) -> int:
    """Scores (training, classes) of the training side's utterances, each held out once, by candidates of one kernel."""
    home = folder / f"fold-{problem.index}"
    group = [candidate for candidate in group if not _is_tried(home / _file(candidate))]
    if not group:
        return problem.index
    versions, labels = _read(folder, problem)
    held = _versions(home, "held") or versions[:1]
    adapted = background(settings, home)
    classes = int(labels.max()) + 1
    scores = np.zeros((len(group), len(labels), classes))
    for learned, out in problem.inner:
        rows, own = _learned(versions, labels, learned)
        tested = [one.take(out) for one in held]
        each = scored(settings, group, rows, own, classes, tested, len(versions), adapted)
        for found, one in zip(scores, each, strict=True):
            found[list(out)] = one
    for candidate, found in zip(group, scores, strict=True):
        buffer = BytesIO()
        np.save(buffer, found)
        write_bytes(home / _file(candidate), buffer.getvalue())
    return problem.index


def _scores(file: Path) -> np.ndarray:
    """What ``_try`` wrote.

    Raises:
        UserError: it is not there, or damaged.
    """
    return np.asarray(np.load(BytesIO(read_bytes(file))))


def _is_tried(file: Path) -> bool:
    with suppress(UserError):
        _scores(file)
        return True
    return False


def _finish(
    folder: Path, problem: Problem, settings: ClassicalSettings, classes: tuple[str, ...], inputs: dict[str, list[str]]
) -> tuple[int, Found]:
    """Fit the best candidate on the whole training side, calibrate it on the held-out scores, and test it."""
    from sklearn.metrics import balanced_accuracy_score

    home = folder / f"fold-{problem.index}"
    versions, labels = _read(folder, problem)
    every = candidates(settings)
    scores = [_scores(home / _file(candidate)) for candidate in every]
    tried = [
        {**candidate, "uar": float(balanced_accuracy_score(labels, rows.argmax(axis=1)))}
        for candidate, rows in zip(every, scores, strict=True)
    ]
    place = int(np.argmax([one["uar"] for one in tried]))  # the first in a tie
    rows, own = _learned(versions, labels, range(len(labels)))
    system = build(settings, every[place], len(versions), background(settings, home)).fit(rows, own, len(classes))
    spread = float(scores[place].std(axis=1).mean()) or 1.0
    held_out = softmax(scores[place] / spread)
    calibrated = calibration.fit(settings.calibrate, held_out, labels)
    front = load(home / "front.skops", Front)
    recogniser = Recogniser(front, system, classes, spread, calibrated.state(), inputs)
    model = home / "model.skops"
    recogniser.save(model)  # here, for it is large: it holds the training rows
    tested = recogniser.of_ready(*_versions(home, "test"))
    return problem.index, Found(model, every[place], tried, _crossed(held_out, labels, problem, settings), tested)


def _crossed(rows: np.ndarray, labels: np.ndarray, problem: Problem, settings: ClassicalSettings) -> np.ndarray:
    """The held-out probabilities, each inner fold's calibrated on the other folds': no row is judged by itself."""
    found = np.empty_like(rows)
    for _, out in problem.inner:
        others = np.setdiff1d(np.arange(len(rows)), out)
        found[list(out)] = calibration.fit(settings.calibrate, rows[others], labels[others])(rows[list(out)])
    return found


def background(settings: ClassicalSettings, home: Path) -> Any:
    """The background model that a mixture system adapts; None for the others, which need not read it."""
    if settings.system == "gmm" and settings.mixture.adapt == "map":
        return load(home / "front.skops", Front).encoders["supervector"].mixture_
    return None


def _read(folder: Path, problem: Problem) -> tuple[list[Sample], np.ndarray]:
    """The training side and its copies, and the labels."""
    labels = np.load(folder / "labels.npy")[list(problem.training)]
    return _versions(folder / f"fold-{problem.index}", "training"), labels


def _learned(versions: Sequence[Sample], labels: np.ndarray, places: Sequence[int]) -> tuple[Sample, np.ndarray]:
    """Rows to learn from and their labels: recordings of the training side at ``places``, then their copies."""
    return Sample.join([one.take(places) for one in versions]), np.tile(labels[list(places)], len(versions))


def _file(candidate: Candidate) -> str:
    text = json.dumps(candidate, sort_keys=True)
    return f"tried-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.scores"


# --- arrays in files --------------------------------------------------------------------------------------------------


def write_sample(folder: Path, sample: Sample) -> None:
    """Write each view as .npy, which can be memory-mapped."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "speakers.npy", sample.speakers)
    for name, view in sample.views.items():
        if isinstance(view, Frames):
            np.save(folder / f"{name}.rows.npy", view.rows)
            np.save(folder / f"{name}.bounds.npy", view.bounds)
        else:
            np.save(folder / f"{name}.npy", view)


def read_sample(folder: Path) -> Sample:
    """What ``write_sample`` wrote, its views memory-mapped."""
    views: dict[str, Any] = {}
    for path in sorted(folder.glob("*.npy")):
        name = path.name.removesuffix(".npy")
        if name.endswith(".rows"):
            name = name.removesuffix(".rows")
            views[name] = Frames(np.load(path, mmap_mode="r"), np.load(folder / f"{name}.bounds.npy"))
        elif name != "speakers" and not name.endswith(".bounds"):
            views[name] = np.load(path, mmap_mode="r")
    return Sample(views, np.load(folder / "speakers.npy"))


def _write_versions(folder: Path, name: str, samples: Iterable[Sample]) -> None:
    """Write a sample and its copies."""
    for number, sample in enumerate(samples):
        write_sample(folder / f"{name}-{number}", sample)


def _versions(folder: Path, name: str) -> list[Sample]:
    """What ``_write_versions`` wrote."""
    return [read_sample(folder / f"{name}-{number}") for number in range(len([*folder.glob(f"{name}-*")]))]


# --- the workers ------------------------------------------------------------------------------------------------------

Task = tuple[Callable[..., Any], tuple[Any, ...]]
Run = Callable[[str, Sequence[Task], Callable[[str, int, int], None]], Iterator[Any]]


def _alone(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """One task on one thread, whatever the worker was started with."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return function(*arguments)


@contextmanager
def _pool(settings: ClassicalSettings, jobs: int) -> Iterator[Run]:
    """Workers for the rounds of a search, kept from round to round."""
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    def run(title: str, tasks: Sequence[Task], progress: Callable[[str, int, int], None]) -> Iterator[Any]:
        progress(title, 0, len(tasks))
        try:
            parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
            for done, result in enumerate(begun(parallel, (delayed(_alone)(*task) for task in tasks)), 1):
                progress(title, done, len(tasks))
                yield result
        except (TerminatedWorkerError, *_killed()) as error:
            raise UserError(
                f"a worker process was killed while {title}, most likely for want of memory; what was finished is "
                "kept. Go on with run.resume=true and fewer run.jobs."
            ) from error

    with (
        workers(),
        _cluster(settings, jobs) as backend,
        parallel_config(backend, n_jobs=jobs, **_threads(settings)),
    ):
        yield run


def _threads(settings: ClassicalSettings) -> dict[str, Any]:
    return {"inner_max_num_threads": 1} if settings.backend == "loky" else {}


def _killed() -> tuple[type[Exception], ...]:
    """What dask raises when a worker is lost; nothing where it is not in use."""
    import sys

    module = sys.modules.get("distributed.scheduler")
    return (module.KilledWorker,) if module else ()


@contextmanager
def _cluster(settings: ClassicalSettings, jobs: int) -> Iterator[str]:
    """The joblib backend's name, with dask's client at work while it is used."""
    if settings.backend == "loky":
        yield "loky"
        return
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise UserError(
            "classical.backend=dask needs the package dask: pip install 'parallel-ser[dask]', or use loky."
        ) from error
    if settings.scheduler:
        with Client(settings.scheduler, timeout=10):
            yield "dask"
        return
    count = jobs if jobs > 0 else None
    with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        yield "dask"
