"""MSCNN-SPU-ATT, after Peng, Lu, Pan & Liu 2021 (ICASSP, doi 10.1109/ICASSP39728.2021.9414286)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallel_ser.models.known import mscnn_spu
from parallel_ser.models.registry import ModelDescriptor

if TYPE_CHECKING:
    from parallel_ser.models.chain import Chain
    from parallel_ser.models.settings import ModelSettings

OPTIONS = {name: value for name, value in mscnn_spu.OPTIONS.items() if name != "text"} | {"pairs": "all"}
TEXT = {"text": True}


def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    """``mscnn_spu`` whose audio statistics attend to the words; both statistics stay beside what they are answered.

    The paper leaves open which kernels of audio and text are paired: ``pairs=all`` sixteen, or ``equal`` those of equal
    rank.
    """
    o = settings.chosen(OPTIONS) | TEXT
    return mscnn_spu.chain(o, settings.dropout, rows, classes, seed, o["pairs"])


MODEL = ModelDescriptor(
    name="mscnn_spu_att",
    summary="mscnn_spu whose audio attends to the words (after Peng et al. 2021)",
    build=build,
    blocks=lambda settings: 6,
    parts=lambda settings: settings.chosen(OPTIONS)["filters"],
    options=OPTIONS,
    channels=("filters",),
    files=mscnn_spu.FILES,
    problem=lambda o: "" if o["pairs"] in ("all", "equal") else f"pairs must be all or equal, not {o['pairs']!r}",
    beside=lambda settings: mscnn_spu.beside(settings.chosen(OPTIONS) | TEXT),
)
