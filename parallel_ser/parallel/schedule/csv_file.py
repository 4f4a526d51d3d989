"""Schedules from a CSV file, in the form of torch and torchtitan: a row a rank, cells such as ``0F3``.

A cell is a stage, an action (``F``, ``B``, ``I`` or ``W``) and a micro-batch; an empty cell is a rank that waits. ::

    0F0,0F1,,0B0,0B1
    ,1F0,1B0,1F1,1B1
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path

from parallel_ser.errors import UserError
from parallel_ser.parallel.schedule.actions import Action, Orders, ranks_of
from parallel_ser.parallel.schedule.simulate import simulate
from parallel_ser.system.files import plain

SUFFIX = ".csv"
_CELL = re.compile(r"(\d+)([FBIW])(\d+)")


def read(path: Path) -> Orders:
    """The orders of a file, one for each rank.

    Raises:
        UserError: names the row and cell that is no action, or the action that is missing, double, on two ranks, or
            that waits for ever.
    """
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"cannot read the schedule {path}: {error.strerror or error}.") from error


def _rows(path: Path) -> list[list[str]]:
    try:
        with plain(path).open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file))
    except UnicodeDecodeError as error:
        raise UserError(f"the schedule {path} is not a text in UTF-8; it is a CSV file.") from error
    except csv.Error as error:
        raise UserError(f"the schedule {path} is no CSV file ({error}).") from error


@lru_cache
def _read(path: Path, changed: int) -> Orders:
    orders: Orders = []
    for number, row in enumerate(_rows(path), 1):
        order = []
        for place, cell in enumerate(row, 1):
            match = _CELL.fullmatch(cell.strip())
            if match:
                order.append(Action(match[2], int(match[1]), int(match[3])))  # type: ignore[arg-type]
            elif cell.strip():
                raise UserError(
                    f"{path}, row {number}, cell {place}: {cell.strip()[:40]!r} is not a stage, F, B, I or W and a "
                    f"micro-batch, such as 0F3."
                )
        if order:
            orders.append(order)
    check(orders, path)
    return orders


def check(orders: Orders, path: Path) -> None:
    """Refuse orders that leave work out, do it twice or cannot end.

    Raises:
        UserError: names the first action in the way.
    """
    if not orders:
        raise UserError(f"{path} has no actions: give a row for each rank, with cells such as 0F0.")
    ranks = ranks_of(orders)
    counts = Counter(action for order in orders for action in order)
    for rank, order in enumerate(orders):
        for action in order:
            if ranks[action.stage] != rank:
                raise UserError(f"{path}: stage {action.stage} is on ranks {rank} and {ranks[action.stage]}.")
            if counts[action] > 1:
                raise UserError(f"{path}: rank {rank} has {action} twice.")
    stages, parts = max(ranks) + 1, max(action.microbatch for action in counts) + 1
    for stage in range(stages):
        if stage not in ranks:
            raise UserError(f"{path}: stage {stage} of {stages} is on no rank.")
        for part in range(parts):
            kinds = "".join(kind for kind in "FBIW" if Action(kind, stage, part) in counts)  # type: ignore[arg-type]
            if kinds not in ("FB", "FIW"):
                has = f"has {', '.join(kinds)}" if kinds else "has nothing"
                raise UserError(
                    f"{path}: micro-batch {part} in stage {stage} {has}, where it needs F and B, or F, I and W."
                )
    per_rank = Counter(ranks.values())
    if len(set(per_rank.values())) > 1 or len(per_rank) < len(orders):
        raise UserError(f"{path}: ranks hold {sorted(per_rank.values())} stages; give each rank as many.")
    try:
        simulate(orders)
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from error


def microbatches(orders: Orders) -> int:
    """Into which the batch is cut."""
    return 1 + max(action.microbatch for order in orders for action in order)


def stage_ranks(orders: Orders) -> list[int]:
    """The rank of each stage."""
    ranks = ranks_of(orders)
    return [ranks[stage] for stage in range(len(ranks))]
