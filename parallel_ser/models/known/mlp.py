"""Dense layers over vectors of an utterance, such as functionals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallel_ser.models.registry import Beside, ModelDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parallel_ser.models.chain import Block, Chain
    from parallel_ser.models.settings import ModelSettings

OPTIONS = {"vectors": 6000, "keep": 0, "width": 256, "layers": 2}


def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    """A multilayer perceptron: ``layers`` dense layers of ``width`` values, each normalised, and a linear layer.

    It reads ``vectors`` values of the views that ``classical.views`` names, and of the frames nothing. ``keep``: values
    of each view that stay, those of the highest F statistic between the classes on the training side; 0 keeps all.
    """
    from parallel_ser.models.blocks import Dense, Head
    from parallel_ser.models.branch import VectorLayer
    from parallel_ser.models.chain import seeded

    o = settings.chosen(OPTIONS)

    def blocks() -> Iterator[tuple[str, Block]]:
        yield "dense_1", VectorLayer(o["vectors"], o["width"], settings.dropout, "dense_1")
        for number in range(2, o["layers"] + 1):
            yield f"dense_{number}", Dense(o["width"], o["width"], settings.dropout, f"dense_{number}")
        yield "head", Head(o["width"], classes, settings.dropout, "head")

    return seeded(blocks, seed)


def _beside(settings: ModelSettings) -> Beside:
    o = settings.chosen(OPTIONS)
    return Beside(vectors=o["vectors"], keep=o["keep"], frames=False)


MODEL = ModelDescriptor(
    name="mlp",
    summary="dense layers over functionals and their like",
    build=build,
    blocks=lambda settings: settings.chosen(OPTIONS)["layers"] + 1,
    parts=lambda settings: settings.chosen(OPTIONS)["width"],
    options=OPTIONS,
    beside=_beside,
)
