"""The convolutional network of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallel_ser.models.plans import GROUPS, PLANS, count_blocks
from parallel_ser.models.registry import ModelDescriptor

if TYPE_CHECKING:
    from parallel_ser.models.chain import Chain
    from parallel_ser.models.settings import ModelSettings


def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    """See ``models.cnn``."""
    from parallel_ser.models import cnn

    return cnn.build(settings, rows, classes, seed)


MODEL = ModelDescriptor(
    name="cnn",
    summary="residual convolutions, attentive pooling; transformer or LSTM layers between them where asked for",
    build=build,
    blocks=count_blocks,
    parts=lambda settings: GROUPS,
    words=lambda settings: settings.size,
    sizes=tuple(PLANS),
)
