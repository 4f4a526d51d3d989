"""Flip single bits and zero whole pages of every kind of file that is loaded, and count what is accepted.

    python benchmarks/faults/flips.py [--flips 1000] [--pages 100] [--out FILE]

A file is damaged at a place drawn at random, loaded as the product loads it, and put back. Refused is a ``UserError``
of one sentence (an entry of a cache: nothing is there); all else is a fault. Settings in which a comment or a space has
changed, so that the same settings are read, count as harmless. Prints a table; status 1 if a damaged file was accepted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deaths import CLASSES, SHAPE

from parallel_ser.audio import cache
from parallel_ser.audio.extract import Features
from parallel_ser.classical import recogniser
from parallel_ser.config import Config, load
from parallel_ser.errors import UserError
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.system import digests
from parallel_ser.system.files import write_text
from parallel_ser.training import checkpoint, run_folder, standing
from parallel_ser.training.start import started

PAGE = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        for kind, (file, read) in files(Path(name)).items():
            results[kind] = {
                "bytes": file.stat().st_size,
                "bits": tried(file, read, arguments.flips, flipped),
                "pages": tried(file, read, arguments.pages, zeroed),
            }
    print(f"{'file':20} {'bytes':>9}  {'damage':6} {'tried':>6} {'refused':>8} {'harmless':>9} {'accepted':>9}")
    for kind, row in results.items():
        for damage in ("bits", "pages"):
            count = row[damage]
            numbers = [sum(count.values()), *(count.get(one, 0) for one in ("refused", "harmless", "accepted"))]
            print(f"{kind:20} {row['bytes']:9}  {damage:6} {numbers[0]:6} {numbers[1]:8} {numbers[2]:9} {numbers[3]:9}")
    if arguments.out:
        write_text(arguments.out, json.dumps(results, indent=1) + "\n")
    sys.exit(any(row[damage].get("accepted") for row in results.values() for damage in ("bits", "pages")))


def tried(file: Path, read: Callable[[], Any], times: int, damage: Callable[[bytearray, Any], None]) -> dict[str, int]:
    """What came of reading the file with so many damages, one at a time."""
    rng, whole, truth, counts = np.random.default_rng(0), file.read_bytes(), repr(read()), Counter[str]()
    for _ in range(times):
        data = bytearray(whole)
        damage(data, rng)
        if data == whole:  # a page of zeros
            continue
        file.write_bytes(data)
        try:
            counts["harmless" if repr(read()) == truth else "accepted"] += 1
        except UserError as error:
            counts["refused" if "\n" not in str(error) else "accepted"] += 1
    file.write_bytes(whole)
    return dict(counts)


def flipped(data: bytearray, rng: np.random.Generator) -> None:
    """One bit."""
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def zeroed(data: bytearray, rng: np.random.Generator) -> None:
    """One page, as a disk loses it."""
    page = int(rng.integers(-(-len(data) // PAGE)))
    end = min(len(data), (page + 1) * PAGE)
    data[page * PAGE : end] = bytes(end - page * PAGE)


def unmoved(config: Config) -> Config:
    """The settings without the folders that may move, as nothing that is trained or answered depends on them."""
    changes = {"corpus": {"root": None}, "run": {"cache": None}}
    groups = {group: getattr(config, group).model_copy(update=update) for group, update in changes.items()}
    return config.model_copy(update=groups)


def files(folder: Path) -> dict[str, tuple[Path, Callable[[], Any]]]:
    """Every kind of file that is loaded, and what loads it: something that is the same where damage is harmless."""
    alone, rng = ProcessContext(0, 1, torch.device("cpu")), np.random.default_rng(0)
    strategy = started(load(None, ["strategy.name=single"]), SHAPE[2], CLASSES, SHAPE[3], alone)
    standing.save(folder / "last", 1, strategy, {"epoch": 0}, alone)
    step = folder / "last/step-1"
    checkpoint.save(folder / "model.pt", {"weights": strategy.state.weights()}, strategy.signature)
    recogniser.save(folder / "model.skops", {"rows": rng.standard_normal((200, 90))})
    digests.write_json(folder / "calibration.json", {"method": "temperature", "temperature": 1.7, "promises": []})
    features = Features(rng.standard_normal((70, 200)).astype(np.float32), {"snr_db": 20.0}, "id")
    cache._write(folder / "entry.features", features)
    digests.write_json(folder / "entry.json", {"seconds": [0.1, 0.2]})
    run = run_folder.open_new(load(None, [f"run.folder={folder}/run"]), "", 1, 1)

    def training() -> Any:
        standing.load(step, strategy, standing.info(step, strategy.signature), alone)
        return object()

    def loaded(path: Path, read: Callable[[Path], Any]) -> tuple[Path, Callable[[], Any]]:
        def attempt() -> Any:
            if read(path) is None:
                raise UserError("nothing is there, and it is made anew.")
            return object()

        return path, attempt

    return {
        "model.pt": loaded(folder / "model.pt", checkpoint.load),
        "checkpoint's shard": (next(step.glob("*.safetensors")), training),
        "training.json": (step / "training.json", training),
        "model.skops": loaded(folder / "model.skops", lambda path: recogniser.load(path, dict)),
        "calibration.json": loaded(folder / "calibration.json", digests.read_json),
        "cache: features": loaded(folder / "entry.features", cache._read),
        "cache: measurements": loaded(folder / "entry.json", digests.cached_json),
        "config.yaml": (run / "config.yaml", lambda: unmoved(run_folder.settings(run))),
    }


if __name__ == "__main__":
    main()
