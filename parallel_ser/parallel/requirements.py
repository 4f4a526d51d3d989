"""What a strategy asks of a run, checked before any process starts; imports nothing heavy."""

from __future__ import annotations

from parallel_ser.errors import UserError
from parallel_ser.parallel.schedule.registry import schedule_of
from parallel_ser.parallel.settings import StrategySettings, layout, schedule_name
from parallel_ser.parallel.strategies.descriptor import StrategyDescriptor
from parallel_ser.parallel.strategies.registry import AUTO, descriptor_of

OTHER = StrategySettings().name  # what is named to one who wants several processes
MOST = 1025  # numbers below it are looked through for one that works


def validate(settings: StrategySettings, ranks: int, blocks: int, parts: int = 8) -> None:
    """Refuse what the strategy cannot run.

    Args:
        settings: of the strategy.
        ranks: processes of the run.
        blocks: of the chain.
        parts: into which the channels of every block divide: its groups and heads.

    Raises:
        UserError: names the setting and the nearest value that works.
    """
    said = find_incompatibility(settings, ranks, blocks, parts)
    if said is None:
        return
    problem, setting = said

    if setting == "stages":
        raise UserError(f"{problem}.")

    def stands(number: int) -> str | None:
        """Which setting would be in the way with another number."""
        if setting == "processes":
            found = find_incompatibility(settings, number, blocks, parts)
        else:
            found = find_incompatibility(settings.model_copy(update={setting: number}), ranks, blocks, parts)
        return found and found[1]

    now = ranks if setting == "processes" else getattr(settings, setting)
    ways = sorted(range(1, MOST), key=lambda number: abs(number - now))
    found = {number: stands(number) for number in ways}
    number = next((n for n in ways if found[n] is None), None) or next((n for n in ways if found[n] != setting), None)
    if number is None:
        cure = "use another strategy"
    elif setting == "processes":
        cure = f"use --nproc {number} (--nproc_per_node={number} with torchrun)"
        cure += f" or strategy.name={OTHER}" if descriptor_of(settings.name).most else ""
    else:
        cure = f"the nearest that works is strategy.{setting}={number}"
    raise UserError(f"{problem}: {cure}.")


def find_incompatibility(settings: StrategySettings, ranks: int, blocks: int, parts: int) -> tuple[str, str] | None:
    """What is in the way, as a clause, and the setting (or ``processes``) to change; None when nothing is.

    ======================  ===================================================================
    asked by                micro-batches m, ranks p of the pipeline, v stages a rank
    ======================  ===================================================================
    1f1b                    m ≥ p (torch's; DeepSpeed's takes any)
    interleaved1f1b, …zb    max(1, m // p) divides m (torch's rounds are of one length)
    dualpipev               m ≥ 2 p
    several stages a rank   p ≥ 2
    every pipeline          v p ≤ blocks
    channel split           ranks that share a block divide its groups and heads
    ======================  ===================================================================
    """
    name = f"strategy.name={settings.name}"
    strategy = descriptor_of(settings.name)
    if strategy is AUTO:
        return None
    if strategy.most and ranks > strategy.most:
        return f"{name} runs in {'one process' if strategy.most == 1 else strategy.most}, not in {ranks}", "processes"
    data, pipeline, tensor = layout(settings, ranks)
    if data * pipeline * tensor != ranks or not pipeline * tensor:
        given = {"data_parallel": settings.data_parallel, "tensor_parallel": settings.tensor_parallel}
        told = " and ".join(f"strategy.{key}={value}" for key, value in given.items() if value > 1)
        return f"{told} cannot be made of {ranks} processes", "processes"
    if tensor > 1 and settings.axis == "channel" and parts % tensor:
        setting = "tensor_parallel" if "tensor_parallel" in strategy.takes else "processes"
        return f"strategy.axis=channel cannot share {parts} groups of channels among {tensor} processes", setting
    return _of_pipeline(settings, strategy, pipeline, blocks) if strategy.staged else None


def _of_pipeline(
    settings: StrategySettings, strategy: StrategyDescriptor, ranks: int, blocks: int
) -> tuple[str, str] | None:
    schedule = schedule_of(schedule_name(settings))
    several = schedule.per_rank
    stages, cuts = several * ranks, list(settings.stages)
    refusal = schedule.refusal(ranks, settings.microbatches)
    if strategy.any_microbatches(settings):
        refusal = None
    if refusal and refusal[1] == "processes":
        return refusal
    if stages > blocks:
        on = f" with {several} stages on each" if several > 1 else ""
        return f"strategy.name={settings.name} cannot place {blocks} blocks on {ranks} processes{on}", "processes"
    if cuts and len(cuts) + 1 != stages:
        clause = f"strategy.stages={cuts} makes {len(cuts) + 1} stages where {ranks} processes hold {stages}"
        return f"{clause}: give {stages - 1} cut points, or leave it empty to cut by cost", "stages"
    if cuts and cuts[-1] >= blocks:
        clause = f"strategy.stages={cuts} cuts behind the last of {blocks} blocks"
        return f"{clause}: cut points lie between 1 and {blocks - 1}", "stages"
    return refusal
