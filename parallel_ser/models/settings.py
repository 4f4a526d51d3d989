"""Settings of the models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from parallel_ser.settings import Settings

NARROWEST = 16
"""Channels of a level at the least: convolutions of 8 have corrupted memory in oneDNN on processors with AMX."""
FIRST = {"s": 32, "m": 64, "l": 128, "xl": 256}
"""Channels of the first level, the narrowest, by size."""


class ModelSettings(Settings):
    """Which chain is trained.

    ``size``: about 0.3 M (s), 3 M (m), 30 M (l) or 120 M (xl) parameters.
    ``width``: times as wide as the size says, to the next multiple of the normalisations' groups.
    ``attention``: transformer layers over frames between the convolutions and the pooling.
    ``dropout``: the share of activations set to zero in training.
    """

    name: Literal["cnn"] = "cnn"
    size: Literal["s", "m", "l", "xl"] = "s"
    width: float = Field(1.0, gt=0.0, le=64.0)
    attention: int = Field(0, ge=0, le=48)
    dropout: float = Field(0.3, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _wide_enough(self) -> ModelSettings:
        if FIRST[self.size] * self.width < NARROWEST:
            raise ValueError(
                f"model.width={self.width:g} makes a level of {FIRST[self.size] * self.width:.0f} channels, fewer than "
                f"{NARROWEST}, of which convolutions have corrupted memory on some processors: "
                f"model.size={self.size} takes model.width={NARROWEST / FIRST[self.size]:g} or more"
            )
        return self
