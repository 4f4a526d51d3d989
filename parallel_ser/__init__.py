"""Emotion recognition in speech, trained by distributed model parallelism on one machine.

From Python: ``load`` a run, ``train`` one, fit a ``Classifier`` (docs/python.md); under torchrun ``parallelize`` trains
any network (docs/own_model.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parallel_ser.api import parallelize
    from parallel_ser.recognition import Classifier, load, train

__version__ = "0.1.0"
__all__ = ["Classifier", "load", "parallelize", "train"]


def __getattr__(name: str) -> Any:
    """What imports torch or scikit-learn, when it is asked for."""
    if name == "parallelize":
        from parallel_ser.api import parallelize

        return parallelize
    if name in __all__:
        from parallel_ser import recognition

        return getattr(recognition, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
