"""Any network on the processes that torchrun started, from Python: ``parallel_ser.parallelize``."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
import torch.distributed as dist
from pydantic import ValidationError
from torch import Tensor, nn

from parallel_ser.errors import UserError
from parallel_ser.models.batch import Activations, Inputs, tensors
from parallel_ser.models.chain import chain_of, stored
from parallel_ser.parallel.comm.context import ProcessContext, process_context
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.requirements import validate
from parallel_ser.parallel.settings import StrategySettings, microbatch

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Run:
    """A network that is trained on this and the other processes, as ``parallelize`` gives it.

    Call its methods on every process alike, with the same arguments: each takes its share of a batch.

    Attributes:
        context: this process among the others (``rank``, ``size``, ``device``).
        strategy: what steps the network; made with the first batch, by which the work is divided.
    """

    def __init__(
        self,
        model: nn.Sequential,
        settings: StrategySettings,
        loss: Callable[[Any, Any], Tensor],
        optimizer: MakeOptimizer,
        clip_norm: float,
        bf16: bool,
        rules: Mapping[str, Mapping[type[nn.Module], Any]],
        parts: int,
        device: str,
        threads: int,
    ) -> None:
        self._stack = ExitStack()
        self.context = self._join(device, threads)
        atexit.register(self.close)
        self._loss, self._make = loss, optimizer
        self._chain = chain_of(model)
        self._chain.rules = rules
        validate(settings, self.context.size, len(self._chain), parts)
        self._broadcast()
        self.strategy = Strategy(settings, clip_norm, bf16=bf16)
        self._ready = False
        self._steps = 0

    def _join(self, device: str, threads: int) -> ProcessContext:
        """The group that torchrun describes, or the one that the program has made already."""
        if not dist.is_initialized():
            return self._stack.enter_context(process_context(device, threads))
        place = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else "cpu"
        return ProcessContext(dist.get_rank(), dist.get_world_size(), torch.device(place))

    def _broadcast(self) -> None:
        """Every process begins with the first one's weights."""
        if self.context.size > 1:
            for tensor in stored(self._chain).values():
                there = tensor.detach().to(self.context.device)
                dist.broadcast(there, src=0)
                with torch.no_grad():
                    tensor.copy_(there)

    def _inputs(self, inputs: Activations | Inputs, extras: Mapping[str, Tensor]) -> Inputs:
        if isinstance(inputs, Inputs):
            return inputs
        count = len(tensors(inputs)[0])
        seed = torch.arange(count) + (self._steps << 32)
        return Inputs(inputs, torch.ones(count), seed, extras)

    def _set_up(self, inputs: Inputs) -> None:
        if self._ready:
            return
        part = inputs[: microbatch(self.strategy.settings, self.context.size, len(inputs))]
        self.strategy.setup(self._chain, self._loss, lambda own: self._make(_trained(own)), self.context, part)
        self._ready = True

    def step(self, inputs: Activations | Inputs, targets: Activations, **extras: Tensor) -> float:
        """One optimizer step; returns the batch's mean loss, the same on every process.

        Args:
            inputs: ``(batch, ...)`` tensor or tuple of tensors for the first block; any size of batch.
            targets: ``(batch, ...)``, likewise, as ``loss`` takes them.
            extras: ``(batch, ...)`` tensors that blocks name in their ``forward``, such as masks.

        Raises:
            UserError: a block cannot be split so, or would be trained to other weights than one process trains it.
        """
        batch = self._inputs(inputs, extras)
        self._set_up(batch)
        self._steps += 1
        return self.strategy.train_step(batch, targets)

    def predict(self, inputs: Activations | Inputs, **extras: Tensor) -> Any:
        """The network's outputs for a batch on every process, in evaluation mode; as ``step`` otherwise."""
        batch = self._inputs(inputs, extras)
        self._set_up(batch)
        return self.strategy.predict(batch)

    def state_dict(self) -> dict[str, Tensor]:
        """The whole network's weights under its own names, on the first process; empty on the others."""
        if self._ready:
            return self.strategy.state.weights()
        own = stored(self._chain) if self.context.first else {}
        return {name: value.detach().clone() for name, value in own.items()}

    def load_state_dict(self, weights: Mapping[str, Tensor]) -> None:
        """Take the whole network's weights, given on every process.

        Raises:
            UserError: names or shapes are not the network's.
        """
        wanted = self._chain.signature()
        given = {name: list(value.shape) for name, value in weights.items()}
        if wrong := sorted(name for name in {*wanted, *given} if wanted.get(name) != given.get(name)):
            raise UserError(
                f"these weights are not the network's: {wrong[0]} is missing, too much or of another shape."
            )
        if self._ready:
            self.strategy.state.load_weights(weights)
        else:
            self._chain.load(weights)

    def close(self) -> None:
        """Leave the group of processes; done by itself at the end of the program."""
        atexit.unregister(self.close)
        self._stack.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: Any) -> bool | None:
        atexit.unregister(self.close)
        return self._stack.__exit__(*error)


def _trained(parameters: dict[str, nn.Parameter]) -> list[nn.Parameter]:
    """What an optimizer is given; a process may hold nothing that is trained, and optimizers take no empty list."""
    return [p for p in parameters.values() if p.requires_grad] or [nn.Parameter(torch.empty(0))]


def parallelize(
    model: nn.Sequential,
    *,
    loss: Callable[[Any, Any], Tensor],
    optimizer: MakeOptimizer,
    strategy: str = StrategySettings().name,
    microbatches: int = 4,
    clip_norm: float = float("inf"),
    bf16: bool = False,
    rules: Mapping[str, Mapping[type[nn.Module], Any]] | None = None,
    parts: int = 0,
    device: str = "auto",
    threads: int = 0,
    **settings: Any,
) -> Run:
    """Train a network on the processes that torchrun started (alone where it did not).

    Args:
        model: blocks in order, each taking a tensor or a tuple of tensors to one; the first dimension is the batch's.
            A block whose ``forward`` names ``seed``, ``valid`` or an extra of the batch is given it. Every process
            begins with the first one's weights.
        loss: of outputs and targets: their mean ``()``, as ``torch.nn.functional.cross_entropy`` gives it, or
            ``(batch,)``.
        optimizer: makes the optimizer of the parameters that it is given.
        strategy: a name that ``parallel-ser strategies`` lists.
        microbatches: the parts of a batch that follow each other.
        clip_norm: the most that the norm of all gradients may be.
        bf16: compute in bfloat16.
        rules: how blocks of yours are split by ``tensor_split``: by axis and type, see docs/own_model.md.
        parts: into how many parts the channels of the blocks that ``rules`` splits divide, for ``axis="channel"``.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: of each process; 0 shares the cores.
        settings: the strategy's others, such as ``schedule="zbv"``, ``stages=(2, 4)``, ``axis="channel"``,
            ``data_parallel=2``, ``checkpointing="block"``.

    Raises:
        UserError: a setting does not exist, or cannot be run on so many processes.
    """
    if not isinstance(model, nn.Sequential) or not len(model):
        raise UserError(f"parallelize takes an nn.Sequential of blocks, not {type(model).__name__}.")
    try:
        chosen = StrategySettings(name=strategy, microbatches=microbatches, **settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}.") from error
    return Run(model, chosen, loss, optimizer, clip_norm, bf16, rules or {}, parts, device, threads)
