"""Damage each file of a run's folder in each way, and count how the commands that read it end.

    python benchmarks/faults/folders.py [--ways pipe text …] [--out FILE]

A small classical run is made, and its files are, one at a time, deleted, emptied, cut, flipped in one bit, replaced by
noise, by JSON of another shape, by a pickle that would run a command, by a folder, a pipe or a link to itself. Then
``predict`` and ``runs`` must give the answer of the whole run, or name what is wrong in one line; a traceback, another
answer, a wait of more than ``LIMIT`` seconds or a pickle that ran are faults. Prints a table; status 1 with any.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from typer.testing import CliRunner

from parallel_ser.cli import app
from parallel_ser.system.files import write_text

SETTINGS = [
    *["corpus.synthetic.speakers=4", "corpus.synthetic.sentences=1", "corpus.synthetic.takes=1", "split.folds=2"],
    *["split.only=[0]", "classical.search.folds=2", "classical.search.cost=[1.0]", "classical.search.keep=[0]"],
]
LIMIT = 120
"""Seconds that a command may take."""
RNG = random.Random(0)


class Trap:
    """Runs a command where a pickle of it is loaded."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def flip(path: Path) -> None:
    """One bit."""
    data = bytearray(path.read_bytes())
    data[RNG.randrange(len(data))] ^= 1 << RNG.randrange(8)
    path.write_bytes(data)


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """What is no plain file, in the place of one."""

    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def ways(mark: Path) -> dict[str, Callable[[Path], object]]:
    """What becomes of a file; ``mark`` is made where a pickle is run."""
    return {
        "deleted": Path.unlink,
        "emptied": lambda path: path.write_bytes(b""),
        "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "bit": flip,
        "noise": lambda path: path.write_bytes(RNG.randbytes(3000)),
        "list": lambda path: path.write_bytes(b"[1]\n"),
        "object": lambda path: path.write_bytes(b"{}\n"),
        "pickle": lambda path: path.write_bytes(pickle.dumps(Trap(mark))),
        "folder": instead(Path.mkdir),
        "pipe": instead(os.mkfifo),
        "link": instead(lambda path: path.symlink_to(path.name)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", default=list(ways(Path())))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, late)
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        whole, run, mark = Path(name) / "whole", Path(name) / "run", Path(name) / "mark"
        os.environ["PARALLEL_SER_CACHE"] = f"{name}/cache"
        if CliRunner().invoke(app, ["baseline", "svm", *SETTINGS, f"run.folder={whole}"]).exit_code:
            sys.exit("the run to damage could not be made")
        recording = next(Path(name).rglob("*.wav"))
        shutil.copytree(whole, run)
        truth = {command: said(command, run, recording) for command in ("predict", "runs")}
        files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
        for way in arguments.ways:
            row = counts[way] = Counter[str]()
            for file in (one for one in files if one.suffix != ".png"):
                for command, right in truth.items():
                    shutil.rmtree(run)
                    shutil.copytree(whole, run)
                    ways(mark)[way](run / file)
                    found = judged(said(command, run, recording), right, command, run)
                    row["FAULT" if mark.exists() else found] += 1
                    if found == "FAULT":
                        print(f"{file}, {way}: {command}", file=sys.stderr, flush=True)
    print(f"{'damage':10} {'tried':>6} {'alike':>6} {'refused':>8} {'FAULT':>6}")
    for way, row in counts.items():
        print(f"{way:10} {sum(row.values()):6} {row['alike']:6} {row['refused']:8} {row['FAULT']:6}")
    if arguments.out:
        write_text(arguments.out, json.dumps(counts, indent=1) + "\n")
    sys.exit(any(row["FAULT"] for row in counts.values()))


def late(number: int, frame: FrameType | None) -> None:
    """End a command that waits."""
    raise SystemExit(99)


def said(command: str, run: Path, recording: Path) -> tuple[int, str, str]:
    """Exit status, output and errors of a command; status 1 is a traceback and 99 a wait."""
    words = ["predict", str(run), str(recording), "--json"] if command == "predict" else ["runs", str(run), "--json"]
    signal.alarm(LIMIT)
    try:
        done = CliRunner().invoke(app, words)
    finally:
        signal.alarm(0)
    return done.exit_code, done.stdout, done.stderr


def judged(found: tuple[int, str, str], right: tuple[int, str, str], command: str, run: Path) -> str:
    """What came of a command: as with the whole run, refused in one line (``runs`` has it in its table), or a fault."""
    status, out, errors = found
    if found == right:
        return "alike"
    if status == 2 and errors.startswith("error: ") and errors.count("\n") == 1:
        return "refused"
    listed = json.loads(out)["runs"] if command == "runs" and status == 0 else []
    if listed and (listed[0]["problem"] or listed[0]["uar"] is None):  # damaged, or not finished
        return "refused"
    return "FAULT"


if __name__ == "__main__":
    main()
