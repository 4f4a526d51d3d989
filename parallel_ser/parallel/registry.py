"""Strategies by name."""

from __future__ import annotations

from parallel_ser.parallel.pipeline import Pipeline
from parallel_ser.parallel.single import Single
from parallel_ser.parallel.strategy import Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    "single": Single,
    "pipeline": Pipeline,
}
