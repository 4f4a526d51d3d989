"""Loss, optimizer and learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from parallel_ser.training.settings import TrainSettings


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy ``(batch,)`` of logits and soft targets, both ``(batch, classes)``; zero for all-zero targets."""
    return -(targets * logits.log_softmax(1)).sum(1)


def adamw(parameters: dict[str, nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019); biases and the scales of normalisations do not decay."""
    matrices = [p for p in parameters.values() if p.ndim > 1]
    vectors = [p for p in parameters.values() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        foreach=False,
    )


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Rate of a step: a linear rise over the warm-up, then half a cosine down to 1% of the peak.

    >>> rates = [learning_rate(step, 100, TrainSettings(warmup=0.1, learning_rate=1.0)) for step in (0, 9, 10, 99)]
    >>> [round(rate, 3) for rate in rates]
    [0.1, 1.0, 1.0, 0.01]
    """
    rise = round(steps * settings.warmup)
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    place = (step - rise) / max(1, steps - 1 - rise)
    return settings.learning_rate * (0.01 + 0.99 * (1.0 + math.cos(math.pi * place)) / 2)
