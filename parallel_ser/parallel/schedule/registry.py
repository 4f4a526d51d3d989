"""Schedules by name: those in ``orders``, and a user's own in a CSV file."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from parallel_ser.parallel.schedule import csv_file, orders
from parallel_ser.parallel.schedule.actions import Orders
from parallel_ser.parallel.schedule.descriptor import Schedule

SEQUENTIAL = "layer_split"
"""The schedule of what follows none: one micro-batch after another."""


@cache
def schedules() -> dict[str, Schedule]:
    """Every schedule, by name; the values of ``strategy.schedule`` and the orders of strategies of their own."""
    modules = (import_module(f"{orders.__name__}.{module.name}") for module in iter_modules(orders.__path__))
    found: list[Schedule] = sorted((module.SCHEDULE for module in modules), key=lambda one: (one.rank, one.name))
    return {one.name: one for one in found}


def names() -> list[str]:
    """The values of ``strategy.schedule``."""
    return [one.name for one in schedules().values() if not one.own_strategy]


def schedule_of(name: str) -> Schedule:
    """The schedule of that name, or of that CSV file.

    Raises:
        KeyError: there is none.
        UserError: the file cannot be read, or its schedule leaves work out or cannot end.
    """
    return from_file(Path(name)) if name.endswith(csv_file.SUFFIX) else schedules()[name]


def from_file(path: Path) -> Schedule:
    """A user's own schedule.

    Raises:
        UserError: see ``csv_file.read``.
    """
    actions = csv_file.read(path)
    parts = csv_file.microbatches(actions)
    where = csv_file.stage_ranks(actions)
    return Schedule(
        name=str(path),
        orders=lambda ranks, microbatches: actions,
        summary="of a file",
        per_rank=len(where) // len(actions),
        stages=tuple(where),
        fixed=(len(actions), parts),
    )


def actions(name: str, ranks: int, microbatches: int) -> Orders:
    """What each rank does under a schedule, in order.

    >>> [str(action) for action in actions("1f1b", 2, 2)[1]][:2]
    ['F of micro-batch 0 in stage 1', 'B of micro-batch 0 in stage 1']

    Raises:
        KeyError: no schedule has that name.
        ValueError: the schedule cannot run so many micro-batches on so many ranks; ``requirements.validate`` tells a
            user so, with the nearest number that works.
    """
    return schedule_of(name).orders(ranks, microbatches)
