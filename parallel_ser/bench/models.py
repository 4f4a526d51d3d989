"""What each model costs and brings: whole commands of one protocol, with the same seeds and cores, in turn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from parallel_ser.bench.accuracy import System, checked
from parallel_ser.bench.plain import COMMAND, Bar, Kept, Plain, ending, spread
from parallel_ser.errors import UserError
from parallel_ser.report.terminal import Rounds
from parallel_ser.training.run_folder import fold_folder, folds, metrics_of, read_json

_MFCC = ("features.streams=[mfcc]", "features.n_mfcc=40", "features.n_mels=64")
_ALL = ("features.streams=[mfcc, mfcc_delta, mfcc_delta2]", "features.n_mfcc=32", "features.n_mels=64")
SYSTEMS = (
    System(name="SVM", run="baseline svm"),
    System(name="GMM", run="baseline gmm"),
    System(name="CNN", run="train", settings=("model.name=cnn",)),
    System(
        name="conformer",
        run="train",
        settings=("model.name=conformer", "features.streams=[logmel, pitch, voicing, intensity]"),
    ),
    System(
        name="ResNet-1D",
        run="train",
        settings=(
            "model.name=resnet1d",
            "features.streams=[mfcc, mfcc_delta, spectral, quality, pitch, voicing, loudness, intensity]",
            "features.hop=0.02",
        ),
    ),
    System(name="MLP", run="train", settings=("model.name=mlp", "model.options={vectors: 500, keep: 500}")),
    System(name="MFCC-LSTM", run="train", settings=("model.name=mfcc_lstm", *_MFCC)),
    System(
        name="LSTM-Transformer",
        run="train",
        settings=("model.name=lstm_transformer", *_MFCC, "features.n_mfcc=50"),
    ),
    System(
        name="MSCNN-SPU, audio",
        run="train",
        settings=("model.name=mscnn_spu", "model.options.text=false", "train.mixup=0", *_ALL),
    ),
)
"""Where a YAML names no others, as ``benchmarks/models.yaml`` does: with the settings that training has by default."""


@dataclass(frozen=True)
class Given:
    """A file with settings, and further ones."""

    config: Path | None
    settings: Sequence[str]


_RECOGNISE = "import sys; from parallel_ser.bench.models import recognise; recognise(sys.argv[1])"
TIMED = 3


def measure(systems: Sequence[System], given: Given, seeds: int, budget: float, kept: Kept, told: Rounds) -> Plain:
    """Train and test every system with each seed, then let it recognise its test side again.

    Args:
        systems: the rows; those of the module where there are none.
        given: settings of all of them, which those of a system override; the file of one that names its own is left
            out.
        seeds: from 0; each is a round through all systems.
        budget: in seconds; no round but the first begins later.
        kept: where samples are.
        told: called with the round, and how many systems of it are done.

    Raises:
        UserError: a system fails.
    """
    systems = systems or SYSTEMS
    checked(systems)
    if fused := [one.name for one in systems if one.run.split()[0] == "fuse"]:
        raise UserError(f"system {fused[0]} is a fusion, which costs what its parts cost: leave it to suite: accuracy.")
    began = time.monotonic()
    samples: dict[str, list[dict[str, Any]]] = {one.name: [] for one in systems}
    for seed in range(seeds):
        if seed and time.monotonic() - began > budget:
            break
        for place, one in enumerate(systems):
            told(f"seed {seed}", place, len(systems))
            home = kept.path.parent / f"{one.name.replace(' ', '-').replace(',', '')}-{seed}"
            samples[one.name].append(kept.sample(one.name, seed, partial(_once, one, given, seed, home)))
        told(f"seed {seed}", len(systems), len(systems))
    return _table(samples)


def _table(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Plain:
    headings = (
        "system",
        "UAR (95% over speakers)",
        "minutes",
        "memory, MiB",
        "parameters",
        "training, utterances/s",
        "recognition, utterances/s",
    )
    rows, bars = [], []
    for name, own in samples.items():
        value, low, high = (mean(float(one[key]) for one in own) for key in ("uar", "low", "high"))
        bars.append(Bar(name, value, low, high, median(one["seconds"] / 60 for one in own)))
        trained = [float(one["trained"]) for one in own if one["trained"]]
        rows.append(
            (
                name,
                f"{value:.3f} ({low:.3f} to {high:.3f})",
                spread([one["seconds"] / 60 for one in own], 1),
                spread([one["memory"] / 2**20 for one in own]),
                f"{own[0]['parameters']:,}" if own[0]["parameters"] else "–",
                spread(trained) if trained else "–",
                spread([one["recognised"] for one in own]),
            )
        )
    best = max(bars, key=lambda bar: bar.value)
    seeds = max(len(own) for own in samples.values())
    first = next(iter(samples.values()))[0]
    said = [
        f"The highest mean UAR over {seeds} seed{'s' * (seeds > 1)} is that of {best.name}, {best.value:.3f}; an "
        "interval's ends are the mean of the seeds' own.",
        "Minutes are of the whole command, features made before; memory is that of the fullest process, its imports "
        "among it; recognition is of features at hand, calibration and all folds' models left out.",
    ]
    return Plain("models", str(first["data"]), headings, rows, said, "UAR (95% over speakers)", bars, "minutes")


def _once(system: System, given: Given, seed: int, home: Path) -> dict[str, Any]:
    """Train, test and recognise, from features that are at hand."""
    seeds = [f"train.seed={seed}", f"classical.seed={seed}", f"run.folder={home}"]
    file = system.config or given.config
    config = ["--config", str(file)] if file else []
    command = [*COMMAND, *system.run.split(), *config, *given.settings, *system.settings, *seeds]
    if not (home / "cost.json").exists():
        shutil.rmtree(home, ignore_errors=True)  # the seconds of a run that goes on would not be all
        _features(system, given)
        seconds, memory = _timed(system, command)
        (home / "cost.json").write_text(json.dumps({"seconds": seconds, "memory": memory}))
    cost = read_json(home / "cost.json")
    done = subprocess.run(
        [sys.executable, "-c", _RECOGNISE, str(home)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise UserError(f"system {system.name} cannot recognise: {ending(done.stderr, done.returncode)}")
    metrics = metrics_of(home)
    value = metrics["uar"]["value"]
    low, high = metrics["uar"]["interval"] or (value, value)
    audit = metrics["audit"] or {}
    return {
        **cost,
        **json.loads(done.stdout.splitlines()[-1]),
        "trained": _trained(home),
        "uar": value,
        "low": low,
        "high": high,
        "data": f"Protocol {audit.get('protocol', 'unnamed')}: {audit.get('verdict', 'not audited')}",
    }


def _features(system: System, given: Given) -> None:
    """Have the cache hold the features, which every system would else make in its time."""
    from parallel_ser.config import load
    from parallel_ser.training.baseline import BASE
    from parallel_ser.training.copies import prepare_training

    base = BASE if system.run.split()[0] == "baseline" else ()
    prepare_training(load(system.config or given.config, [*given.settings, *system.settings], base))


def _timed(system: System, command: Sequence[str]) -> tuple[float, int]:
    """Seconds of a command, and the bytes of its fullest process.

    Raises:
        UserError: it fails.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as told:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            told.seek(0)
            raise UserError(f"system {system.name} failed: {ending(told.read(), child.returncode)}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def _trained(home: Path) -> float:
    """Utterances a second of a network's training with its selection passes; 0 of what has no epochs."""
    done = seconds = 0.0
    for fold in folds(home):
        history = fold_folder(home, fold) / "history.json"
        if not history.exists():
            return 0.0
        epochs: Any = json.loads(history.read_text())
        split = (fold_folder(home, fold) / "split.csv").read_text(encoding="utf-8").splitlines()
        done += len(epochs) * sum(line.startswith("train,") for line in split)
        seconds += sum(one["seconds"] for one in epochs)
    return done / seconds


def recognise(home: str) -> None:
    """Print how fast the first fold's model recognises its test side on one thread, and its number of parameters."""
    import torch

    from parallel_ser.training.data import prepare
    from parallel_ser.training.inference import NeuralRun, Run, with_answered_copies

    torch.set_num_threads(1)
    run = Run.open(Path(home))
    data, split, _ = prepare(run.config)
    first = run.folds[0]
    (fold,) = (one for one in split if one.index == first)
    run.folds = (first,)
    tested = with_answered_copies(run.config, data, {first: fold.test})
    took = []
    for _ in range(TIMED):
        began = time.perf_counter()
        run.raw_answers(lambda _: tested)
        took.append(time.perf_counter() - began)
    parameters = 0
    if isinstance(run, NeuralRun):
        parameters = sum(one.numel() for one in run.models[first].module.parameters())
    print(json.dumps({"recognised": len(fold.test) / sorted(took)[TIMED // 2], "parameters": parameters}))
