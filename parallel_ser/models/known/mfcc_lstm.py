"""MFCC into an LSTM, after Araño, Gloor, Orsenigo & Vercellis 2021 ('When Old Meets New', Cognitive Computation 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallel_ser.models.registry import ModelDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parallel_ser.models.chain import Block, Chain
    from parallel_ser.models.settings import ModelSettings

OPTIONS = {"width": 128, "layers": 2, "pooling": "mean"}


def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    """``layers`` of LSTM, ``width`` wide, the ``mean`` or the ``last`` of their frames, and a linear layer.

    The paper leaves the layers, their width and what is taken of the frames open; these are chosen here.
    """
    from parallel_ser.models.blocks import Head
    from parallel_ser.models.chain import seeded
    from parallel_ser.models.frames import LSTM, FramePooling

    o = settings.chosen(OPTIONS)

    def blocks() -> Iterator[tuple[str, Block]]:
        for number in range(1, o["layers"] + 1):
            name = f"lstm_{number}"
            yield name, LSTM(rows if number == 1 else o["width"], o["width"], settings.dropout, name)
        yield "pool", FramePooling(o["pooling"])
        yield "head", Head(o["width"], classes, settings.dropout, "head")

    return seeded(blocks, seed)


MODEL = ModelDescriptor(
    name="mfcc_lstm",
    summary="LSTM over MFCC (after Araño et al. 2021)",
    build=build,
    blocks=lambda settings: settings.chosen(OPTIONS)["layers"] + 2,
    parts=lambda settings: settings.chosen(OPTIONS)["width"],
    options=OPTIONS,
    problem=lambda o: "" if o["pooling"] in ("mean", "last") else f"pooling must be mean or last, not {o['pooling']!r}",
)
