"""MSCNN-SPU, after Peng, Lu, Pan & Liu 2021 (ICASSP, doi 10.1109/ICASSP39728.2021.9414286)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parallel_ser.models.registry import Beside, ModelDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from parallel_ser.models.chain import Chain
    from parallel_ser.models.settings import ModelSettings

OPTIONS = {
    "filters": 128,
    "hidden": 256,
    "text": True,
    "vocabulary": 4000,
    "word_width": 300,
    "word_vectors": "",
    "swem": False,
    "xvectors": "",
}
FILES = ("word_vectors", "xvectors")


def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    """Convolutions of four sizes over frames and over words, their statistics over time, two dense layers.

    ``text=false`` leaves the words out. ``xvectors``: a file with a speaker embedding of each recording; ``swem``: the
    mean and maximum of the words' vectors beside their statistics. The paper leaves open how wide the first dense layer
    is, whether the statistics leave padding out (they do here), and whether the words' vectors are trained (they are,
    from ``word_vectors`` where a file of GloVe's form is given; ``train.freeze=[words]`` keeps them).
    """
    return chain(settings.chosen(OPTIONS), settings.dropout, rows, classes, seed)


def chain(o: Mapping[str, Any], dropout: float, rows: int, classes: int, seed: int, pairs: str = "") -> Chain:
    """The network of the options; with ``pairs`` the audio's statistics attend to the words."""
    from parallel_ser.models import multiscale as m
    from parallel_ser.models.blocks import Head
    from parallel_ser.models.chain import seeded

    own = m.STATISTICS * len(m.AUDIO_KERNELS) * o["filters"]
    values = own + (m.XVECTOR if o["xvectors"] else 0)
    if o["text"]:
        values += own + (2 * o["word_width"] if o["swem"] else 0)
    if pairs:
        values += own * (len(m.TEXT_KERNELS) if pairs == "all" else 1)

    def blocks() -> Iterator[tuple[str, nn.Module]]:
        yield "audio", m.AudioStatistics(rows, o["filters"], bool(o["xvectors"]))
        if o["text"]:
            yield "words", m.WordVectors(o["vocabulary"], o["word_width"])
            yield "text", m.TextStatistics(o["word_width"], o["filters"], o["swem"], bool(pairs))
        if pairs:
            yield "attention", m.CrossAttention(o["filters"], pairs)
        yield "dense", m.Hidden(values, o["hidden"])
        yield "head", Head(o["hidden"], classes, dropout, "head")

    return seeded(blocks, seed)


def beside(o: Mapping[str, Any]) -> Beside:
    """What the network reads beside the features."""
    return Beside(o["vocabulary"] if o["text"] else 0, o["word_vectors"], "words.table.weight", o["xvectors"])


def problem(o: Mapping[str, Any]) -> str:
    """Why options cannot be."""
    asked = [name for name in ("swem", "word_vectors") if o[name]]
    return f"{asked[0]} needs the words, which text=false leaves out" if asked and not o["text"] else ""


MODEL = ModelDescriptor(
    name="mscnn_spu",
    summary="convolutions of four sizes over frames and words (after Peng et al. 2021)",
    build=build,
    blocks=lambda settings: 5 if settings.chosen(OPTIONS)["text"] else 3,
    parts=lambda settings: settings.chosen(OPTIONS)["filters"],
    options=OPTIONS,
    channels=("filters",),
    files=FILES,
    problem=problem,
    beside=lambda settings: beside(settings.chosen(OPTIONS)),
)
