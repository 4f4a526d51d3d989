"""What each rank of the zoo test runs: chains with a foreign block, each under a strategy, three steps in fp64."""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from parallel_ser.errors import UserError
from parallel_ser.models.attention import SelfAttention
from parallel_ser.models.batch import Inputs
from parallel_ser.models.blocks import Dropout, MaskedGroupNorm
from parallel_ser.models.chain import Block, Chain, frame_mask
from parallel_ser.parallel.comm.context import ProcessContext, QuietExit, process_context
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.system.hard_exit import HardExit

CHANNELS, ROWS, CLASSES, STEPS = 8, 4, 3, 3


class Modules(Block):
    """Modules one after the other, on images."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.modules_ = nn.Sequential(*modules)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        y: Tensor = self.modules_(x)
        return y


class Recurrent(Block):
    """A recurrent layer over frames, ``(batch, channels, rows, frames)`` to the same."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer = kind(CHANNELS * ROWS, CHANNELS * ROWS, batch_first=True)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        y, _ = self.layer(x.flatten(1, 2).transpose(1, 2))
        return y.transpose(1, 2).reshape(x.shape)


class Tied(Block):
    """One weight that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CHANNELS, CHANNELS) / 3)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        y = torch.einsum("oi,birf->borf", self.weight, x).tanh()
        return torch.einsum("io,birf->borf", self.weight, y)


class Same(Block):
    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        return x


class View(Block):
    """Half of the frames, as a view with gaps."""

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        return x[..., ::2]


class Vectors(Block):
    """A vector an utterance, as a view of another tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(CHANNELS * ROWS, 2 * CHANNELS)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        y: Tensor = self.linear(x.mean(-1).flatten(1))
        return y[:, :CHANNELS]


class Dropped(Block):
    """Dropout that draws from the seeds."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = Dropout(0.4, "dropped")

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        return self.dropout(x.mean((2, 3)), seed)[:, :, None, None] * x


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradient * weight, (gradient * x).sum().view(1)


class Detached(Block):
    """Trained, but with an output that has no gradient of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        y: Tensor = self.linear(x.detach().mean((2, 3)))
        return y


class OwnGradient(Block):
    """A function of one's own that takes a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.3]))

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        y: Tensor = _Scale.apply(x, self.weight)
        return y


class Normed(Block):
    def __init__(self) -> None:
        super().__init__()
        self.norm = MaskedGroupNorm(4, CHANNELS)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        return self.norm(x, frame_mask(valid, x.shape[-1]))


class Scores(Block):
    """To logits, with a weight that may be another block's."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(CHANNELS, CHANNELS)
        self.out = nn.Linear(CHANNELS, CLASSES)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        pooled = x.mean((2, 3)) if x.ndim == 4 else x
        y: Tensor = self.out(self.mix(pooled).tanh())
        return y


class Mixed(Block):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        y: Tensor = self.mix(x.transpose(1, 3)).transpose(1, 3).tanh()
        return y


def convolution() -> nn.Module:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)


ZOO: dict[str, Any] = {
    "convolution": lambda: Modules(convolution(), nn.Tanh()),
    "batchnorm": lambda: Modules(convolution(), nn.BatchNorm2d(CHANNELS)),
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "tied": Tied,
    "attention": lambda: SelfAttention(CHANNELS * ROWS, 4, 0.3, "attention"),
    "torch_dropout": lambda: Modules(nn.Dropout(0.5)),
    "dropout": Dropped,
    "no_parameters": lambda: Modules(nn.Tanh()),
    "same": Same,
    "view": View,
    "vectors": Vectors,
    "own_gradient": OwnGradient,
    "detached": Detached,
    "norm": Normed,
    "shared_weight": Mixed,
    "frozen_first": lambda: Modules(nn.Tanh()),
    "frozen_middle": lambda: Modules(convolution(), nn.Tanh()),
}


def chain_of(kind: str) -> Chain:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = Modules(nn.Conv2d(1, CHANNELS, 3, padding=1), nn.Tanh())
        blocks = OrderedDict[str, nn.Module](
            first=first, foreign=ZOO[kind](), between=Modules(nn.Tanh()), last=Scores()
        )
    chain = Chain(blocks).double()
    if kind == "shared_weight":
        chain.last.mix.weight = chain.foreign.mix.weight  # type: ignore[union-attr, assignment]
    if kind.startswith("frozen"):
        chain.get_submodule("first" if kind == "frozen_first" else "foreign").requires_grad_(False)
    return chain


def batch(step: int) -> tuple[Inputs, Tensor]:
    generator = torch.Generator().manual_seed(step)
    size, frames = ((4, 32), (3, 48))[step % 2]
    lengths = torch.randint(9, frames + 1, (size,), generator=generator)
    x = torch.randn(size, 1, ROWS, frames, generator=generator, dtype=torch.float64)
    x = x * (torch.arange(frames) < lengths[:, None])[:, None, None, :]
    targets = torch.randn(size, CLASSES, generator=generator, dtype=torch.float64).softmax(1)
    return Inputs(x, (lengths / frames).double(), torch.randint(2**60, (size,), generator=generator)), targets


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(1)).sum(1)


def adam(parameters: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    trained = [p for p in parameters.values() if p.requires_grad]
    return torch.optim.Adam(trained or [nn.Parameter(torch.empty(0))], 1e-3)


def run(case: dict[str, Any], ranks: ProcessContext) -> dict[str, Any]:
    kind = case.pop("kind")
    settings = StrategySettings.model_validate({"cut": "arithmetic", "replicate_unsplittable": True, **case})
    strategy = Strategy(settings, clip_norm=1.0)
    try:
        strategy.setup(chain_of(kind), loss, adam, ranks, (2, 1, ROWS, 32))
    except UserError as error:
        return {"refused": str(error)}
    except QuietExit:
        return {"refused": "told by another rank"}
    strategy.predict(batch(1)[0])  # as a run that goes on at an epoch's end begins
    losses = [strategy.train_step(*batch(step)) for step in range(STEPS)]
    return {"losses": losses, "logits": strategy.predict(batch(1)[0]), **strategy.state.full()}


if __name__ == "__main__":
    leave = HardExit()
    folder, *cases = sys.argv[1:]
    with process_context("cpu", threads=1, timeout=300) as group:
        for case in cases:
            result = run(json.loads(case), group)
            if group.first:
                torch.save(result, f"{folder}/{case}.pt")
    leave(0)
