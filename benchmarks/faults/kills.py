"""Kill ranks and launchers of runs at random moments, go on, and compare with a run that nobody killed.

    python benchmarks/faults/kills.py [--kills 100] [--times 4] [--strategies single ddp …] [--seed 0] [--out FILE]

Every strategy trains a small network on the built-in corpus, on two processes (``single`` on one). A victim drawn at
random, the launcher or a rank, is killed (SIGKILL) a random time after a random checkpoint has appeared. Then nothing
of the run may be left alive for longer than 60 s. The same command with ``run.resume=true`` goes on and is killed
again, ``--times`` a run, and must end at last with the predictions and weights of a run that nobody killed, to the bit.
Prints a table; status 1 if anything differs or is left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from parallel_ser.parallel.strategies.registry import strategies
from parallel_ser.system.files import numbered, write_text
from parallel_ser.training import checkpoint

SETTINGS = [
    *["corpus.synthetic.speakers=4", "corpus.synthetic.sentences=1", "corpus.synthetic.takes=1", "split.folds=2"],
    *["split.only=[0]", "features.streams=[logmel]", "features.n_mels=16", "train.batch=8", "train.epochs=8"],
    *["train.checkpoint_every=1", "train.ema=0.9", "run.jobs=1"],
]
LIMIT = 60.0
"""Seconds after which a process of a killed run counts as left over."""
WHOLE = 600.0
"""Seconds that a run may take."""


@dataclass
class Row:
    """What came of a strategy's kills: how many, of how many runs, of which ended the same; processes left; the longest
    end."""

    kills: int = 0
    runs: int = 0
    same: int = 0
    left: int = 0
    seconds: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--strategies", nargs="+", default=list(strategies()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rng, rows = random.Random(arguments.seed), {name: Row() for name in arguments.strategies}
    with tempfile.TemporaryDirectory() as home:
        truth = {name: outcome(finished(name, Path(home) / name / "whole")) for name in rows}
        number = 0
        while (done := sum(row.kills for row in rows.values())) < arguments.kills:
            name = arguments.strategies[number % len(arguments.strategies)]
            folder, row, number = Path(home) / name / f"{number}", rows[name], number + 1
            for _ in range(min(arguments.times, arguments.kills - done)):
                if (came := killed(name, folder, rng)) is None:
                    break
                row.kills, row.left, row.seconds = row.kills + 1, row.left + came[0], max(row.seconds, came[1])
            same = outcome(finished(name, folder)) == truth[name]
            row.runs, row.same = row.runs + 1, row.same + same
            told = f"{name}, {row.kills} kills: {'the same to the bit' if same else 'DIFFERENT'}, {row.left} left"
            print(told, file=sys.stderr, flush=True)
            if arguments.out:
                found = {each: asdict(one) for each, one in rows.items()}
                write_text(arguments.out, json.dumps(found, indent=1) + "\n")
    print(f"{'strategy':14} {'kills':>6} {'runs':>5} {'same to the bit':>16} {'left alive':>11} {'ended within':>13} s")
    for name, row in rows.items():
        print(f"{name:14} {row.kills:6} {row.runs:5} {row.same:16} {row.left:11} {row.seconds:13.1f}")
    sys.exit(any(row.runs != row.same or row.left for row in rows.values()))


def command(strategy: str, folder: Path) -> list[str]:
    """That trains under a strategy, or goes on."""
    words = [sys.executable, "-m", "parallel_ser", "train", "--nproc", "1" if strategy == "single" else "2", *SETTINGS]
    words += [f"strategy.name={strategy}", "strategy.microbatches=2", f"run.folder={folder}"]
    return [*words, *(["run.resume=true"] if (folder / "config.yaml").exists() else [])]


def finished(strategy: str, folder: Path) -> Path:
    """Train to the end; the run's folder."""
    words = command(strategy, folder)
    done = subprocess.run(words, capture_output=True, text=True, timeout=WHOLE, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return folder


def outcome(folder: Path) -> tuple[bytes, bytes]:
    """Predictions and weights of a finished run."""
    weights = checkpoint.load(folder / "fold-0/model.pt")["weights"]
    flat = torch.cat([value.flatten().double() for _, value in sorted(weights.items())])
    return (folder / "fold-0/predictions.csv").read_bytes(), flat.numpy().tobytes()


def killed(strategy: str, folder: Path, rng: random.Random) -> tuple[int, float] | None:
    """Begin a run or go on with it and kill a process of it; how many were left alive, and the seconds until the last
    had ended. None where the run ended first."""
    words = command(strategy, folder)
    last = folder / "fold-0/last"
    wanted, until = newest(last) + rng.randrange(1, 4), time.monotonic() + WHOLE
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while run.poll() is None and time.monotonic() < until and newest(last) < wanted:
        time.sleep(0.005)
    time.sleep(rng.random() * 0.1)
    victims = processes(folder)
    if not victims:
        return None
    os.kill(rng.choice(victims), signal.SIGKILL)
    began = time.monotonic()
    while time.monotonic() - began < LIMIT:
        run.poll()
        if not (left := processes(folder)):
            return 0, time.monotonic() - began
        time.sleep(0.05)
    for one in left:
        os.kill(one, signal.SIGKILL)
    return len(left), LIMIT


def newest(last: Path) -> int:
    """Steps of the newest checkpoint; 0 before the first."""
    return max((number for number, _ in numbered(last, "step-")), default=0)


def processes(folder: Path) -> list[int]:
    """The launcher and the ranks of a run, by the folder that their command lines name."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"run.folder={folder}".encode() in words and alive(int(path.name)):
            found.append(int(path.name))
    return found


def alive(process: int) -> bool:
    """Whether a process runs, and is not merely awaited by its parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    main()
