"""Networks of a user's own, against a plain loop of PyTorch in this process."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from api_ranks import STEPS, adamw, batch, model_of
from starting import run, run_cases
from torch.nn.functional import cross_entropy

import parallel_ser as ps
from parallel_ser.errors import UserError
from parallel_ser.parallel.strategies.registry import strategies

HERE = Path(__file__).parent
KINDS = ["lstm", "two", "ids"]
SETTINGS: list[dict[str, Any]] = [
    {"strategy": one.name, **given, "microbatches": 4}
    for one in strategies().values()
    if one.most != 1 and "axis" not in one.takes - {"schedule"}
    for given in one.variants(1).values()
    if one.name != "pipeline"
]
SETTINGS += [{"strategy": "pipeline", "schedule": one, "microbatches": 4} for one in ("gpipe", "1f1b", "zbv")]
WHOLE: dict[str, Any] = {"axis": "channel", "replicate_unsplittable": True}
SETTINGS.append({"strategy": "tensor_split", **WHOLE, "microbatches": 2})
CASES = [json.dumps({"kind": kind, **settings}) for kind in KINDS for settings in SETTINGS]
REFUSED = {
    json.dumps({"kind": "lstm", "strategy": "tensor_split", "axis": "channel"}): "no sharding rule for Linear",
    json.dumps({"kind": "lstm", "strategy": "tensor_split", "axis": "time", "replicate_unsplittable": True}): (
        "splits the last dimension of one tensor"
    ),
    json.dumps({"kind": "whole_numbers", "strategy": "layer_split", "stages": [1]}): "block 0 gives a tensor of",
    json.dumps({"kind": "lstm", "strategy": "pipeline", "schedule": "zbv", "data_parallel": 2}): "needs 2 or more",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("api")
    failed = run_cases(HERE / "api_ranks.py", 2, folder, [*CASES, *REFUSED])
    return {
        case: {"failed": failed[case]} if case in failed else torch.load(folder / f"{case}.pt", weights_only=True)
        for case in [*CASES, *REFUSED]
    }


@pytest.fixture(scope="module")
def plain() -> dict[str, dict[str, Any]]:
    """What a loop of PyTorch trains."""
    found = {}
    for kind in KINDS:
        model = model_of(kind)
        optimizer = adamw(model.parameters())

        def through(inputs: Any, extras: dict[str, Any], model: Any = model) -> Any:
            for block in model:
                names = {"Upper": ("mask",), "Ids": ("ids",)}.get(type(block).__name__, ())
                inputs = block(inputs, **{name: extras[name] for name in names})
            return inputs

        losses = []
        for step in range(STEPS):
            inputs, targets, extras = batch(kind, step)
            optimizer.zero_grad()
            loss = cross_entropy(through(inputs, extras), targets)
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
        inputs, _, extras = batch(kind, 1)
        with torch.no_grad():
            found[kind] = {"losses": losses, "outputs": through(inputs, extras), "weights": model.state_dict()}
    return found


@pytest.mark.parametrize("case", CASES)
def test_it_trains_what_a_plain_loop_trains(results: dict[str, Any], plain: dict[str, Any], case: str) -> None:
    ours, theirs = results[case], plain[json.loads(case)["kind"]]
    assert "failed" not in ours, ours["failed"]
    assert "refused" not in ours, ours["refused"]
    assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-10)
    assert ours["weights"].keys() == theirs["weights"].keys()
    for name, value in theirs["weights"].items():
        torch.testing.assert_close(ours["weights"][name], value, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(ours["outputs"], theirs["outputs"].float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_train_it_refuses_by_name(results: dict[str, Any], case: str) -> None:
    assert REFUSED[case] in results[case]["refused"]


def test_the_example_of_the_docs_runs() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = run([*command, HERE.parent / "docs/own_model.py"], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    said = re.search(r"loss ([\d.]+) -> ([\d.]+), \d+% right, 12 tensors", done.stdout)
    assert said is not None
    assert float(said[2]) < 0.2 * float(said[1])


def test_what_is_no_strategy_or_model_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean pipeline"):
        ps.parallelize(model_of("lstm"), loss=cross_entropy, optimizer=adamw, strategy="pipelin")
    with pytest.raises(UserError, match=r"nn\.Sequential of blocks, not Linear"):
        ps.parallelize(torch.nn.Linear(2, 2), loss=cross_entropy, optimizer=adamw)  # type: ignore[arg-type]
