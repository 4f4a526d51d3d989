"""The sizes of the convolutional network, readable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from parallel_ser.models.settings import FIRST, ModelSettings

GROUPS = 8  # of every normalisation, and heads of every attention


@dataclass(frozen=True)
class Plan:
    """Width of each level, residual blocks in it, and width of the dense layer behind the pooling."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    embedding: int


PLANS = {
    "s": Plan((FIRST["s"], 48, 64, 80), (1, 1, 1, 1), 64),
    "m": Plan((FIRST["m"], 96, 144, 208), (1, 1, 2, 2), 256),
    "l": Plan((FIRST["l"], 256, 416, 592), (2, 2, 2, 3), 512),
    "xl": Plan((FIRST["xl"], 512, 800, 1120), (2, 2, 3, 3), 1024),
}


def plan_of(settings: ModelSettings) -> Plan:
    """The plan of the size, widened.

    >>> plan_of(ModelSettings(size="s", width=1.5)).widths
    (48, 72, 96, 120)
    """
    plan = PLANS[settings.size]

    def widened(width: int) -> int:
        return GROUPS * max(1, round(width * settings.width / GROUPS))

    return Plan(tuple(map(widened, plan.widths)), plan.depths, widened(plan.embedding))


def count_blocks(settings: ModelSettings) -> int:
    """Blocks of the chain that ``build`` makes."""
    return sum(PLANS[settings.size].depths) + settings.attention + settings.recurrent + 4
