"""Emotion recognition in speech, trained by distributed model parallelism on one machine.

From Python, under torchrun: ``parallel_ser.parallelize`` trains any network, see docs/own_model.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parallel_ser.api import parallelize

__version__ = "0.1.0"
__all__ = ["parallelize"]


def __getattr__(name: str) -> Any:
    """``parallelize``, which imports torch, when it is asked for."""
    if name == "parallelize":
        from parallel_ser.api import parallelize

        return parallelize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
