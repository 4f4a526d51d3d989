"""A step of one process against a plain PyTorch loop, in training and in recognition.

``python benchmarks/step.py [--size m] [--batch 32] [--threads N] [--rounds 15] [--precisions fp32]`` writes
``benchmarks/results/step-SIZE.json`` and prints a table. The machine must be idle. The plain loop is what one writes
first: float32, channels first, eager, the whole batch at once, torch's AdamW and, to recognise, ``no_grad``. Ours is
``strategy.name=single`` at several micro-batches, in float32 and in bfloat16 (minutes on a processor without
instructions for it). Each has a process of its own, as memory is allocated differently in ours, and they take turns, so
that drift hits all alike; a ratio is the median over the rounds of two times of one round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from resident import CLASSES, ROWS, batch, table, write_record

from parallel_ser.bench.roofline import measure_peaks, step_flops
from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.cost.partition import block_costs
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.system.cores import usable_cores
from parallel_ser.system.environment import environment
from parallel_ser.system.process import keep_freed
from parallel_ser.training.optim import adamw, cross_entropy
from parallel_ser.training.settings import TrainSettings

FRAMES = 224  # of a batch, 2.2 seconds
PARTS = (4, 2, 1)  # a micro-batch is the batch by so many
WARM = 2  # rounds
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

Pair = tuple[Callable[[], object], Callable[[], object]]


def plain(size: str, count: int) -> Pair:
    """A training step and a recognition of the batch, without a word of this project but the network."""
    chain = build(ModelSettings(size=size, dropout=0.0), ROWS, CLASSES, 0)
    optimizer = torch.optim.AdamW(chain.parameters(), lr=1e-4)
    inputs, targets = batch(count, FRAMES)

    def train() -> float:
        chain.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(chain(inputs.x, inputs.valid, inputs.seed), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(chain.parameters(), 10.0)
        optimizer.step()
        return float(loss.detach())

    def recognise() -> object:
        chain.eval()
        with torch.no_grad():
            return chain(inputs.x, inputs.valid, inputs.seed)

    return train, recognise


def ours(size: str, count: int, parts: int, bf16: bool) -> Pair:
    """The same under ``single``; recognition in as many parts as the training has micro-batches."""
    keep_freed()
    settings = TrainSettings(learning_rate=1e-4)
    strategy = Strategy(StrategySettings(name="single", microbatches=parts), settings.clip_norm, bf16=bf16)
    chain = build(ModelSettings(size=size, dropout=0.0), ROWS, CLASSES, 0)
    here = ProcessContext(0, 1, torch.device("cpu"))
    strategy.setup(chain, cross_entropy, lambda own: adamw(own, settings), here, (count // parts, 1, ROWS, FRAMES))
    inputs, targets = batch(count, FRAMES)

    def recognise() -> object:
        return [strategy.predict(part) for part in inputs.split(strategy.settings.microbatches)]

    return lambda: strategy.train_step(inputs, targets), recognise


def loop(asked: Connection, threads: int, make: Callable[..., Pair], *given: object) -> None:
    """In a process: the seconds of a training step (0) or a recognition (1) each time that one is asked for."""
    torch.set_num_threads(threads)
    pair = make(*given)
    while (place := asked.recv()) is not None:
        began = time.perf_counter()
        pair[place]()
        asked.send(time.perf_counter() - began)


def started(stack: ExitStack, *given: object) -> Connection:
    """A ``loop`` in a fresh process, which ends with the stack."""
    start = multiprocessing.get_context("spawn")
    here, there = start.Pipe()
    process = start.Process(target=loop, args=(there, *given))
    process.start()
    stack.callback(process.join)
    stack.callback(here.send, None)
    return here


def main() -> None:
    parser = argparse.ArgumentParser(description="A step of one process against a plain PyTorch loop.")
    parser.add_argument("--size", default="m", choices=("s", "m", "l", "xl"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precisions", nargs="+", default=list(TYPES), choices=TYPES)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cpu = torch.device("cpu")
    limits = {name: measure_peaks(cpu, TYPES[name]) for name in dict.fromkeys(("fp32", *given.precisions))}
    loops: dict[str, tuple[object, ...]] = {"plain": (plain, given.size, given.batch)}
    for precision in given.precisions:
        for parts in PARTS:
            name = f"{precision}, micro-batches of {-(-given.batch // parts)}"
            loops[name] = (ours, given.size, given.batch, parts, precision == "bf16")
    samples: dict[str, list[list[float]]] = {name: [[], []] for name in loops}
    with ExitStack() as stack:
        every = {name: started(stack, given.threads, *what) for name, what in loops.items()}
        for number in range(given.rounds + WARM):
            for name, asked in every.items():
                for place in (0, 1):
                    asked.send(place)
                    seconds = asked.recv()
                    if number >= WARM:
                        samples[name][place].append(seconds)
    chain = build(ModelSettings(size=given.size, dropout=0.0), ROWS, CLASSES, 0)
    flops = step_flops(block_costs(chain, (given.batch, 1, ROWS, FRAMES)))
    rows = []
    for name, (train, recognise) in samples.items():
        peak = limits["bf16" if name.startswith("bf16") else "fp32"].flops
        gains = [
            statistics.median(a / b for a, b in zip(samples["plain"][place], own))
            for place, own in enumerate((train, recognise))
        ]
        step = statistics.median(train)
        found = (1e3 * step, gains[0], 1e3 * statistics.median(recognise), gains[1], flops / step / peak)
        rows.append(
            [name, *(form.format(one) for form, one in zip(("{:.0f}", "{:.2f}", "{:.0f}", "{:.2f}", "{:.0%}"), found))]
        )
    heads = ("loop", "step ms", "× plain", "recognition ms", "× plain", "of the matrix peak")
    record = {
        "environment": environment(1, given.threads),
        "batch": given.batch,
        "limits": {name: asdict(one) for name, one in limits.items()},
    }
    record |= {"flops": flops, "samples": samples}
    write_record(given.out or Path(__file__).parent / "results" / f"step-{given.size}.json", record)
    print(table(heads, rows))


if __name__ == "__main__":
    main()
