"""A step of the baseline against a whole batch in plain autograd, and torch's own clipping and averaging."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from parallel_ser.models.batch import Inputs, fill
from parallel_ser.models.chain import Chain
from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.settings import StrategySettings

BATCH = 7


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(1)).sum(1)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return build(ModelSettings(size="s", dropout=0.3), rows=16, classes=4, seed=0).double()


def batch(size: int = BATCH) -> tuple[Inputs, Tensor]:
    generator = torch.Generator().manual_seed(size)
    lengths = torch.randint(5, 33, (size,), generator=generator)
    x = torch.randn(size, 1, 16, 32, generator=generator, dtype=torch.float64)
    x = x * (torch.arange(32) < lengths[:, None])[:, None, None, :]
    seed = torch.randint(2**60, (size,), generator=generator)
    return Inputs(x, lengths / 32, seed), torch.randn(size, 4, generator=generator, dtype=torch.float64).softmax(1)


def single(chain: Chain, microbatches: int, clip: float = 1e9, ema: float = 0.0, rate: float = 0.0) -> Strategy:
    settings = StrategySettings.model_validate({"name": "single", "microbatches": microbatches})
    strategy = Strategy(settings, clip_norm=clip, ema=ema)
    mesh = ProcessContext(0, 1, torch.device("cpu"))
    strategy.setup(copy.deepcopy(chain), loss, lambda p: torch.optim.SGD(p.values(), rate), mesh, (2, 1, 16, 32))
    return strategy


def whole_batch(chain: Chain) -> tuple[Chain, float]:
    """Gradients of the mean loss of the batch, by plain autograd on the whole of it."""
    chain = copy.deepcopy(chain).train()
    inputs, targets = batch()
    value = loss(chain(inputs.x, inputs.valid, inputs.seed), targets).mean()
    value.backward()
    return chain, float(value)


def grads(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("microbatches", [1, 2, 3, 4, 7, 10])
def test_accumulated_gradients_are_those_of_the_whole_batch(chain: Chain, microbatches: int) -> None:
    truth, value = whole_batch(chain)
    strategy = single(chain, microbatches)
    assert strategy.train_step(*batch()) == pytest.approx(value, rel=1e-9)
    ours = grads(strategy.modules[0].part)
    assert ours.keys() == grads(truth).keys() == dict(truth.named_parameters()).keys()
    for name, grad in grads(truth).items():
        torch.testing.assert_close(ours[name], grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("limit", [0.01, 0.5, 1e6])
def test_clipping_is_torchs(chain: Chain, limit: float) -> None:
    truth, _ = whole_batch(chain)
    torch.nn.utils.clip_grad_norm_(truth.parameters(), limit)
    strategy = single(chain, 2, clip=limit)
    strategy.train_step(*batch())
    for name, grad in grads(truth).items():
        torch.testing.assert_close(grads(strategy.modules[0].part)[name], grad, rtol=1e-6, atol=1e-9)


def test_the_moving_average_follows_its_formula_and_steps_aside(chain: Chain) -> None:
    strategy = single(chain, 2, ema=0.5, rate=0.1)
    average = {name: p.detach().clone() for name, p in strategy.parameters.items()}
    for step in range(1, 21):
        strategy.train_step(*batch())
        decay = min(0.5, step / (step + 10))
        average = {name: decay * average[name] + (1 - decay) * p.detach() for name, p in strategy.parameters.items()}
    own = strategy.state.weights()
    with strategy.state.ema_weights():
        within = strategy.state.weights()
    for name, value in average.items():
        torch.testing.assert_close(within[name], value, rtol=1e-9, atol=1e-12)
        assert torch.equal(strategy.state.weights()[name], own[name])
    assert not torch.equal(within["head.linear.weight"], own["head.linear.weight"])


def test_without_an_average_the_weights_are_the_weights(chain: Chain) -> None:
    strategy = single(chain, 2, rate=0.1)
    strategy.train_step(*batch())
    with strategy.state.ema_weights():
        assert all(torch.equal(value, strategy.parameters[name]) for name, value in strategy.state.weights().items())


def test_filling_has_no_loss_and_leaves_no_gradient(chain: Chain) -> None:
    inputs, targets = batch(2)
    nothing = torch.zeros_like(targets)
    part = copy.deepcopy(chain)
    value = loss(part(inputs.x, inputs.valid, inputs.seed), nothing)
    assert value.abs().sum() == 0
    value.sum().backward()
    assert all(float(grad.abs().max()) == 0.0 for grad in grads(part).values())


def test_a_batch_is_filled_up_with_its_first_utterance() -> None:
    inputs, targets = batch(5)
    whole = inputs.padded(4)
    assert len(whole) == 8
    assert torch.equal(whole.x[:5], inputs.x)
    assert torch.equal(whole.x[5:], inputs.x[:1].expand(3, -1, -1, -1))
    assert torch.equal(whole.seed[5:], inputs.seed[:1].expand(3))
    assert torch.equal(fill(targets, 3, copy=False)[5:], torch.zeros(3, 4, dtype=targets.dtype))
    assert inputs.padded(5) is not None
    assert len(inputs.padded(5)) == 5
    assert sum(len(piece) for piece in inputs.split(4)) == 5
    meta = Inputs(inputs.x.to("meta"), inputs.valid, inputs.seed).padded(4)
    assert meta.x.shape == whole.x.shape


def test_predictions_do_not_depend_on_training_mode_or_batch(chain: Chain) -> None:
    strategy = single(chain, 3)
    inputs, _ = batch()
    strategy.train_step(*batch())
    logits = strategy.predict(inputs)
    assert logits.dtype == torch.float32
    with torch.no_grad():
        truth = chain.eval()(inputs.x, inputs.valid, inputs.seed)
    torch.testing.assert_close(logits, truth.float())
    rows = [strategy.predict(Inputs(*(t[i : i + 1] for t in (inputs.x, inputs.valid, inputs.seed)))) for i in range(3)]
    torch.testing.assert_close(torch.cat(rows), logits[:3], rtol=1e-5, atol=1e-5)


def test_a_state_goes_on_where_it_was_taken(chain: Chain) -> None:
    def make() -> Strategy:
        settings = StrategySettings.model_validate({"name": "single", "microbatches": 2})
        strategy = Strategy(settings, clip_norm=1.0, ema=0.9)
        mesh = ProcessContext(0, 1, torch.device("cpu"))
        strategy.setup(copy.deepcopy(chain), loss, lambda p: torch.optim.AdamW(p.values(), 1e-3), mesh, (2, 1, 16, 32))
        return strategy

    straight = make()
    for _ in range(2):
        straight.train_step(*batch())
    kept = {name: value.clone() for name, value in straight.state.shards().items()}
    resumed = make()
    room = resumed.state.empty_shards({name: value.shape for name, value in kept.items()})
    assert room.keys() == kept.keys()
    for name, value in kept.items():
        room[name].copy_(value)
    resumed.state.load_shards(room, straight.state.updates)
    assert straight.train_step(*batch()) == resumed.train_step(*batch())
    for name, value in straight.state.weights().items():
        assert torch.equal(value, resumed.state.weights()[name])
    assert all(torch.equal(value, room[name]) for name, value in kept.items() if "optimizer" in name)  # it is a copy
