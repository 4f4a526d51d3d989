"""Amounts with units, as they are typed."""

from __future__ import annotations

import re

from parallel_ser.errors import UserError

_SIZES = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
_SIZES |= {"kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40}
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def memory(text: str, option: str) -> float:
    """Bytes, such as of ``2GiB``.

    Raises:
        UserError: it is no size; ``option`` is named.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if match is None or match[2].lower() not in _SIZES or not float(match[1]):
        raise UserError(f"{option} {text} is no size; give a number and a unit, such as 2GiB.")
    return float(match[1]) * _SIZES[match[2].lower()]


def seconds(text: str, option: str) -> float:
    """Seconds, such as of ``90s``, ``10m`` or ``1h``.

    Raises:
        UserError: it is no time; ``option`` is named.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", text.strip())
    if match is None:
        raise UserError(f"{option} {text} is no time; give such as 90s or 10m.")
    return float(match[1]) * _SECONDS[match[2]]
