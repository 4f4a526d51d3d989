"""A profile's counts against counting by hand, and its cache; its times are only asked to be times."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from parallel_ser.models.batch import example, tensors
from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.cost import block_profile as module
from parallel_ser.parallel.cost.block_profile import profile

SHAPE = (2, 1, 16, 32)


def test_a_profile_counts_what_a_block_keeps_and_passes_on(tmp_path: Path) -> None:
    chain = build(ModelSettings(size="s"), rows=16, classes=4, seed=0)
    before = {name: value.clone() for name, value in chain.state_dict().items()}
    found = profile(chain, SHAPE, folder=tmp_path)
    shapes = [tensors(edge)[0].shape for edge in chain.edges(example(SHAPE))]
    assert [block.name for block in found.blocks] == [name for name, _ in chain.named_children()]
    for number, (block, part) in enumerate(zip(found.blocks, chain)):
        assert block.entering == 4 * torch.Size(shapes[number]).numel()
        assert block.leaving == 4 * torch.Size(shapes[number + 1]).numel()
        assert block.parameters == 4 * sum(p.numel() for p in part.parameters())
        assert block.forward > 0
        assert block.backward > 0
        assert block.weight > 0
        assert (block.input > 0) == (number > 0)  # nobody asks for the gradient of the features
    level = dict(zip((block.name for block in found.blocks), found.blocks))["level1_1"]
    # two convolutions keep their inputs, two normalisations theirs, two rectifiers their outputs: one of them is the
    # block's own input, which is not counted, and one is both an input and an output
    assert 4 * level.leaving <= level.saved <= 5 * level.leaving
    assert all(torch.equal(value, before[name]) for name, value in chain.state_dict().items())
    assert all(p.grad is None for p in chain.parameters())


def test_a_profile_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = build(ModelSettings(size="s"), rows=16, classes=4, seed=0)
    first = profile(chain, SHAPE, folder=tmp_path)
    monkeypatch.setattr(module, "measure", None)
    assert profile(chain, SHAPE, folder=tmp_path) == first
    with pytest.raises(TypeError):
        profile(chain, (3, 1, 16, 32), folder=tmp_path)
    (path,) = (tmp_path / "profiles").iterdir()
    path.write_text("{")
    with pytest.raises(TypeError):  # a damaged one is measured anew
        profile(chain, SHAPE, folder=tmp_path)
