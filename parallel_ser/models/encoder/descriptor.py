"""What the three encoders are as models of the registry; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parallel_ser.models.encoder.plans import GROUPS, HOP, RATE, Plan
from parallel_ser.models.registry import ModelDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from parallel_ser.models.chain import Chain
    from parallel_ser.models.settings import ModelSettings

OPTIONS = {"layers": 0, "hidden": 256, "dropout": 0.1, "tune": "whole", "top": 4, "rank": 8, "alpha": 16}
TUNE = ("whole", "top", "lora", "frozen")
DEFAULTS = {
    "audio.sample_rate": RATE,
    "features.streams": ["waveform"],
    "features.hop": HOP / RATE,
    "train.normalise": "none",
    "train.spec_augment": False,
    "train.warp": 0.0,
    "train.batch": 8,
    "train.learning_rate": 1e-4,
}
AROUND = len(GROUPS) + 6
"""Blocks beside the transformer's layers."""


def encoder(name: str, summary: str, plans: Mapping[str, Plan]) -> ModelDescriptor:
    """An encoder in the sizes of ``plans``; the first is the default."""

    def plan_of(settings: ModelSettings) -> Plan:
        plan = plans[settings.size]
        return replace(plan, layers=settings.chosen(OPTIONS)["layers"] or plan.layers)

    def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
        return _build(plan_of(settings), settings, classes, seed)

    return ModelDescriptor(
        name=name,
        summary=summary,
        build=build,
        blocks=lambda settings: plan_of(settings).layers + AROUND,
        parts=lambda settings: plan_of(settings).parts,
        words=lambda settings: settings.size,
        options=OPTIONS,
        problem=_problem,
        sizes=tuple(plans),
        defaults=DEFAULTS,
        waveform=HOP,
    )


def _problem(options: Mapping[str, Any]) -> str:
    if not 0.0 <= options["dropout"] < 1.0:
        return f"dropout={options['dropout']:g} must be 0 or more and below 1"
    if options["tune"] not in TUNE:
        return f"tune={options['tune']} must be one of {', '.join(TUNE)}"
    return "" if options["hidden"] % 16 == 0 else f"hidden={options['hidden']} must be a multiple of 16"


def _build(plan: Plan, settings: ModelSettings, classes: int, seed: int) -> Chain:
    """The extractor, the transformer's layers, their weighted sum, attentive pooling and two dense layers.

    ``layers``, where it is not 0, is another number of layers than the size has; ``hidden`` is the width of the dense
    layer behind the pooling; ``dropout`` is of what each layer of the transformer adds, beside ``model.dropout`` of the
    dense layers. ``tune``: all is trained, the ``top`` layers, adapters of that ``rank`` and ``alpha``, or what stands
    behind the encoder alone, which then drops nothing out; see ``tuning``.
    """
    from parallel_ser.models.blocks import classifier
    from parallel_ser.models.chain import seeded
    from parallel_ser.models.encoder.blocks import LayerSum, Positions, Projection, TransformerLayer
    from parallel_ser.models.encoder.extractor import Convolutions, Waveform
    from parallel_ser.models.encoder.tuning import adapt, hold

    o = settings.chosen(OPTIONS)
    dropout = 0.0 if o["tune"] == "frozen" else o["dropout"]

    def blocks() -> Iterator[tuple[str, nn.Module]]:
        for place, numbers in enumerate(GROUPS):
            yield f"extractor_{place + 1}", (Convolutions if place else Waveform)(plan, numbers)
        yield "projection", Projection(plan, dropout)
        yield "positions", Positions(plan, dropout)
        for number in range(plan.layers):
            name = layer_name(number)
            layer = TransformerLayer(plan, number, dropout, name)
            if o["tune"] == "lora":
                adapt(layer.attention, o["rank"], o["alpha"])
            yield name, layer
        yield "sum", LayerSum(plan)
        yield from classifier(plan.width, o["hidden"], classes, settings.dropout)

    chain = seeded(blocks, seed)
    hold(chain, o["tune"], plan.layers, o["top"])
    return chain


def layer_name(number: int) -> str:
    """Of a layer of the transformer, as in torchaudio; all of one length, so that none begins another's name."""
    return f"layer_{number:02}"
