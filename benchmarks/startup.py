"""Seconds from a command to its first training step, and of ``--help``.

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


def help_time() -> float:
    began = time.perf_counter()
    subprocess.run(["parallel-ser", "--help"], check=True, capture_output=True)
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
    samples: dict[str, list[float]] = {name: [] for name in commands}
    samples["parallel-ser --help"] = []
    with tempfile.TemporaryDirectory() as folder:
        first_step(next(iter(commands.values())), Path(folder) / "warm")
        for repeat in range(repeats):  # in turn, so that drift hits all alike
            for place, (name, command) in enumerate(commands.items()):
                samples[name].append(first_step(command, Path(folder) / f"{repeat}-{place}"))
            samples["parallel-ser --help"].append(help_time())
    for name, seconds in samples.items():
        print(f"{name}: median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}")
    print(json.dumps(samples))


if __name__ == "__main__":
    main()
