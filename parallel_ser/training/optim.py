"""Loss, optimizer and learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parallel_ser.errors import UserError
from parallel_ser.training.settings import TrainSettings


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy ``(batch,)`` of logits and soft targets, both ``(batch, classes)``; zero for all-zero targets."""
    return -(targets * logits.log_softmax(1)).sum(1)


def adamw(
    parameters: dict[str, nn.Parameter], settings: TrainSettings, blocks: Sequence[str] = ()
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019); biases and the scales of normalisations do not decay.

    A group's ``factor`` says how many times the learning rate it has. ``blocks`` are the chain's, in order, which
    ``train.layer_decay`` counts.
    """
    behind = {name: len(blocks) - 1 - place for place, name in enumerate(blocks)}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            fitting = [start for start in settings.rates if name.startswith(start)]
            factor = settings.rates[max(fitting, key=len)] if fitting else 1.0
            factor *= settings.layer_decay ** behind.get(name.partition(".")[0], 0)
            groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    made: list[dict[str, Any]] = [
        {"params": group, "factor": factor, "weight_decay": settings.weight_decay if decays else 0.0}
        for (factor, decays), group in groups.items()
    ]
    if not made:  # a rank may hold frozen blocks alone
        made = [{"params": [nn.Parameter(torch.empty(0))]}]
    return torch.optim.AdamW(made, settings.learning_rate, foreach=False)


def freeze(chain: nn.Module, starts: Sequence[str]) -> None:
    """Stop the training of parameters whose names start so.

    Raises:
        UserError: no parameter's name does, or all do.
    """
    for start in starts:
        fitting = [parameter for name, parameter in chain.named_parameters() if name.startswith(start)]
        if not fitting:
            names = ", ".join(dict.fromkeys(name.split(".")[0] for name, _ in chain.named_parameters()))
            raise UserError(f"train.freeze names {start!r}, but no parameter starts so; the blocks are {names}.")
        for parameter in fitting:
            parameter.requires_grad_(False)
    if starts and not any(parameter.requires_grad for parameter in chain.parameters()):
        raise UserError(f"train.freeze=[{', '.join(starts)}] leaves nothing to train: name fewer blocks.")


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
