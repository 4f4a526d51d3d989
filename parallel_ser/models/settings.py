"""Settings of the models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from parallel_ser.settings import Settings


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
