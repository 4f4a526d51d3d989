"""Blocks that nobody foresaw: under each strategy they train what one process trains, or are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from starting import run_cases
from zoo_ranks import ZOO, chain_of

from parallel_ser.parallel.compatibility import behaviours, shared_parameters

State = dict[str, Any]
STRATEGIES: dict[str, dict[str, Any]] = {
    "layer_split": {"name": "layer_split", "microbatches": 2, "stages": [3]},
    "1f1b": {"name": "pipeline", "schedule": "1f1b", "microbatches": 2},
    "zbv": {"name": "pipeline", "schedule": "zbv", "microbatches": 2},
    "interleavedzb": {"name": "pipeline", "schedule": "interleavedzb", "microbatches": 2},
    "deepspeed": {"name": "deepspeed", "microbatches": 2},
    "channel": {"name": "tensor_split", "axis": "channel", "microbatches": 2},
    "time": {"name": "tensor_split", "axis": "time", "microbatches": 2},
    "ddp": {"name": "ddp", "microbatches": 1},
    "fsdp": {"name": "fsdp", "microbatches": 1},
    "zero1": {"name": "zero1", "microbatches": 1},
    "whole": {"name": "pipeline", "schedule": "gpipe", "microbatches": 1},
}
ZERO_BUBBLE = ("zbv", "interleavedzb")


def refusal(kind: str, strategy: str) -> str:
    """Words of the refusal that is due, empty where it must train."""
    if kind == "batchnorm" and strategy != "whole":
        return "changes its buffer"
    if kind == "torch_dropout":
        return "draws from torch's own random generator"
    if kind == "detached":
        return "gives its input no gradient"
    if kind == "shared_weight" and strategy in (*ZERO_BUBBLE, "layer_split", "channel", "time", "fsdp"):
        return "are one parameter"
    return ""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], State]:
    def trained(ranks: int, cases: list[dict[str, Any]]) -> list[State]:
        folder = tmp_path_factory.mktemp(f"zoo{ranks}")
        names = [json.dumps(case) for case in cases]
        failed = run_cases(Path(__file__).parent / "zoo_ranks.py", ranks, folder, names)
        return [
            {"failed": failed[name]} if name in failed else torch.load(folder / f"{name}.pt", weights_only=True)
            for name in names
        ]

    pairs = [(kind, name) for kind in ZOO for name in STRATEGIES]
    found = dict(zip(pairs, trained(2, [{"kind": kind, **STRATEGIES[name]} for kind, name in pairs])))
    counts = [(kind, str(count)) for kind in ZOO for count in (1, 2)]
    alone = trained(1, [{"kind": kind, "name": "single", "microbatches": int(count)} for kind, count in counts])
    return found | dict(zip(counts, alone))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", ZOO)
def test_it_trains_what_one_process_trains_or_is_refused(
    results: dict[tuple[str, str], State], kind: str, strategy: str
) -> None:
    ours, truth = results[kind, strategy], results[kind, str(STRATEGIES[strategy]["microbatches"])]
    assert "failed" not in ours, ours["failed"]
    if due := refusal(kind, strategy):
        assert due in ours["refused"]
        assert "foreign" in ours["refused"]
        return
    assert "refused" not in ours, ours["refused"]
    assert ours["losses"] == pytest.approx(truth["losses"], rel=1e-12)
    for part in ("weights", "optimizer"):
        assert ours[part].keys() == truth[part].keys()
        for name, value in truth[part].items():
            assert torch.allclose(ours[part][name].double(), value.double(), rtol=1e-10, atol=1e-12), name
    assert torch.allclose(ours["logits"], truth["logits"], rtol=1e-6)


def test_running_statistics_are_kept(results: dict[tuple[str, str], State]) -> None:
    kept = results["batchnorm", "whole"]["weights"]
    assert kept["foreign.modules_.1.num_batches_tracked"] == 3
    assert kept["foreign.modules_.1.running_mean"].abs().max() > 0
    assert "changes its buffer" in results["batchnorm", "2"]["refused"]


def test_a_frozen_block_stays(results: dict[tuple[str, str], State]) -> None:
    before = dict(chain_of("frozen_first").named_parameters())
    after = results["frozen_first", "1f1b"]["weights"]
    for name, value in after.items():
        assert torch.equal(value, before[name]) == name.startswith("first"), name


def test_what_blocks_do_is_found_and_kept(tmp_path: Path) -> None:
    for kind, expected in {"batchnorm": 3, "torch_dropout": 0, "convolution": 0}.items():
        for _ in range(2):
            found = behaviours(chain_of(kind), (4, 1, 4, 64), tmp_path)["foreign"]
            assert (len(found.changed), found.random, found.split) == (expected, kind == "torch_dropout", "")
    assert len(list(tmp_path.rglob("*.json"))) == 3
    found = behaviours(chain_of("detached"), (4, 1, 4, 64), tmp_path)["foreign"]
    assert found.split == "it gives other gradients of linear.weight"
    assert shared_parameters(chain_of("shared_weight")) == [("foreign.mix.weight", "last.mix.weight")]
    assert shared_parameters(chain_of("tied")) == []
