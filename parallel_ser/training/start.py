"""A configured strategy with its share of a new network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from parallel_ser.config import Config
from parallel_ser.models.chain import Chain, stored
from parallel_ser.models.registry import build, outline
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.comm.dims import ParallelDims
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.settings import microbatch
from parallel_ser.training.encoder_view import extractor_of
from parallel_ser.training.optim import adamw, cross_entropy, freeze


def require_trainable(config: Config) -> None:
    """Refuse, before there are features or a folder, settings under which nothing of the network is trained.

    Raises:
        UserError: ``train.freeze`` names no block, or all.
    """
    if config.train.freeze:
        rows = len(extractor_of(config.audio, config.features).names)
        freeze(outline(config.model, rows, classes=2), config.train.freeze)


def started(
    config: Config,
    rows: int,
    classes: int,
    frames: int,
    ranks: ProcessContext,
    dtype: torch.dtype = torch.float32,
    initial: Callable[[Chain], Mapping[str, Tensor]] | None = None,
    dims: ParallelDims | None = None,
) -> Strategy:
    """The strategy of the settings, ready to step the network that they describe.

    Args:
        config: of the run.
        rows: features a frame.
        classes: of emotions.
        frames: of a typical batch.
        ranks: that share the work; all call it alike.
        dtype: of the weights.
        initial: gives weights to begin with in place of random ones, by name, for the chain that it is called with.
        dims: see ``Strategy.setup``.

    Raises:
        UserError: a block cannot be split so.
    """
    settings = config.train
    chain = build(config.model, rows, classes, settings.seed).to(dtype)
    if initial is not None:
        chain.load({**stored(chain), **initial(chain)})
    freeze(chain, settings.freeze)
    blocks = [name for name, _ in chain.named_children()]
    strategy = Strategy(config.strategy, settings.clip_norm, settings.ema, settings.precision == "bf16")
    part = (microbatch(config.strategy, ranks.size, settings.batch), 1, rows, frames)
    strategy.setup(chain, cross_entropy, lambda own: adamw(own, settings, blocks), ranks, part, dims)
    return strategy
