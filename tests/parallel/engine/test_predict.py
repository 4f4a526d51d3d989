"""Prediction under a pipeline is that of the network in one piece: ragged batches, of any size, on every rank."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from predict_ranks import SIZES, encoder, ragged
from starting import run_cases

CASES = [
    json.dumps({"name": "pipeline", "schedule": schedule})
    for schedule in ("1f1b", "interleaved1f1b", "zbv", "dualpipev")
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    assert not run_cases(Path(__file__).with_name("predict_ranks.py"), 2, folder, CASES)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_an_encoder_under_a_pipeline_predicts_what_it_predicts_whole(found: Path, case: str) -> None:
    chain = encoder().eval()
    ranks = [torch.load(found / f"{case}.rank{rank}", weights_only=True) for rank in range(2)]
    for when in ("before", "after"):
        if when == "after":
            chain.load(torch.load(found / f"{case}.pt", weights_only=True)["weights"])
        for place, size in enumerate(SIZES):
            inputs = ragged(size)
            with torch.no_grad():
                whole = chain(inputs.x, inputs.valid, inputs.seed)
                alone = [
                    chain(inputs.x[row : row + 1], inputs.valid[row : row + 1], inputs.seed[:1]) for row in range(size)
                ]
            torch.testing.assert_close(torch.cat(alone), whole, rtol=1e-12, atol=1e-12)
            for rank in ranks:
                assert rank[when][place].shape == (size, 4)
                torch.testing.assert_close(rank[when][place], whole.float(), rtol=1e-6, atol=1e-7)
