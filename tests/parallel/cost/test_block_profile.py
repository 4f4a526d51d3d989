"""A profile's counts against counting by hand, and its cache; its times are only asked to be times."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from parallel_ser.models import registry
from parallel_ser.models.batch import example, tensors
from parallel_ser.models.chain import Chain
from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.cost import block_profile as module
from parallel_ser.parallel.cost import partition
from parallel_ser.parallel.cost.block_profile import BlockProfiles, profile
from parallel_ser.parallel.cost.model_profile import ModelProfile
from parallel_ser.parallel.cost.partition import block_costs

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


def encoder(layers: int = 4) -> Chain:
    model = {"name": "wavlm", "size": "tiny", "options": {"layers": layers, "hidden": 16}}
    return registry.build(ModelSettings.model_validate(model), 320, 4, 0)


def test_a_heavy_chain_is_measured_on_one_utterance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAVY", 0.0)
    asked: list[int] = []
    measure = module.measure

    def counted(chain: Chain, given: tuple[int, ...], bf16: bool = False) -> BlockProfiles:
        asked.append(given[0])
        return measure(chain, given, bf16)

    monkeypatch.setattr(module, "measure", counted)
    chain = encoder()
    one, six = (profile(chain, (count, 1, 320, 32), folder=tmp_path) for count in (1, 6))
    assert asked == [1]
    assert six.shape == (6, 1, 320, 32)
    for alone, every in zip(one.blocks, six.blocks):
        for field in ("forward", "backward", "flops"):
            assert getattr(every, field) == pytest.approx(6 * getattr(alone, field))
        assert (every.saved, every.leaving, every.parameters) == (6 * alone.saved, 6 * alone.leaving, alone.parameters)


def test_blocks_that_are_alike_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[object] = []

    def time_of(work: object, device: object, seconds: float = 0.0) -> float:
        timed.append(work)
        return 1.0

    monkeypatch.setattr(module, "time_of", time_of)
    counts = []
    for layers in (4, 9):
        timed.clear()
        module.measure(encoder(layers), (2, 1, 320, 16))
        counts.append(len(timed))
    assert counts[0] == counts[1]
    found = module.measure(encoder(5), (2, 1, 320, 16)).blocks
    middle = [block for block in found if block.name in ("layer_01", "layer_02", "layer_03")]
    assert len({dataclasses.replace(block, name="") for block in middle}) == 1


def test_the_arithmetic_of_alike_blocks_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = encoder(5)
    together = block_costs(chain, (2, 1, 320, 16))
    monkeypatch.setattr(partition, "kind_of", lambda block, x: object())
    assert block_costs(chain, (2, 1, 320, 16)) == together


def test_a_part_of_a_heavy_chain_has_its_share_of_the_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "HEAVY", 0.0)
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)
    facts = ModelProfile(encoder(), (4, 1, 320, 32))
    whole, half = facts.part("channel", 1, 4), facts.part("channel", 2, 4)
    for name, every, own in zip([block.name for block in whole.blocks], whole.blocks, half.blocks):
        if name.startswith("layer_"):
            assert own.forward == pytest.approx(every.forward * own.flops / every.flops)
            assert 0.4 * every.forward < own.forward < 0.6 * every.forward
            assert own.parameters < 0.6 * every.parameters
    assert half.collective_bytes[6] > 0
    assert not any(whole.collective_bytes)
