"""Spoilt rows for the benchmark to find: each is a hook that a rank calls with its trainer before the first step."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import torch

_KEPT: list[Any] = []


def slow(trainer: Any) -> None:
    """The second rank computes for longer."""
    if trainer.mesh.rank != 1:
        return
    passes = trainer.strategy.passes
    gradients = passes.gradients

    def slowed(inputs: Any, targets: Any) -> Any:
        until = time.perf_counter() + 0.3
        while time.perf_counter() < until:
            pass
        return gradients(inputs, targets)

    passes.gradients = slowed


def fewer(trainer: Any) -> None:
    """Half of each batch is skipped."""
    step = trainer.strategy.train_step
    trainer.strategy.train_step = lambda inputs, targets: step(inputs[: len(inputs) // 2], targets[: len(targets) // 2])


def wrong_gradient(trainer: Any) -> None:
    """Gradients point the other way."""
    step = trainer.strategy.optimizer.step

    def spoilt() -> None:
        for parameter in trainer.strategy.parameters.values():
            if parameter.grad is not None:
                parameter.grad.neg_()
        step()

    trainer.strategy.optimizer.step = spoilt


def leak(trainer: Any) -> None:
    """Four MiB of each step are never given back."""
    step = trainer.strategy.train_step

    def leaking(inputs: Any, targets: Any) -> float:
        _KEPT.append(torch.ones(2**20))
        return float(step(inputs, targets))

    trainer.strategy.train_step = leaking


def threads(trainer: Any) -> None:
    """A further thread computes beside each rank's own."""

    def busy() -> None:
        left = np.random.default_rng(0).normal(size=(300, 300))
        while True:
            left = left @ left / np.abs(left).max()  # lets the interpreter's lock go

    for _ in range(2):
        threading.Thread(target=busy, daemon=True).start()
