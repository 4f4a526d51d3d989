"""A run whose blocks move between stages trains to the weights of one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from starting import run_ranks

from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.cost import rebalance
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.tracing.stats import CommStats, Span
from parallel_ser.training import balance

sys.path.insert(0, str(Path(__file__).parent))
from rebalance_ranks import run
from test_run import TINY

HERE = Path(__file__).parent
FAST = [*TINY, "train.learning_rate=1e-5", "train.warp=0", "train.crop=0.64", "strategy.cut=arithmetic"]
MOVES: dict[str, tuple[list[list[int] | None], list[str]]] = {
    "1f1b, stopped": ([[3], [5], None], []),
    "zbv": ([[1, 2, 4], [1, 3, 5], None], ["strategy.schedule=zbv"]),
    "layer_split": ([[4], [3], [2]], ["strategy.name=layer_split"]),
    "deepspeed": ([None, [3], [5]], ["strategy.name=deepspeed"]),
}
STOP = 7  # steps; the third of the second epoch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rebalance")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run(ProcessContext(0, 1, torch.device("cpu")), folder / "single", [], 0, False, [*FAST, "strategy.name=single"])
    torch.set_num_threads(threads)
    runs: list[list[object]] = []
    for name, (moves, more) in MOVES.items():
        settings = [*FAST, "strategy.rebalance=true", *more]
        if "stopped" in name:
            runs.append([str(folder / name), moves, STOP, False, settings])
        runs.append([str(folder / name), moves, 0, "stopped" in name, settings])
    run_ranks(HERE / "rebalance_ranks.py", 2, *map(json.dumps, runs))
    return folder


@pytest.mark.parametrize("name", MOVES)
def test_a_run_with_moves_ends_as_one_process_does(folder: Path, name: str) -> None:
    straight = torch.load(folder / "single/state.pt", weights_only=True)
    ours = torch.load(folder / name / "state.pt", weights_only=True)
    moves = [one for one in MOVES[name][0] if one]
    assert ours["cuts"] == moves[-1]
    assert [cuts for cuts, _ in ours["left"]][1:] == moves[:-1]
    assert len(ours["told"]) == len(moves) - ("stopped" in name)  # the first was told before the stop
    assert all(line.startswith("moved block") for line in ours["told"])
    assert ours["updates"] == straight["updates"] == 16
    for part in ("weights", "ema", "optimizer"):
        assert ours[part].keys() == straight[part].keys()
        for key, value in straight[part].items():
            difference = (ours[part][key].double() - value.double()).norm()
            assert float(difference / value.double().norm().clamp_min(1e-12)) < 1e-12, key
    torch.testing.assert_close(ours["probabilities"], straight["probabilities"], rtol=0, atol=1e-12)


def test_work_is_what_passes_take_without_waiting_and_the_slowest_of_a_stage_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(rebalance, "decide", lambda *given: seen.update(work=given[2], step=given[3]))
    settings = StrategySettings(microbatches=4, data_parallel=2)

    class Four(ProcessContext):
        def gather(self, value: Any) -> list[Any]:
            own, step = value  # ranks 0 and 1 are the first copy's stages, 2 and 3 the second's
            return [(own, step), (own / 2, step), (own / 4, step), (3 * own, 2 * step)]

        def rank0_first(self, work: Any, share: bool = False) -> Any:
            return work()

    stages = SimpleNamespace(axis=SimpleNamespace(size=2), ranks=[0, 1], cuts=(1,), profiles=())
    strategy: Any = SimpleNamespace(settings=settings, context=Four(0, 4, torch.device("cpu")), stages=stages)
    monkeypatch.setattr(balance, "usable_cores", lambda: 10**6)
    measuring, stats = balance.Balance(strategy), CommStats()
    for number in range(balance.STEPS + 3):
        with measuring.step(stats, balance.STEPS + 3 - number - 1):
            traced = stats.tracing
            length = 100.0 if number < 3 else 2.0
            stats.spans += [Span("forward", 0, length, cpu=9), Span("receive", length, 50), Span("all-reduce", 0, 0.5)]
        assert traced == (number >= 3)
        assert not stats.tracing
    assert measuring.decided(strategy, 100, 1.0, []) is None
    assert seen["work"] == [1.5, 4.5]
    assert measuring.decided(strategy, 100, 1.0, []) is None  # nothing was measured since
    assert seen.pop("work") == [1.5, 4.5]
    monkeypatch.setattr(balance, "usable_cores", lambda: 0)
    crowded = balance.Balance(strategy)
    with crowded.step(stats, 0):
        stats.spans.append(Span("forward", 0, 7, cpu=2.5))
    crowded.decided(strategy, 100, 1.0, [])
    assert seen["work"] == [2.5, 7.5]
