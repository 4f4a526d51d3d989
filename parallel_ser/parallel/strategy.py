"""The contract of a strategy, and what all strategies share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parallel_ser.models.chain import Chain
from parallel_ser.parallel.batch import Inputs, fill
from parallel_ser.parallel.processes import Mesh
from parallel_ser.parallel.settings import StrategySettings

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits ``(batch, classes)`` and targets ``(batch, classes)`` to the loss of each utterance ``(batch,)``.

An utterance whose targets are all zero has no loss and no gradient: so a batch is filled up to an even size.
"""
MakeOptimizer = Callable[[dict[str, nn.Parameter]], torch.optim.Optimizer]


class Placed(nn.Module):
    """The part of a chain that one rank computes, in one precision and memory format.

    Inside, images are channels-last, which made a step of the small CNN half as fast again on a CPU with AVX-512; what
    passes between ranks is float32 (float64 in a model of that) and contiguous, as torch's pipeline wants it.
    """

    def __init__(self, part: Chain, device: torch.device, bf16: bool) -> None:
        super().__init__()
        self.part = part.to(device)
        self.part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self.bf16 = bf16

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """As the chain's."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            if x.ndim == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            return self.part(x, valid, seed).contiguous()


class Strategy(ABC):
    """Places a chain on ranks and steps it; every strategy trains the same chain to the same weights.

    Call ``setup`` once, then the rest in any order, on every rank alike.
    """

    reads_inputs: bool
    """Whether this rank reads ``Inputs.x``; one that does not may be given a meta tensor of the same shape."""

    def __init__(self, settings: StrategySettings, clip_norm: float, ema: float = 0.0, bf16: bool = False) -> None:
        self.settings = settings
        self.clip_norm = clip_norm
        self.ema = ema
        self.bf16 = bf16

    def setup(self, chain: Chain, loss: Loss, optimizer: MakeOptimizer, mesh: Mesh, shape: tuple[int, ...]) -> None:
        """Keep this rank's part of the chain.

        Args:
            chain: the whole, the same on every rank.
            loss: of each utterance.
            optimizer: makes the optimizer of the named parameters that this rank keeps.
            mesh: the ranks.
            shape: of a typical input, by which the work is divided.
        """
        self.mesh = mesh
        self.loss = loss
        self.blocks = len(chain)
        self.dtype = next(chain.parameters()).dtype
        self.module = Placed(self.place(chain, shape), mesh.device, self.bf16)
        self.parameters = dict(self.module.part.named_parameters())
        self.optimizer = optimizer(self.parameters)
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()} if self.ema else {}
        self.updates = 0
        self.count = 1

    @abstractmethod
    def place(self, chain: Chain, shape: tuple[int, ...]) -> Chain:
        """This rank's part of the chain; sets ``reads_inputs``."""

    @abstractmethod
    def gradients(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """Leave in ``.grad`` the gradients of the batch's mean loss; return that loss ``()`` on every rank.

        The micro-batches divide ``inputs``; the mean is over the ``count`` utterances that are no filling.
        """

    @abstractmethod
    def logits(self, inputs: Inputs) -> Tensor:
        """Logits ``(batch, classes)`` on every rank, without gradients."""

    def mean_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A micro-batch's share of the batch's mean loss."""
        return self.loss(logits, targets).sum() / self.count

    def train_step(self, inputs: Inputs, targets: Tensor) -> float:
        """One optimizer step on a batch of any size; returns the mean loss, the same on every rank.

        A batch that the micro-batches do not divide is filled up with utterances that have no loss, under every
        strategy: so all compute micro-batches of the same shapes, and round alike.
        """
        self.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        self.count = len(inputs)
        whole = inputs.padded(self.settings.microbatches)
        targets = fill(targets, len(whole) - self.count, copy=False)
        loss = self.gradients(whole.to(self.mesh.device), targets.to(self.mesh.device))
        self.clip()
        self.optimizer.step()
        self.updates += 1
        if self.ema:
            # early on the decay is smaller, so that the random start is forgotten
            decay = min(self.ema, self.updates / (self.updates + 10))
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    self.average[name].lerp_(parameter, 1.0 - decay)
        return float(loss)

    def predict(self, inputs: Inputs) -> Tensor:
        """Logits ``(batch, classes)`` on every rank, in evaluation mode; a batch of any size."""
        self.module.eval()
        with torch.no_grad():
            return self.logits(inputs.to(self.mesh.device)).float().cpu()

    def clip(self) -> None:
        """Scale the gradients so that their norm over all ranks is at most ``clip_norm``."""
        grads = [p.grad for p in self.parameters.values() if p.grad is not None]
        square = torch.zeros((), dtype=torch.float64, device=self.mesh.device)
        for grad in grads:
            square += torch.linalg.vector_norm(grad).double().square()
        if self.mesh.size > 1:
            dist.all_reduce(square)
        scale = (self.clip_norm / (square.sqrt() + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale.to(grad.dtype))

    def set_learning_rate(self, rate: float) -> None:
        """For the steps that follow."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the weights are their moving average, where one is kept."""
        own = {name: self.parameters[name].detach().clone() for name in self.average}
        try:
            self._write(self.average)
            yield
        finally:
            self._write(own)

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take this rank's part of the weights of a whole chain."""
        self._write({name: weights[name] for name in self.parameters})

    def _write(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                self.parameters[name].copy_(value)

    def weights(self) -> dict[str, Tensor]:
        """All weights of the chain on the first rank (nothing on the others), under their canonical names."""
        return self._gather({name: p.detach() for name, p in self.parameters.items()})

    def full_state(self) -> dict[str, Any]:
        """Weights, moving average and optimizer state of the whole chain on the first rank, by parameter name."""
        moments = {
            f"{name}/{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state[parameter].items()
        }
        return {
            "weights": self.weights(),
            "average": self._gather(self.average),
            "optimizer": self._gather(moments),
            "updates": self.updates,
        }

    def load_full_state(self, state: dict[str, Any]) -> None:
        """Take this rank's part of what ``full_state`` gave, under whatever strategy."""
        self.load_weights(state["weights"])
        for name in self.average:
            self.average[name].copy_(state["average"].get(name, state["weights"][name]))
        self.updates = state["updates"]
        self.optimizer.state.clear()
        for key, value in state["optimizer"].items():
            name, field = key.rsplit("/", 1)
            if name in self.parameters:
                # a step count stays where the optimizer made it: on the CPU
                place = value.clone() if field == "step" else value.to(self.mesh.device, copy=True)
                self.optimizer.state[self.parameters[name]][field] = place

    def _gather(self, part: dict[str, Tensor]) -> dict[str, Tensor]:
        local = {name: value.detach().to("cpu", copy=True) for name, value in part.items()}
        if self.mesh.size == 1:
            return local
        parts: list[Any] | None = [None] * self.mesh.size if self.mesh.first else None
        dist.gather_object(local, parts)
        return {name: value for part in parts or [] for name, value in part.items()}
