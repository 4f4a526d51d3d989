"""What a strategy asks of a run, checked before any process starts; imports nothing heavy."""

from __future__ import annotations

from parallel_ser.errors import UserError
from parallel_ser.parallel.settings import StrategySettings


def require(settings: StrategySettings, ranks: int, blocks: int) -> None:
    """Refuse what the strategy cannot run.

    Args:
        settings: of the strategy.
        ranks: processes of the run.
        blocks: of the chain.

    Raises:
        UserError: names the setting and the nearest value that works.
    """
    if settings.name == "single":
        if ranks != 1:
            raise UserError(
                f"strategy.name=single runs in one process, not in {ranks}: use --nproc 1 "
                f"(--nproc_per_node=1 with torchrun) or strategy.name=pipeline."
            )
        return
    if ranks > blocks:
        raise UserError(
            f"strategy.name=pipeline cannot place {blocks} blocks on {ranks} processes: use at most {blocks}, "
            f"or a larger model.size."
        )
    if settings.stages and len(settings.stages) + 1 != ranks:
        raise UserError(
            f"strategy.stages={list(settings.stages)} makes {len(settings.stages) + 1} stages for {ranks} processes: "
            f"give {ranks - 1} cut points, or leave it empty to cut by cost."
        )
    if settings.stages and settings.stages[-1] >= blocks:
        raise UserError(
            f"strategy.stages={list(settings.stages)} cuts behind the last of {blocks} blocks: "
            f"cut points lie between 1 and {blocks - 1}."
        )
    if settings.schedule == "1f1b" and settings.microbatches < ranks:
        raise UserError(
            f"strategy.schedule=1f1b on {ranks} processes needs strategy.microbatches={ranks} or more, "
            f"not {settings.microbatches} (gpipe takes any number)."
        )
