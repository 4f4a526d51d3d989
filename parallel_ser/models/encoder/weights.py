"""Weights in torchaudio's format, by the names that they have in a chain.

===================================================  ============================================
torchaudio                                           chain
===================================================  ============================================
``feature_extractor.conv_layers.0.…``                ``extractor_1.conv_layers.0.…`` (2 and 3 alike)
``encoder.feature_projection.…``                     ``projection.…``
``encoder.transformer.pos_conv_embed.conv.…``        ``positions.conv.…``
its ``parametrizations.weight.original0``, ``…1``    its ``weight_g``, ``weight_v``, as older files call them
``encoder.transformer.layer_norm.…``                 ``positions.layer_norm.…``, or ``sum.layer_norm.…`` (large)
``encoder.transformer.layers.0.…``                   ``layer_00.…``
WavLM's ``attention.attention.in_proj_weight``       ``attention.q_proj.weight``, ``k_proj``, ``v_proj``
WavLM's ``attention.attention.out_proj.…``           ``attention.out_proj.…``
===================================================  ============================================

What torchaudio's models have beside (``aux``, of speech recognition; ``mask_generator``, ``logit_generator``, of
pretraining) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from parallel_ser.models.encoder.descriptor import layer_name
from parallel_ser.models.encoder.plans import GROUPS
from parallel_ser.models.encoder.tuning import ALWAYS, OWN

BLOCKS = {number: f"extractor_{place + 1}" for place, numbers in enumerate(GROUPS) for number in numbers}
BESIDE = ("aux.", "mask_generator.", "logit_generator.")
WRAPPED = ("wav2vec2.", "model.")
"""Before all names where the encoder is a part of a model that is pretrained, or normalises its input."""


def pretrained_names(signature: Mapping[str, object]) -> set[str]:
    """Of all that is stored of a chain what torchaudio's weights hold."""
    return {name for name in signature if not name.startswith(OWN) and not name.endswith(ALWAYS)}


def from_torchaudio(state: Mapping[str, Tensor], signature: Mapping[str, object]) -> dict[str, Tensor]:
    """The weights of torchaudio's state dict by their names in the chain with this signature.

    Raises:
        ValueError: a clause that says which name is missing or unknown.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        bare = next((name.removeprefix(start) for start in WRAPPED if name.startswith(start)), name)
        if not bare.startswith(BESIDE):
            found.update(_renamed(bare, value, signature))
    wanted = pretrained_names(signature)
    if missing := sorted(wanted - found.keys()):
        raise ValueError(f"it lacks {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
    if unknown := sorted(found.keys() - wanted):
        raise ValueError(f"it holds {unknown[0]}, which the network does not have")
    return found


def _renamed(name: str, value: Tensor, signature: Mapping[str, object]) -> Iterator[tuple[str, Tensor]]:
    if match := re.match(r"feature_extractor\.conv_layers\.(\d+)\.", name):
        yield f"{BLOCKS.get(int(match[1]), 'extractor')}.{name.removeprefix('feature_extractor.')}", value
        return
    name = name.removeprefix("encoder.")
    if name.startswith("feature_projection."):
        yield name.removeprefix("feature_"), value
    elif name.startswith("transformer.pos_conv_embed."):
        last = name.removeprefix("transformer.pos_conv_embed.")
        yield (
            "positions."
            + last.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ),
            value,
        )
    elif name.startswith("transformer.layer_norm."):
        last = name.removeprefix("transformer.")
        yield f"{'sum' if f'sum.{last}' in signature else 'positions'}.{last}", value
    elif match := re.match(r"transformer\.layers\.(\d+)\.(.+)", name):
        block, last = layer_name(int(match[1])), match[2].replace("attention.attention.", "attention.")
        if kind := re.fullmatch(r"attention\.in_proj_(weight|bias)", last):
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                yield f"{block}.attention.{part}_proj.{kind[1]}", piece
        else:
            yield f"{block}.{last}", value
    else:
        yield name, value
