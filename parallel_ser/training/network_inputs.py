"""Utterances as a network reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class NetworkInputs:
    """What a network reads of utterances.

    Attributes:
        frames: of each utterance ``(rows, frames)`` float32, standardised.
        extras: what it reads beside them, ``(utterances, ...)`` each.
    """

    frames: list[np.ndarray]
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """Utterances."""
        return len(self.frames)

    def take(self, places: Sequence[int]) -> NetworkInputs:
        """The utterances at ``places`` alone."""
        extras = {name: rows[list(places)] for name, rows in self.extras.items()}
        return NetworkInputs([self.frames[place] for place in places], extras)

    def row(self, place: int) -> dict[str, Tensor]:
        """What is read beside the frames of the utterance at ``place``."""
        return {name: rows[place] for name, rows in self.extras.items()}
