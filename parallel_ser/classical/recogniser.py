"""A fitted classical system as one object and one file: front, classifier, calibration and classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from parallel_ser.classical.front import Front
from parallel_ser.classical.sample import Sample
from parallel_ser.classical.systems import System
from parallel_ser.decision import calibration
from parallel_ser.decision.probabilities import softmax
from parallel_ser.errors import UserError
from parallel_ser.system.digests import seal, sealed
from parallel_ser.system.files import write_atomic

Part = TypeVar("Part")

_OWN = tuple(
    f"parallel_ser.classical.{name}"
    for name in (
        "front.Front",
        "gmm.Encoder",
        "kernel.Kernel",
        "kernel.Machine",
        "kernel.Vectors",
        "recogniser.Recogniser",
        "standardise.Standardiser",
        "systems.KernelSystem",
        "systems.MixtureSystem",
    )
)
"""The types of a saved recogniser beside NumPy's and scikit-learn's; a file that holds any other is not loaded."""


class Recogniser:
    """Utterances to class probabilities.

    Args:
        front: fitted.
        system: fitted.
        classes: in the order of the scores.
        spread: of the scores, which a softmax takes in units of it.
        calibration: state of a ``decision.calibration`` of that softmax.
        inputs: names of the values of each vector view that it was fitted on.
    """

    def __init__(
        self,
        front: Front,
        system: System,
        classes: tuple[str, ...],
        spread: float,
        calibration: dict[str, Any],
        inputs: dict[str, list[str]],
    ):
        self.front, self.system, self.classes = front, system, classes
        self.spread, self.calibration, self.inputs = spread, calibration, inputs

    def predict_proba(self, *samples: Sample) -> np.ndarray:
        """Calibrated probabilities (utterances, classes) of a sample of raw views, and of altered copies of it: by the
        mean of their scores."""
        return self.of_ready(*map(self.front, samples))

    def of_ready(self, *samples: Sample) -> np.ndarray:
        """The same of samples that have been through the front."""
        return calibration.from_state(self.calibration)(softmax(self.system.scores(*samples) / self.spread))

    def save(self, path: Path) -> None:
        """Write it; see ``save``."""
        save(path, self)

    @classmethod
    def load(cls, path: Path) -> Recogniser:
        """Read what ``save`` wrote; see ``load``."""
        return load(path, cls)


def save(path: Path, part: object) -> None:
    """Write a part with skops, which unlike pickle runs no code when it is read; whole or not at all.

    Raises:
        TypeError: it holds an object of a class that ``load`` refuses.
    """
    import skops.io

    data = skops.io.dumps(part)
    if foreign := set(skops.io.get_untrusted_types(data=data)) - set(_OWN):
        raise TypeError(f"{', '.join(sorted(foreign))} would not be loaded: what is saved stands in _OWN")

    def write(file: BinaryIO) -> None:
        file.write(data)
        seal(file)

    write_atomic(path, write)


def load(path: Path, kind: type[Part]) -> Part:
    """Read what ``save`` wrote.

    Raises:
        UserError: no such file, a damaged one, or one that holds anything but this kind of part.
    """
    import skops.io

    with sealed(path) as file:
        data = file.read()
    try:
        foreign = set(skops.io.get_untrusted_types(data=data)) - set(_OWN)
        if foreign:
            raise UserError(f"{path} holds foreign objects ({', '.join(sorted(foreign))}) and is not loaded.")
        part = skops.io.loads(data, trusted=list(_OWN))
    except UserError:
        raise
    except Exception as error:  # whatever skops raises of what another program has written
        raise UserError(f"{path} holds no recogniser: {' '.join(str(error).split())}.") from error
    if not isinstance(part, kind):
        raise UserError(f"{path} holds no recogniser: give a file such as fold-0/model.skops.")
    return part
