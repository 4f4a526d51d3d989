"""A convolution-transformer over any features of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallel_ser.models.registry import ModelDescriptor, divides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parallel_ser.models.chain import Block, Chain
    from parallel_ser.models.settings import ModelSettings

OPTIONS = {"width": 144, "layers": 4, "heads": 4, "kernel": 15, "channels": 48, "hidden": 128}


def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    """Two convolutions that halve rows and frames, layers of ``models.conformer``, attentive pooling, two dense layers.

    ``width`` features a frame in ``layers`` layers of ``heads`` heads and convolutions of ``kernel`` frames;
    ``channels`` of the convolutions before them; ``hidden`` values of the dense layer behind the pooling.
    """
    from parallel_ser.models.blocks import Residual, Stem, classifier
    from parallel_ser.models.chain import seeded
    from parallel_ser.models.conformer import ConformerLayer
    from parallel_ser.models.frames import Project

    o = settings.chosen(OPTIONS)
    height = -(-rows // 4)

    def blocks() -> Iterator[tuple[str, Block]]:
        yield "stem", Stem(o["channels"], (2, 2))
        yield "down", Residual(o["channels"], o["channels"], o["heads"], (2, 2))
        yield "project", Project(height * o["channels"], o["width"])
        for number in range(1, o["layers"] + 1):
            name = f"layer_{number}"
            yield name, ConformerLayer(o["width"], o["heads"], o["kernel"], settings.dropout, name)
        yield from classifier(o["width"], o["hidden"], classes, settings.dropout)

    return seeded(blocks, seed)


MODEL = ModelDescriptor(
    name="conformer",
    summary="convolution and attention over frames by turns (after Gulati et al. 2020)",
    build=build,
    blocks=lambda settings: settings.chosen(OPTIONS)["layers"] + 6,
    parts=lambda settings: settings.chosen(OPTIONS)["heads"],
    options=OPTIONS,
    channels=("channels",),
    problem=lambda o: (
        divides(o, "width", "channels")
        or ("" if o["kernel"] % 2 else f"kernel={o['kernel']} must be odd, so that a frame is in its middle")
    ),
)
