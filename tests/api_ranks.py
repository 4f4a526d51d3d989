"""What each rank of the API test runs: networks of a user's own, each under a strategy, some steps in fp64."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import parallel_ser as ps
from parallel_ser.errors import UserError
from parallel_ser.parallel.comm.context import QuietExit, process_context
from parallel_ser.system.hard_exit import HardExit

STEPS, CLASSES = 4, 5


class LSTM(nn.LSTM):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Both(nn.Module):
    """Two inputs to two tensors; the second goes on to the block that asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.sound, self.text = nn.Linear(6, 8), nn.Linear(3, 4)

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self.sound(x[0]).tanh(), self.text(x[1])


class Upper(nn.Module):
    """Computes with the first and carries the second."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: tuple[Tensor, Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        return (x[0] + self.layer(x[0]).relu()) * mask[:, :, None], x[1]


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, CLASSES)

    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
        y: Tensor = self.layer(torch.cat([x[0].mean(1), x[1]], 1))
        return y


class Ids(nn.Module):
    """Whole numbers, given beside the activations."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        y: Tensor = x + self.embedding(ids)
        return y


def model_of(kind: str) -> nn.Sequential:
    """A network, the same wherever it is made."""
    torch.manual_seed(0)
    made = {
        "lstm": lambda: nn.Sequential(
            nn.Linear(6, 8), LSTM(8, 8, batch_first=True), nn.Tanh(), Mean(), nn.Linear(8, CLASSES)
        ),
        "two": lambda: nn.Sequential(Both(), Upper(), Upper(), Joined()),
        "ids": lambda: nn.Sequential(nn.Linear(6, 8), Ids(), nn.ReLU(), Mean(), nn.Linear(8, CLASSES)),
        "whole_numbers": lambda: nn.Sequential(Rounded(), Looked(), Mean(), nn.Linear(8, CLASSES)),
    }
    return made[kind]().double()


class Rounded(nn.Module):
    """Gives whole numbers, which cannot pass between stages."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.layer(x)
        return y, y.argmax(-1)


class Looked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 8)

    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
        return self.embedding(x[1]) + x[0].mean(-1, keepdim=True)


def batch(kind: str, step: int) -> tuple[Any, Tensor, dict[str, Tensor]]:
    """Inputs, targets and extras of a step; 9 divide into no number of micro-batches."""
    generator = torch.Generator().manual_seed(step)
    size, frames = ((8, 5), (9, 7))[step % 2]
    sound = torch.randn(size, frames, 6, generator=generator, dtype=torch.float64)
    text = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(CLASSES, (size,), generator=generator)
    mask = (torch.rand(size, frames, generator=generator) > 0.3).double()
    ids = torch.randint(11, (size, frames), generator=generator)
    if kind == "two":
        return (sound, text), targets, {"mask": mask}
    return sound, targets, {"ids": ids} if kind == "ids" else {}


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, 1e-2)


def run(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    try:
        with ps.parallelize(model_of(kind), loss=cross_entropy, optimizer=adamw, **settings) as run:
            losses = []
            for step in range(STEPS):
                inputs, targets, extras = batch(kind, step)
                losses.append(run.step(inputs, targets, **extras))
            inputs, _, extras = batch(kind, 1)
            outputs = run.predict(inputs, **extras)
            return {"losses": losses, "outputs": outputs, "weights": run.state_dict()}
    except UserError as error:
        return {"refused": str(error)}
    except QuietExit:
        return {"refused": "told by another rank"}


if __name__ == "__main__":
    leave = HardExit()
    folder, *cases = sys.argv[1:]
    with process_context("cpu", threads=1, timeout=300) as group:
        for case in cases:
            given = json.loads(case)
            result = run(given.pop("kind"), given)
            if group.first:
                torch.save(result, f"{folder}/{case}.pt")
    leave(0)
