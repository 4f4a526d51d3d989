"""A classical search over 1, 2, … processes: whole commands by the clock, and that they find the same."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from parallel_ser.bench.plain import COMMAND, Kept, Plain, bars, spread
from parallel_ser.errors import UserError
from parallel_ser.report.terminal import Rounds
from parallel_ser.training.run_folder import read_json


def measure(arguments: Sequence[str], counts: Sequence[int], rounds: int, kept: Kept, told: Rounds) -> Plain:
    """Time ``parallel-ser baseline svm ARGUMENTS`` with each count of processes, in turn; features are cached first.

    Raises:
        UserError: the command fails, or another number of processes finds something else.
    """
    samples: dict[int, list[dict[str, Any]]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as scratch:
        _once(arguments, max(counts), Path(scratch) / "warm")
        for number in range(rounds):
            for place, count in enumerate(counts):
                told(f"round {number + 1}", place, len(counts))
                home = Path(scratch) / f"{count}-{number}"
                samples[count].append(kept.sample(str(count), number, partial(_once, arguments, count, home)))
            told(f"round {number + 1}", len(counts), len(counts))
    found = {one["found"] for own in samples.values() for one in own}
    if len(found) > 1:
        raise UserError("another number of processes found something else: this is a bug.")
    seconds = {count: [one["seconds"] for one in own] for count, own in samples.items()}
    base = seconds[counts[0]]
    ratios = {
        count: [one / other * counts[0] for one, other in zip(base, own, strict=False)]
        for count, own in seconds.items()
    }
    rows = [
        (str(count), spread(own, 1), spread(ratios[count], 2), f"{median(ratios[count]) / count:.0%}")
        for count, own in seconds.items()
    ]
    most = max(counts)
    said = [
        f"{most} processes search {median(ratios[most]):.2f} times as fast as {counts[0]}; reading, the last "
        "fits and the report are in the time, and are not shared out.",
        "Every number of processes chose the same candidates, with the same scores and predictions to the bit.",
    ]
    headings = ("processes", "seconds, median (least to most)", "speed-up within a round", "efficiency")
    named = {f"{count} process{'es' * (count > 1)}": ratios[count] for count in counts}
    data = f"parallel-ser baseline svm {' '.join(arguments)}"
    return Plain("classical", data, headings, rows, said, "times as fast as one process", bars(named))


def _once(arguments: Sequence[str], count: int, folder: Path) -> dict[str, Any]:
    """Seconds of one command, and a hash of what was chosen, every candidate's score, and the predictions."""
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
    seconds = time.perf_counter() - began
    chosen = json.dumps([read_json(path) for path in sorted(folder.glob("fold-*/search.json"))], sort_keys=True)
    told = hashlib.sha256(chosen.encode() + (folder / "predictions.csv").read_bytes())
    return {"seconds": seconds, "found": told.hexdigest()}
