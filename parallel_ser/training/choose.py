"""``strategy.name=auto``: the strategy that the planner expects to be the fastest for a run."""

from __future__ import annotations

import torch

from parallel_ser.config import Config
from parallel_ser.models.registry import build, count_parts, outline
from parallel_ser.parallel.cost.hardware_model import HardwareModel, probe
from parallel_ser.parallel.cost.model_profile import ModelProfile
from parallel_ser.parallel.cost.planner import Prediction, plan
from parallel_ser.system.cores import threads_a_rank


def facts_of(config: Config, rows: int, classes: int, frames: int, flops: float = 0.0) -> ModelProfile:
    """The facts of the chain that a run would train; for a device that is not here, of its outline alone."""
    chain = outline(config.model, rows, classes) if flops else build(config.model, rows, classes, config.train.seed)
    return ModelProfile(chain, (config.train.batch, 1, rows, frames), config.train.precision == "bf16", flops)


def ranked(
    config: Config, facts: ModelProfile, ranks: int, limit: float = float("inf"), machine: HardwareModel | None = None
) -> list[Prediction]:
    """Predictions for this machine, or for another that is given; the fastest first.

    Raises:
        UserError: no strategy runs on so many processes.
    """
    threads = threads_a_rank(config.train.threads, (machine and machine.local) or ranks)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        machine = machine or probe(ranks, threads, share=config.train.shared_memory)
        return plan(ranks, facts, machine, count_parts(config.model), config.strategy, limit)
    finally:
        torch.set_num_threads(before)
