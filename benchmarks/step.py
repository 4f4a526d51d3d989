"""A step of one process against a plain PyTorch loop, in training and in recognition.

    python benchmarks/step.py [--size m] [--batch 32] [--threads N] [--rounds 15] [--precisions fp32]
    python benchmarks/step.py --model wavlm [--size base] --batch 8 --frames 150 --parts 4 2 [--rounds 5]

writes ``benchmarks/results/step-SIZE.json`` (``step-MODEL-SIZE.json`` of an encoder) and prints a table. The machine
must be idle. The plain loop is what one writes first: float32, channels first, eager, the whole batch at once, torch's
AdamW and, to recognise, ``no_grad``; of an encoder around torchaudio's own module, whose layers' outputs are summed by
learnt weights, averaged over time and classified by one dense layer, and in a second loop under ``torch.autocast`` to
bfloat16. Ours is ``strategy.name=single`` at several micro-batches, in float32 and in bfloat16 (minutes on a processor
without instructions for it). Nothing is dropped out. Each has a process of its own, as memory is allocated differently
in ours, and they take turns, so that drift hits all alike; a ratio is the median over the rounds of two times of one
round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torchaudio
from resident import CLASSES, ROWS, table, write_record
from torch import Tensor, nn

from parallel_ser.bench.roofline import measure_peaks, step_flops
from parallel_ser.models.batch import random_batch
from parallel_ser.models.chain import Chain
from parallel_ser.models.encoder.plans import HOP
from parallel_ser.models.registry import build
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

ENCODERS = ("wav2vec2", "hubert", "wavlm")
WARM = 2  # rounds
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

Pair = tuple[Callable[[], object], Callable[[], object]]


@dataclass(frozen=True)
class Subject:
    """What is timed: a network, and a batch without padding."""

    model: str
    size: str
    count: int
    frames: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.count, 1, HOP if self.model in ENCODERS else ROWS, self.frames)

    def chain(self) -> Chain:
        settings: dict[str, object] = {"name": self.model, "size": self.size, "dropout": 0.0}
        if self.model in ENCODERS:
            settings["options"] = {"dropout": 0.0}
        return build(ModelSettings.model_validate(settings), self.shape[2], CLASSES, 0)


class Torchaudios(nn.Module):
    """An encoder of torchaudio's factory with what a recipe puts behind it."""

    def __init__(self, model: str, size: str) -> None:
        super().__init__()
        none = ("projection_dropout", "attention_dropout", "ff_interm_dropout", "dropout", "layer_drop")
        make = getattr(torchaudio.models, f"{model}_{size}")
        self.encoder = make(**{f"encoder_{name}": 0.0 for name in none})
        layers = self.encoder.encoder.transformer.layers
        self.weights = nn.Parameter(torch.zeros(len(layers)))
        self.head = nn.Linear(layers[0].final_layer_norm.normalized_shape[0], CLASSES)

    def forward(self, signal: Tensor) -> Tensor:
        """Scores ``(utterances, classes)`` of samples ``(utterances, samples)``."""
        every = torch.stack(self.encoder.extract_features(signal)[0])
        return self.head(torch.einsum("l,lbtw->bw", self.weights.softmax(0), every) / every.shape[2])


def plain(subject: Subject, bf16: bool) -> Pair:
    """A training step and a recognition of the batch, without a word of this project but the CNN."""
    inputs, targets = random_batch(subject.shape, CLASSES)
    network: nn.Module
    if subject.model in ENCODERS:
        network = Torchaudios(subject.model, subject.size)
        signal = nn.functional.pad(inputs.x[:, 0].transpose(1, 2).flatten(1), (0, 80))  # so n hops give n frames
        batch: tuple[Tensor, ...] = (signal,)
    else:
        network, batch = subject.chain(), (inputs.x, inputs.valid, inputs.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits: Tensor = network(*batch)
        return logits.float()

    def train() -> float:
        network.train()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(forward(), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        return float(loss.detach())

    def recognise() -> object:
        network.eval()
        with torch.no_grad():
            return forward()

    return train, recognise


def ours(subject: Subject, parts: int, bf16: bool) -> Pair:
    """The same under ``single``; recognition in as many parts as the training has micro-batches."""
    keep_freed()
    settings = TrainSettings(learning_rate=1e-4)
    strategy = Strategy(StrategySettings(name="single", microbatches=parts), settings.clip_norm, bf16=bf16)
    here = ProcessContext(0, 1, torch.device("cpu"))
    inputs, targets = random_batch(subject.shape, CLASSES)
    part = (subject.count // parts, *subject.shape[1:])
    strategy.setup(subject.chain(), cross_entropy, lambda own: adamw(own, settings), here, part)

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
    parser.add_argument("--model", default="cnn", choices=("cnn", *ENCODERS))
    parser.add_argument("--size", help="by default m of the CNN, base of an encoder")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frames", type=int, default=224, help="of 10 ms, of an encoder 20 ms")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precisions", nargs="+", default=list(TYPES), choices=TYPES)
    parser.add_argument("--parts", type=int, nargs="+", default=[4, 2, 1], help="numbers of micro-batches of ours")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    encoder = given.model in ENCODERS
    subject = Subject(given.model, given.size or ("base" if encoder else "m"), given.batch, given.frames)
    torch.set_num_threads(given.threads)
    cpu = torch.device("cpu")
    limits = {name: measure_peaks(cpu, TYPES[name]) for name in dict.fromkeys(("fp32", *given.precisions))}
    loops: dict[str, tuple[object, ...]] = {"plain": (plain, subject, False)}
    if encoder and "bf16" in given.precisions:
        loops["bf16, plain"] = (plain, subject, True)
    for precision in given.precisions:
        for parts in given.parts:
            name = f"{precision}, micro-batches of {-(-given.batch // parts)}"
            loops[name] = (ours, subject, parts, precision == "bf16")
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
    flops = step_flops(block_costs(subject.chain(), subject.shape))
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
    record: dict[str, object] = {
        "environment": environment(1, given.threads),
        "subject": asdict(subject),
        "limits": {name: asdict(one) for name, one in limits.items()},
    }
    record |= {"flops": flops, "samples": samples}
    name = f"step-{subject.model}-{subject.size}" if encoder else f"step-{subject.size}"
    write_record(given.out or Path(__file__).parent / "results" / f"{name}.json", record)
    print(table(heads, rows))


if __name__ == "__main__":
    main()
