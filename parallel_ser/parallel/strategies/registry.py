"""Strategies by name: those in ``known``."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from parallel_ser.parallel.strategies import known
from parallel_ser.parallel.strategies.descriptor import StrategyDescriptor, stages

AUTO = StrategyDescriptor(
    name="auto",
    holds="what `parallel-ser plan` puts first",
    sends="",
    layout=stages,
    takes=frozenset({"schedule", "stages", "rebalance", "axis", "tensor_parallel", "data_parallel", "zero"}),
)
"""Stands for the strategy that is still to be chosen."""


@cache
def strategies() -> dict[str, StrategyDescriptor]:
    """Every strategy, by name."""
    modules = (import_module(f"{known.__name__}.{module.name}") for module in iter_modules(known.__path__))
    found: list[StrategyDescriptor] = sorted((one.STRATEGY for one in modules), key=lambda one: (one.rank, one.name))
    return {one.name: one for one in found}


def descriptor_of(name: str) -> StrategyDescriptor:
    """The strategy of that name, also ``AUTO``."""
    return AUTO if name == AUTO.name else strategies()[name]


def taking(setting: str) -> list[str]:
    """Names of the strategies that take a setting."""
    return [one.name for one in strategies().values() if setting in one.takes]


def one_process() -> StrategyDescriptor:
    """The strategy that runs in one process, which the others are compared with."""
    return next(one for one in strategies().values() if one.most == 1)
