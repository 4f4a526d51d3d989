"""Networks that read an utterance's vectors beside its frames."""

from __future__ import annotations

import pytest
import torch

from parallel_ser.models.blocks import Dense
from parallel_ser.models.branch import VectorBranch, VectorLayer
from parallel_ser.models.chain import hashed_uniform

SEEDS = torch.arange(400)


@pytest.fixture
def both() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(400, 6, generator=generator), 3 * torch.randn(400, 5, generator=generator)


def test_in_training_an_utterance_keeps_one_half_and_in_evaluation_the_mean(
    both: tuple[torch.Tensor, torch.Tensor],
) -> None:
    x, vectors = both
    branch = VectorBranch(5, 8, 0.0, "branch")
    first = Dense.forward(branch.first, vectors.clamp(-4.0, 4.0), x, SEEDS)
    read = branch.second(first, x, SEEDS)
    evaluated = branch.eval()(x, torch.ones(400), SEEDS, vectors)
    torch.testing.assert_close(evaluated, torch.cat([x, read], 1) / 2)
    trained = branch.train()(x, torch.ones(400), SEEDS, vectors)
    frames = trained[:, 6:].eq(0).all(1)
    torch.testing.assert_close(trained[frames, :6], x[frames])
    torch.testing.assert_close(trained[~frames, 6:], read[~frames])
    assert not trained[~frames, :6].any()
    assert 0.4 < float(frames.double().mean()) < 0.6  # 400 draws: four deviations
    again = branch(x[7:9], torch.ones(2), SEEDS[7:9], vectors[7:9])
    torch.testing.assert_close(again, trained[7:9])  # a function of the utterance's seed


def test_the_logits_are_the_mean_of_the_halves(both: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, vectors = both
    branch, head = VectorBranch(5, 8, 0.0, "branch").eval(), torch.nn.Linear(14, 3)
    inputs = x, torch.ones(400), SEEDS, vectors
    alone = [branch(*inputs) * 2 * mask for mask in (torch.arange(14) < 6, torch.arange(14) >= 6)]
    torch.testing.assert_close(head(branch(*inputs)), torch.stack([head(one) for one in alone]).mean(0))


def test_a_layer_reads_the_vectors_as_a_dense_layer_does_and_nothing_else(
    both: tuple[torch.Tensor, torch.Tensor],
) -> None:
    x, vectors = both
    layer, dense = VectorLayer(5, 8, 0.5, "dense"), Dense(5, 8, 0.5, "dense")
    dense.load_state_dict(layer.state_dict())
    valid = torch.ones(400)
    read = layer(x, valid, SEEDS, vectors)
    torch.testing.assert_close(read, dense(vectors.clamp(-4.0, 4.0), valid, SEEDS))
    assert torch.equal(read, layer(-x, valid / 2, SEEDS, vectors))


def test_what_is_far_out_counts_for_four_deviations(both: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, vectors = both
    branch = VectorBranch(5, 8, 0.0, "branch").eval()
    far = branch(x, torch.ones(400), SEEDS, vectors.sign() * 1e6)
    torch.testing.assert_close(far, branch(x, torch.ones(400), SEEDS, vectors.sign() * 4))


def test_the_draw_of_the_branch_is_not_that_of_its_dropout() -> None:
    branch = VectorBranch(5, 8, 0.5, "branch")
    streams = {branch.stream, branch.first.dropout.stream, branch.second.dropout.stream}
    assert len(streams) == 3
    assert not torch.equal(*(hashed_uniform(SEEDS, stream, 1) for stream in sorted(streams)[:2]))
