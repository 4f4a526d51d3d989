"""Die at every file operation of every kind of save, and look at what is left.

    python benchmarks/faults/deaths.py [--out FILE]

Each save runs in a fork of this process that ends, without another word, at its k-th file operation (open, rename,
remove, mkdir, rmdir, flush to disk), for every k until it comes to its end. What is left must be whole: what stood
before or what was being saved, to the bit, and the same save must then succeed. Prints a table; status 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parallel_ser.audio import cache
from parallel_ser.audio.extract import Extractor, Features
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.classical import recogniser
from parallel_ser.config import load
from parallel_ser.errors import UserError
from parallel_ser.models.batch import random_batch
from parallel_ser.models.registry import Beside
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.system import digests
from parallel_ser.system.files import write_text
from parallel_ser.training import model_file, standing
from parallel_ser.training.extras import Extras
from parallel_ser.training.normalise import Normaliser
from parallel_ser.training.preprocessor import Preprocessor
from parallel_ser.training.start import started

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "fsync")
SHAPE, CLASSES = (2, 1, 16, 32), 3


@dataclass(frozen=True)
class Save:
    """A kind of save.

    Attributes:
        before: makes what stands, in a folder.
        save: what is interrupted.
        read: what is there, as something that can be compared; raises ``UserError`` where nothing whole is.
    """

    before: Callable[[Path], object]
    save: Callable[[Path], object]
    read: Callable[[Path], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {name: tried(save) for name, save in saves().items()}
    print(f"{'save':42} {'points of death':>15} {'nothing lost':>12}")
    for name, (points, whole) in results.items():
        print(f"{name:42} {points:15} {whole:12}")
    if arguments.out:
        write_text(arguments.out, json.dumps(results, indent=1) + "\n")
    sys.exit(any(points != whole or not points for points, whole in results.values()))


def tried(save: Save) -> tuple[int, int]:
    """How many points of death there were, and after how many nothing was lost."""
    points = whole = 0
    while True:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save.before(folder)
            old = save.read(folder)
            if not died(lambda: save.save(folder), folder, points):  # noqa: B023 - called at once
                new = save.read(folder)
                return points, whole
            points += 1
            try:
                left = save.read(folder)
                save.save(folder)
                new = save.read(folder)
                whole += same(left, old) or same(left, new)
            except UserError as error:
                print(f"after {points} operations: {error}", file=sys.stderr)


def died(work: Callable[[], object], folder: Path, operations: int) -> bool:
    """Do the work in a fork that ends before its ``operations``-th operation below the folder; whether it did."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    try:
        left = operations

        def heard(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event in EVENTS and (event == "fsync" or str(folder) in str(arguments)):
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(heard)
        flush = os.fsync

        def fsync(fd: Any) -> None:
            sys.audit("fsync", fd)
            flush(fd)

        os.fsync = fsync
        work()
        os._exit(0)
    except BaseException as error:
        print(error, file=sys.stderr)
        os._exit(1)


def same(one: Any, other: Any) -> bool:
    """Whether two states are the same to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


def saves() -> dict[str, Save]:
    """Every kind of save of the project."""
    alone = ProcessContext(0, 1, torch.device("cpu"))
    strategy = started(load(None, ["train.ema=0.9", "strategy.name=single"]), SHAPE[2], CLASSES, SHAPE[3], alone)
    strategy.train_step(*random_batch(SHAPE, CLASSES))
    later = started(load(None, ["train.ema=0.9", "strategy.name=single"]), SHAPE[2], CLASSES, SHAPE[3], alone)
    for seed in range(2):
        later.train_step(*random_batch(SHAPE, CLASSES, seed))
    other = started(load(None, ["train.ema=0.9", "strategy.name=single"]), SHAPE[2], CLASSES, SHAPE[3], alone)

    def checkpoint(folder: Path) -> dict[str, Any]:
        path = standing.newest(folder)
        if path is None:
            raise UserError("no checkpoint is left.")
        about = standing.info(path, other.signature)
        standing.load(path, other, about, alone)
        return {"progress": about["progress"], **{name: one.clone() for name, one in other.state.shards().items()}}

    def first(folder: Path) -> None:
        standing.save(folder, 1, strategy, {"epoch": 0, "history": []}, alone)

    def weights(seed: int) -> Callable[[Path], None]:
        chain = {name: torch.full_like(one, seed) for name, one in strategy.state.weights().items()}
        normaliser = Normaliser.fit("train", [np.random.default_rng(seed).standard_normal((SHAPE[2], 9))])
        preprocessor = Preprocessor(normaliser, Extras(Beside()))
        return lambda folder: model_file.save(
            folder / "model.pt", strategy.signature, chain, ("a", "b", "c"), preprocessor, {}
        )

    def model(folder: Path) -> Any:
        from parallel_ser.training.checkpoint import load as load_checkpoint

        return {"weights": load_checkpoint(folder / "model.pt")["weights"]}

    extractor = Extractor(AudioSettings(), FeatureSettings())

    def features(folder: Path) -> Any:
        entry = cache._read(folder / "x.features")
        if entry is None:
            raise UserError("no features are left.")
        return {"frames": entry.frames, **entry.measures}

    def written(value: float) -> Callable[[Path], None]:
        frames = np.full((len(extractor.names), 7), value, np.float32)
        return lambda folder: cache._write(folder / "x.features", Features(frames, {"snr_db": value}, "id"))

    return {
        "checkpoint of a new step": Save(
            first, lambda folder: standing.save(folder, 2, later, {"epoch": 1, "history": [1]}, alone), checkpoint
        ),
        "checkpoint of a step that is saved already": Save(
            first, lambda folder: standing.save(folder, 1, strategy, {"epoch": 1, "history": [1]}, alone), checkpoint
        ),
        "model": Save(weights(0), weights(1), model),
        "classical model": Save(
            lambda folder: recogniser.save(folder / "m.skops", {"rows": np.zeros(3)}),
            lambda folder: recogniser.save(folder / "m.skops", {"rows": np.ones(3)}),
            lambda folder: recogniser.load(folder / "m.skops", dict),
        ),
        "calibration, progress and what is measured": Save(
            lambda folder: digests.write_json(folder / "x.json", {"temperature": 1.0}),
            lambda folder: digests.write_json(folder / "x.json", {"temperature": 2.0}),
            lambda folder: digests.read_json(folder / "x.json"),
        ),
        "features in the cache": Save(written(0.0), written(1.0), features),
        "tables and texts": Save(
            lambda folder: write_text(folder / "x.csv", "a\n"),
            lambda folder: write_text(folder / "x.csv", "b\n"),
            lambda folder: (folder / "x.csv").read_text(),
        ),
    }


if __name__ == "__main__":
    main()
