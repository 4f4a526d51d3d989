"""The convolutional network of the project in four sizes, as a chain."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

from parallel_ser.models.attention import SelfAttention
from parallel_ser.models.blocks import Residual, Stem, classifier
from parallel_ser.models.chain import Block, Chain
from parallel_ser.models.plans import GROUPS, plan_of
from parallel_ser.models.recurrent import BidirectionalLSTM
from parallel_ser.models.settings import ModelSettings

STRIDES = ((1, 1), (2, 2), (2, 2), (2, 1))  # of the first block of each level, over (rows, frames)
TIME_STRIDE = 8  # frames of input that become one frame before the pooling


def build(settings: ModelSettings, rows: int, classes: int, seed: int) -> Chain:
    """The chain for inputs ``(batch, 1, rows, frames)`` whose ``frames`` is a multiple of ``TIME_STRIDE``.

    Every rank that calls this with the same arguments gets the same weights; no global random state is touched.

    Args:
        settings: the size and the dropout.
        rows: features a frame, such as 64 mel bands.
        classes: of emotions.
        seed: of the initial weights.
    """
    plan = plan_of(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blocks: OrderedDict[str, Block] = OrderedDict(stem=Stem(plan.widths[0], (2, 2)))
        height, channels = -(-rows // 2), plan.widths[0]
        for level, (width, depth) in enumerate(zip(plan.widths, plan.depths, strict=True)):
            for index in range(depth):
                stride = STRIDES[level] if not index else (1, 1)
                blocks[f"level{level + 1}_{index + 1}"] = Residual(channels, width, GROUPS, stride)
                height, channels = -(-height // stride[0]), width
        features = height * channels
        for index in range(settings.attention):
            name = f"attention_{index + 1}"
            blocks[name] = SelfAttention(features, GROUPS, settings.dropout, name)
        for index in range(settings.recurrent):
            name = f"recurrent_{index + 1}"
            blocks[name] = BidirectionalLSTM(features, settings.dropout, name)
        blocks.update(classifier(features, plan.embedding, classes, settings.dropout))
        chain = Chain(OrderedDict[str, nn.Module](blocks))
        for module in chain.modules():
            if isinstance(module, nn.Conv2d):
                mode: Literal["fan_in", "fan_out"] = (
                    "fan_in" if module.in_channels == 1 else "fan_out"
                )  # the stem's output is not normalised
                nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
    return chain
