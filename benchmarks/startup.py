"""Seconds from a command to its first training step, what of them is spent before any data is read, and of ``--help``.

``python benchmarks/startup.py ROOT [REPEATS]``; ROOT is RAVDESS's folder. The cache is warmed by a first run that is
not counted. The time of the first step is the one in TensorBoard's log.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def first_step(command: list[str], folder: Path) -> float:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    began = time.time()
    subprocess.run([*command, f"run.folder={folder}"], check=True, capture_output=True)
    log = EventAccumulator(str(folder / "fold-0" / "tensorboard"))
    log.Reload()
    return float(log.Scalars("train/loss")[0].wall_time) - began


def whole(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    root, repeats = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    settings = ["--config", "configs/ravdess.yaml", f"corpus.root={root}", "train.epochs=1", "train.views=1"]
    settings += ["split.only=[0]", "features.n_mels=32"]  # a small epoch: each command runs to its end
    commands = {
        "torchrun, 2 processes": ["torchrun", "--nproc_per_node=2", "launch/train.py", *settings],
        "parallel-ser train --nproc 2": ["parallel-ser", "train", "--nproc", "2", *settings],
        "parallel-ser train, one process": ["parallel-ser", "train", *settings, "strategy.name=single"],
    }
    parts = {
        "parallel-ser --help": ["parallel-ser", "--help"],
        "of it: torchrun that starts two processes of nothing": [
            *("torchrun", "--nproc_per_node=2", "--no-python", "true"),
        ],
        "of it: importing torch": [sys.executable, "-c", "import torch"],
        "of it: importing torch and all that trains": [sys.executable, "-c", "import parallel_ser.training.trainer"],
    }
    samples: dict[str, list[float]] = {name: [] for name in (*commands, *parts)}
    with tempfile.TemporaryDirectory() as folder:
        first_step(next(iter(commands.values())), Path(folder) / "warm")
        for repeat in range(repeats):  # in turn, so that drift hits all alike
            for place, (name, command) in enumerate(commands.items()):
                samples[name].append(first_step(command, Path(folder) / f"{repeat}-{place}"))
            for name, command in parts.items():
                samples[name].append(whole(command))
    for name, seconds in samples.items():
        print(f"{name}: median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}")
    print(json.dumps(samples))


if __name__ == "__main__":
    main()
