"""What the memory benchmarks share: the resident set and its peak, a strategy to step, ranks in fresh processes."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parallel_ser.models.batch import Inputs, example, random_batch
from parallel_ser.models.chain import Chain, call
from parallel_ser.parallel.cost.partition import stage_slices
from parallel_ser.system.process import peak_uss, reset_peak, uss

MIB = 2**20
GIB = 2**30
ADAMW = 16  # bytes a parameter: weight, gradient and two moments in float32
COPIES = 4  # of a weight: as measured, its new gradient and what convolutions reorder of both
CLASSES, ROWS = 8, 64


@contextmanager
def peak(into: dict[str, int], name: str) -> Iterator[None]:
    """Keep in ``into[name]`` the most memory of its own within, of all times that it was entered.

    By the system's own mark, else by a thread that looks every two milliseconds.
    """
    if reset_peak():
        yield
        found = peak_uss()
    else:
        seen, done = [uss()], threading.Event()

        def look() -> None:
            while not done.wait(0.002):
                seen.append(max(seen.pop(), uss()))

        thread = threading.Thread(target=look)
        thread.start()
        yield
        done.set()
        thread.join()
        found = max(*seen, uss())
    into[name] = max(into.get(name, 0), found)


def trim() -> None:
    """Have glibc give back what it keeps of freed memory."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def batch(size: int, frames: int) -> tuple[Inputs, Tensor]:
    """Random utterances without padding, the same on every rank, and one-hot targets."""
    return random_batch((size, 1, ROWS, frames), CLASSES, size + frames)


@dataclass(frozen=True)
class Need:
    """What a block needs of memory, in bytes.

    Attributes:
        state: weights, gradients and moments.
        kept: what autograd keeps of a micro-batch until its backward pass.
        enters: the input of a micro-batch.
        largest: the largest parameter.
    """

    state: int
    kept: int
    enters: int
    largest: int


def needs(chain: Chain, shape: Sequence[int]) -> list[Need]:
    """Of each block, for micro-batches of ``shape``; asked of a copy on the meta device, so nothing is computed."""
    inputs = example(shape, device="meta")
    x = inputs.x
    found = []
    for block in chain.skeleton():
        own = {p.untyped_storage()._cdata for p in block.parameters()}
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor, kept: dict[int, Tensor] = kept) -> Tensor:
            kept.setdefault(tensor.untyped_storage()._cdata, tensor)
            return tensor

        x = x.detach().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y = call(block, x, inputs.beside)
        held = sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own)
        sizes = [p.numel() for p in block.parameters()]
        found.append(Need(sum(sizes) * ADAMW, held, x.numel() * 4, max(sizes) * 4))
        x = y
    return found


def stage_bytes(every: Sequence[Need], start: int, stop: int, flying: int, checkpointing: bool = False) -> int:
    """A stage's state, activations of the micro-batches in flight, and the gradients at both of its ends.

    And ``COPIES`` of its largest parameter, see there.
    """
    own = every[start:stop]
    if checkpointing:
        kept = flying * sum(one.enters for one in own) + max(one.kept for one in own)
    else:
        kept = flying * sum(one.kept for one in own)
    edges = (own[0].enters if start else 0) + (every[stop].enters if stop < len(every) else 0)
    return sum(one.state for one in own) + kept + edges + COPIES * max(one.largest for one in own)


def fullest(every: Sequence[Need], cuts: Sequence[int], parts: int, checkpointing: bool = False) -> list[int]:
    """Bytes of each rank of a 1F1B pipeline that is cut so."""
    stages = stage_slices(cuts, len(every))
    return [
        stage_bytes(every, start, stop, min(parts, len(stages) - rank), checkpointing)
        for rank, (start, stop) in enumerate(stages)
    ]


def balanced(every: Sequence[Need], ranks: int, parts: int, checkpointing: bool = False) -> tuple[int, ...]:
    """The cut of a 1F1B pipeline whose fullest rank is the emptiest, of all cuts."""
    cuts = itertools.combinations(range(1, len(every)), ranks - 1)
    return min(cuts, key=lambda cut: sorted(fullest(every, cut, parts, checkpointing), reverse=True))


def launch(script: str, case: dict[str, Any], ranks: int, timeout: float) -> tuple[list[dict[str, Any]], str]:
    """Run a case in fresh processes: what each rank wrote, and why there is none of some, in words."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
        command += [script, "--rank", json.dumps(case), "--out", folder]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", **case.get("environment", {})}
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            text, _ = process.communicate(timeout=timeout)
            said = "" if process.returncode == 0 else text
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its ranks
            process.communicate()
            said = f"not done after {timeout:.0f} s"
        records = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    return records, said


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Under a temporary name first."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(path)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def prediction(row: Mapping[str, Any]) -> list[str]:
    """Cells of a row: its ``predicted`` and ``measured`` seconds as milliseconds, and what the first is off by."""
    predicted, measured = row["predicted"], row["measured"]
    return [f"{1e3 * predicted:.0f}", f"{1e3 * measured:.0f}", f"{predicted / measured - 1:+.0%}"]


def clock() -> float:
    """Seconds, to measure with."""
    return time.perf_counter()
