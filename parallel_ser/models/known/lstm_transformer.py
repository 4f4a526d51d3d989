"""LSTM and transformer, after Andayani, Theng, Tsun & Chua 2022 (IEEE Access 10, doi 10.1109/ACCESS.2022.3163856)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallel_ser.models.registry import ModelDescriptor, divides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parallel_ser.models.chain import Block, Chain
    from parallel_ser.models.settings import ModelSettings

OPTIONS = {"width": 128, "layers": 4, "heads": 4, "hidden": 512}


def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    """A layer of LSTM, ``layers`` of a transformer that is normalised last, their mean over frames, a linear layer.

    The paper has 50 MFCC a frame and four layers of the transformer; the ``width`` of the LSTM and of the transformer,
    its ``heads``, the ``hidden`` width of its feed-forward parts and the mean over frames are chosen here.
    """
    from parallel_ser.models.blocks import Head
    from parallel_ser.models.chain import seeded
    from parallel_ser.models.frames import LSTM, EncoderLayer, FramePooling

    o = settings.chosen(OPTIONS)

    def blocks() -> Iterator[tuple[str, Block]]:
        yield "lstm", LSTM(rows, o["width"], settings.dropout, "lstm")
        for number in range(1, o["layers"] + 1):
            name = f"layer_{number}"
            yield name, EncoderLayer(o["width"], o["heads"], o["hidden"], settings.dropout, name)
        yield "pool", FramePooling("mean")
        yield "head", Head(o["width"], classes, settings.dropout, "head")

    return seeded(blocks, seed)


MODEL = ModelDescriptor(
    name="lstm_transformer",
    summary="LSTM, then transformer layers (after Andayani et al. 2022)",
    build=build,
    blocks=lambda settings: settings.chosen(OPTIONS)["layers"] + 3,
    parts=lambda settings: settings.chosen(OPTIONS)["heads"],
    options=OPTIONS,
    problem=divides,
)
