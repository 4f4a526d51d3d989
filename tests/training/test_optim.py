"""Loss, decay and learning rate against torch and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from parallel_ser.training.optim import adamw, cross_entropy, learning_rate
from parallel_ser.training.settings import TrainSettings


def test_cross_entropy_of_soft_targets_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(9, 6, generator=generator)
    targets = torch.randn(9, 6, generator=generator).softmax(1)
    truth = functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, targets), truth)


def test_smoothed_targets_give_torchs_label_smoothing() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 3, 1, 1, 2])
    targets = 0.9 * functional.one_hot(labels, 4) + 0.1 / 4
    truth = functional.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, targets), truth)


def test_no_target_no_loss_and_no_gradient() -> None:
    logits = torch.tensor([[1.0, -2.0], [80.0, 3.0]], requires_grad=True)
    cross_entropy(logits, torch.tensor([[0.0, 0.0], [1.0, 0.0]])).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == [0.0, 0.0]


def test_weights_decay_and_biases_do_not() -> None:
    layer = nn.Linear(3, 2)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimizer = adamw(dict(layer.named_parameters()), TrainSettings(learning_rate=0.1, weight_decay=0.5))
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before["weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias.detach(), before["bias"])


def test_a_stage_may_hold_one_kind_of_parameter() -> None:
    assert len(adamw({"scale": nn.Parameter(torch.ones(3))}, TrainSettings()).param_groups) == 1


@pytest.mark.parametrize("steps", [1, 2, 10, 400])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
def test_the_rate_rises_in_a_line_and_falls_in_half_a_cosine(steps: int, warmup: float) -> None:
    settings = TrainSettings(learning_rate=0.4, warmup=warmup)
    rates = [learning_rate(step, steps, settings) for step in range(steps)]
    rise = round(warmup * steps)
    assert all(0 < rate <= 0.4 for rate in rates)
    assert rates[:rise] == pytest.approx([0.4 * (step + 1) / rise for step in range(rise)])
    fall = steps - rise
    for place, rate in enumerate(rates[rise:]):
        share = place / (fall - 1) if fall > 1 else 0.0
        assert rate == pytest.approx(0.4 * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2))
    if fall > 1:
        assert rates[-1] == pytest.approx(0.004)


def test_the_rate_falls_with_each_block_behind() -> None:
    named = {f"{block}.weight": nn.Parameter(torch.ones(2, 2)) for block in ("first", "middle", "last")}
    settings = TrainSettings(layer_decay=0.5, rates={"middle": 3.0})
    groups = adamw(named, settings, ["first", "middle", "last"]).param_groups
    assert sorted(group["factor"] for group in groups) == [0.25, 1.0, 3.0 * 0.5]
