"""A classical search over 1, 2, … processes: whole commands by the clock, and that they find the same."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from parallel_ser.bench.plain import COMMAND, Plain, spread
from parallel_ser.errors import UserError
from parallel_ser.report.terminal import Rounds
from parallel_ser.training.run_folder import read_json


def measure(arguments: Sequence[str], counts: Sequence[int], rounds: int, told: Rounds) -> Plain:
    """Time ``parallel-ser baseline svm ARGUMENTS`` with each count of processes, in turn; features are cached first.

    Raises:
        UserError: the command fails, or another number of processes finds something else.
    """
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as scratch:
        _once(arguments, max(counts), Path(scratch) / "warm")
        first = _found(Path(scratch) / "warm")
        for number in range(rounds):
            for place, count in enumerate(counts):
                told(f"round {number + 1}", place, len(counts))
                folder = Path(scratch) / f"{count}-{number}"
                seconds[count].append(_once(arguments, count, folder))
                if _found(folder) != first:
                    raise UserError(f"{count} processes found something else than {max(counts)}: this is a bug.")
            told(f"round {number + 1}", len(counts), len(counts))
    base = seconds[counts[0]]
    ratios = {count: median(one / other for one, other in zip(base, own)) for count, own in seconds.items()}
    rows = [
        (str(count), spread(own, 1), f"{ratios[count]:.2f}", f"{ratios[count] / count * counts[0]:.0%}")
        for count, own in seconds.items()
    ]
    said = ["Every number of processes chose the same candidates, with the same scores and predictions to the bit."]
    headings = ("processes", "seconds, median (least to most)", "speed-up, median of rounds", "efficiency")
    return Plain("classical", headings, rows, said, {str(count): own for count, own in seconds.items()})


def _once(arguments: Sequence[str], count: int, folder: Path) -> float:
    command = [*COMMAND, "baseline", "svm", *arguments]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, f"run.jobs={count}", f"run.folder={folder}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise UserError(f"the search failed: {' '.join(done.stderr.split()[-40:])}")
    return time.perf_counter() - began


def _found(folder: Path) -> tuple[list[object], bytes]:
    """What was chosen, every candidate's score, and the predictions."""
    return [read_json(path) for path in sorted(folder.glob("fold-*/search.json"))], (
        folder / "predictions.csv"
    ).read_bytes()
