"""Residual convolutions along time over any features of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallel_ser.models.registry import Beside, ModelDescriptor, divides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parallel_ser.models.chain import Block, Chain
    from parallel_ser.models.settings import ModelSettings

OPTIONS = {"width": 128, "layers": 4, "groups": 8, "hidden": 128, "vectors": 0, "branch": 256}


def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    """A linear layer on each frame, residual blocks (He et al. 2016) along time, attentive pooling, two dense layers.

    ``width`` features a frame in ``layers`` blocks of two convolutions of three frames, normalised in ``groups``; the
    second block halves the frames. ``hidden`` values of the dense layer behind the pooling. ``vectors``: values
    of an utterance in the views that ``classical.views`` names; two dense layers of ``branch`` values read them
    (``models.branch``).
    """
    from parallel_ser.models.blocks import Head, Residual, embedding
    from parallel_ser.models.branch import VectorBranch
    from parallel_ser.models.chain import seeded
    from parallel_ser.models.frames import Project

    o = settings.chosen(OPTIONS)

    def blocks() -> Iterator[tuple[str, Block]]:
        yield "project", Project(rows, o["width"])
        for number in range(1, o["layers"] + 1):
            stride = (1, 2) if number == 2 else (1, 1)
            yield f"block_{number}", Residual(o["width"], o["width"], o["groups"], stride, rows=1)
        yield from embedding(o["width"], o["hidden"], settings.dropout)
        if o["vectors"]:
            yield "branch", VectorBranch(o["vectors"], o["branch"], settings.dropout, "branch")
        inputs = o["hidden"] + (o["branch"] if o["vectors"] else 0)
        yield "head", Head(inputs, classes, settings.dropout, "head")

    return seeded(blocks, seed)


MODEL = ModelDescriptor(
    name="resnet1d",
    summary="residual convolutions along time over features of frames",
    build=build,
    blocks=lambda settings: settings.chosen(OPTIONS)["layers"] + 4 + bool(settings.chosen(OPTIONS)["vectors"]),
    parts=lambda settings: settings.chosen(OPTIONS)["groups"],
    options=OPTIONS,
    channels=("width",),
    problem=lambda o: divides(o, "width", into="groups"),
    beside=lambda settings: Beside(vectors=settings.chosen(OPTIONS)["vectors"]),
)
