"""Recordings analysed one after another or in processes, written, and kept as a person's sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallel_ser.analysis import folder as outputs
from parallel_ser.analysis import notice
from parallel_ser.analysis.analyse import Analysis, analyse
from parallel_ser.analysis.series import series
from parallel_ser.analysis.settings import AnalysisSettings
from parallel_ser.analysis.store import Store, Stored
from parallel_ser.errors import UserError
from parallel_ser.system.digests import file_digest
from parallel_ser.system.leftovers import begun, workers
from parallel_ser.training.inference import Run


@dataclass(frozen=True)
class Session:
    """What is said of the recordings by who starts the analysis.

    Attributes:
        person: whose they are; None keeps nothing of them.
        store: where sessions are kept.
        task: what the person was asked to do.
        date: of all of them; None takes each one's own.
    """

    person: str | None
    store: Store
    task: str
    date: str | None


@dataclass(frozen=True)
class Result:
    """Of one recording.

    Attributes:
        row: plain data for a table; None where it failed.
        problem: why it failed.
    """

    row: dict[str, Any] | None
    problem: str = ""


def analyse_all(
    run: Path,
    paths: Sequence[Path],
    out: Path,
    settings: AnalysisSettings,
    session: Session,
    nproc: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Analyse recordings by the run in a folder, and write each into a folder below ``out``; a person's by date.

    Raises:
        UserError: the run or the settings are wrong; what is wrong with a recording is in its result.
    """
    trained = Run.open(run)
    dates = [session.date or outputs.date_of(path) for path in paths]
    order = sorted(range(len(paths)), key=lambda place: dates[place]) if session.person else range(len(paths))
    names = outputs.names(paths)
    results: dict[int, Result] = {}
    made = _analysed(trained, [paths[place] for place in order], settings, nproc)
    for done, (place, analysis) in enumerate(zip(order, made, strict=True), 1):
        if isinstance(analysis, UserError):
            results[place] = Result(None, str(analysis))
        else:
            row = _written(analysis, paths[place], out / names[place], dates[place], session)
            results[place] = Result(row)
        if progress:
            progress(done, len(paths))
    if any(one.row is not None for one in results.values()):
        notice.write(out / notice.FILE, trained, settings, kept=session.person is not None)
    return [results[place] for place in range(len(paths))]


def _analysed(
    run: Run, paths: Sequence[Path], settings: AnalysisSettings, nproc: int
) -> Iterator[Analysis | UserError]:
    if nproc < 2 or len(paths) < 2:
        for path in paths:
            yield _attempt(run, path, settings)
        return
    from joblib import Parallel, delayed

    with workers():
        pool = Parallel(n_jobs=min(nproc, len(paths)), return_as="generator")
        yield from begun(pool, (delayed(_by_folder)(run.folder, path, settings) for path in paths))


def _by_folder(run: Path, path: Path, settings: AnalysisSettings) -> Analysis | UserError:
    import torch

    torch.set_num_threads(1)
    return _attempt(Run.open(run), path, settings)


def _attempt(run: Run, path: Path, settings: AnalysisSettings) -> Analysis | UserError:
    try:
        return analyse(run, path, settings)
    except UserError as error:
        return error


def _written(analysis: Analysis, path: Path, folder: Path, date: str, session: Session) -> dict[str, Any]:
    """Write a recording's folder, keep the session; returns the row of a table."""
    shown = None
    if session.person is not None:
        digest = file_digest(path)
        expected = tuple(str((folder / name).absolute()) for name in outputs.FILES)
        own = Stored(date, session.task, analysis.name, digest, outputs.summary(analysis), expected)
        session.store.add(session.person, own)  # before a file is there, so that forgetting knows of each
        alike = [one for one in session.store.sessions(session.person) if one.task == session.task]
        shown = series(session.person, alike, digest)
    outputs.write(folder, analysis, date, session.task, shown)
    most = max(analysis.shares, key=lambda one: one.raw, default=None)
    return {
        "file": analysis.name,
        "folder": str(folder),
        "seconds": analysis.seconds,
        **analysis.totals,
        "most": f"{most.emotion} {100 * most.raw:.0f}%" if most else "–",
        "arousal": analysis.dimensions.get("arousal", {}).get("value"),
        "speech_rate": analysis.measures.get("speech_rate", {}).get("value"),
        "notes": list(analysis.notes),
    }
