"""The suites whose rows are no training steps: what is kept, what is searched, what a YAML may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parallel_ser.bench import accuracy, classical, efficiency, features, memory, models, present
from parallel_ser.bench.accuracy import System
from parallel_ser.bench.asked import asked
from parallel_ser.bench.memory import Search
from parallel_ser.bench.models import Given
from parallel_ser.bench.plain import Bar, Kept, Plain
from parallel_ser.config import load
from parallel_ser.errors import UserError
from parallel_ser.models.cnn import build
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.system import digests
from parallel_ser.training.metrics import measure
from parallel_ser.training.predictions import Predictions

SUITES = Path(__file__).parents[2] / "benchmarks"
SINGLE = StrategySettings(name="single", microbatches=2)


def untold(*_: Any) -> None:
    """Progress that nobody reads."""


@pytest.mark.parametrize("name", sorted(one.name for one in SUITES.glob("*.yaml")))
def test_each_yaml_is_a_suite(name: str) -> None:
    found = asked(str(SUITES / name), {})
    assert name == f"{found.suite}.yaml"
    if found.systems:
        accuracy.checked(found.systems)


def test_what_is_typed_goes_before_what_the_yaml_says(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("suite: memory\nbatch: 8\nmodel: m\nsettings: [train.seed=3]\nmemory_per_rank: 2GiB\n")
    found = asked(str(path), {"batch": 16, "settings": ["train.seed=4"]})
    assert (found.suite, found.batch, found.model) == ("memory", 16, "m")
    assert found.settings == ("train.seed=3", "train.seed=4")
    assert found.limit == 2 * 2**30
    path.write_text("suite: memory\nbatsch: 8\n")
    with pytest.raises(UserError, match=r"mine\.yaml: batsch"):
        asked(str(path), {})
    path.write_text("batch: 8\n")
    with pytest.raises(UserError, match="names no suite"):
        asked(str(path), {})
    with pytest.raises(UserError, match="there is no suite quick"):
        asked("quick", {})
    with pytest.raises(UserError, match="--memory-per-rank much"):
        asked("memory", {"memory_per_rank": "much"})


def test_what_is_kept_is_not_measured_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "features")
    assert [kept.sample("a", number, lambda: 1.5) for number in range(2)] == [1.5, 1.5]
    again = Kept(tmp_path, "features", resume=True)

    def never() -> None:
        raise AssertionError("measured again")

    assert again.sample("a", 1, never) == 1.5
    assert again.sample("a", 2, lambda: 2.5) == 2.5
    with pytest.raises(UserError, match="has results already"):
        Kept(tmp_path, "features")
    with pytest.raises(UserError, match="not of the suite memory"):
        Kept(tmp_path, "memory", resume=True)
    with pytest.raises(UserError, match="name it with --out"):
        Kept(tmp_path / "none", "memory", resume=True)


class Pool:
    """Says of a network whether its weights, gradients and moments, sixteen bytes a parameter, go into the limit."""

    def __init__(self) -> None:
        self.tried: list[int] = []

    def run(self, task: Any, ranks: int, seconds: float) -> dict[str, Any]:
        chain = build(task.config.model, task.shape[2], task.classes, 0)
        needed = 16 * sum(one.numel() for one in chain.parameters())
        self.tried.append(needed)
        return {"peaks": [needed]} if needed <= task.limit else {"problem": "rank 0: can't allocate memory"}


def search(limit: int) -> tuple[Search, Pool]:
    found = Search(load(None, ["model.size=s"]), (4, 1, 16, 16), 4, limit, 2)
    pool = Pool()
    found.pool = pool  # type: ignore[assignment]
    return found, pool


@pytest.mark.parametrize("expected", [-3, 4])
def test_the_search_ends_at_the_widest_that_trains(expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found, pool = search(32 * 2**20)
    monkeypatch.setattr(found, "expected", lambda settings, ranks: 38 + expected)
    result = found.run(SINGLE, 1)
    most = max(power for power in range(60) if 16 * found.parameters(power) <= found.limit)
    assert result["found"] == most
    assert len(pool.tried) == len(set(pool.tried)) <= abs(38 + expected - most) + 2


def test_the_planner_says_where_to_begin_and_how_to_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "NARROWEST", 28)
    monkeypatch.setattr(memory, "WIDEST", 43)
    found, _ = search(memory.IMPORTED + 64 * 2**20)
    power = found.expected(SINGLE, 1)
    assert 16 * found.parameters(power) < 64 * 2**20 < 3 * 16 * found.parameters(power + 1)
    pipeline = StrategySettings(name="pipeline", schedule="1f1b", microbatches=2)
    assert found.expected(pipeline, 2) > power
    assert len(found.emptiest(pipeline, 2, 0).cuts) == 1


def test_an_encoder_has_rows_of_other_ways_to_tune_it() -> None:
    rows = memory.strategies(4, 8, 8, 19, 4, ["pipeline 1f1b", "tensor_split channel"], tuple(memory.VARIANTS))
    assert [name for name in rows if name.startswith("tensor_split")] == [
        "tensor_split channel",
        "tensor_split channel, checkpointing",
        "tensor_split channel, LoRA",
        "tensor_split channel, bf16",
    ]
    assert rows["single, LoRA"] == memory.Row(rows["single"].settings, 1, "LoRA")
    found = Search(load(None, ["model.name=wavlm", "model.size=tiny"]), (4, 1, 320, 32), 4, 2**31, 2)
    lora, whole = found.of("LoRA"), found.of("")
    assert whole is found
    assert found.of("bf16").config.train.precision == "bf16"
    chains = [one._chain(3) for one in (lora, whole)]
    trained, every = ([p.numel() for p in chain.parameters() if p.requires_grad] for chain in chains)
    assert sum(trained) < sum(every) / 2
    # adapters have no moments of what stays, and a search for them begins at a larger network
    assert lora.emptiest(SINGLE, 1, 3).memory < whole.emptiest(SINGLE, 1, 3).memory


def test_a_problem_of_another_kind_is_told_and_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = search(2**30)
    monkeypatch.setattr(found, "expected", lambda settings, ranks: 0)

    class Broken:
        def run(self, task: Any, ranks: int, seconds: float) -> dict[str, Any]:
            return {"problem": "rank 0: something else"}

    found.pool = Broken()  # type: ignore[assignment]
    made = memory.measure(found, {"single": memory.Row(SINGLE, 1)}, Kept(tmp_path, "memory"), untold)
    assert made.rows[0][2] == "none"
    assert made.rows[0][-1] == "rank 0: something else"


def test_a_step_is_held_to_its_memory() -> None:
    """Weights, gradients and moments of 30 M parameters are 480 MB; without half of them there is no step."""
    found = Search(load(None, ["model.size=l"]), (2, 1, 16, 16), 4, 8 * 2**30, 2)
    free = found.attempt(SINGLE, 1, 0)
    found.limit = free["peaks"][0] - 240 * 2**20  # libraries' pages, which are no data, count in the peak too
    assert memory.short_of_memory(found.attempt(SINGLE, 1, 0)["problem"])


def test_processes_that_find_another_thing_are_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {1: 8.0, 2: 5.0}
    monkeypatch.setattr(
        classical, "_once", lambda arguments, count, folder: {"seconds": seconds[count], "found": "same"}
    )
    made = classical.measure((), (1, 2), 2, Kept(tmp_path / "a", "classical"), untold)
    assert made.rows[1] == ("2", "5.0 (5.0 to 5.0)", "1.60 (1.60 to 1.60)", "80%")
    monkeypatch.setattr(classical, "_once", lambda arguments, count, folder: {"seconds": 1.0, "found": str(count)})
    with pytest.raises(UserError, match="found something else"):
        classical.measure((), (1, 2), 1, Kept(tmp_path / "b", "classical"), untold)


def test_features_compares_within_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import soundfile

    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.3 * np.sin(np.arange(8000) * 0.05), 16000)
    monkeypatch.setattr(features, "by_librosa", lambda path, shape=False: None)
    monkeypatch.setattr(features, "_in_processes", lambda extractor, files, cores: 0.1)
    made = features.measure([path], 2, 2, Kept(tmp_path / "out", "features"), untold)
    speeds = json.loads((tmp_path / "out" / "records.json").read_text())["samples"]
    assert {len(own) for own in speeds.values()} == {2}
    in_two = speeds["from files: log-mel, MFCC, pitch, loudness, rhythm, 2 processes"]
    assert in_two == pytest.approx({"0": 5.0, "1": 5.0})  # half a second in 0.1
    assert made.data == "1 files, 0 s of speech"


def result(folder: Path, uar: float) -> None:
    folder.mkdir(parents=True)
    predictions = Predictions(
        ("a.wav",), ("s1",), ("female",), np.zeros(1), ("sad",), ("joy", "sad"), np.array([[0.2, 0.8]])
    )
    audit = {"protocol": "speaker", "verdict": "No speaker is shared."}
    record = measure(predictions, audit).model_dump(mode="json")
    record |= {"fold_uar_mean": uar, "fold_uar_std": 0.01, "uar": {"value": uar, "interval": [uar - 0.1, uar + 0.1]}}
    record["per_fold"] = [{**record["per_fold"][0], "uar": uar}]
    digests.write_json(folder / "metrics.json", record)


def test_accuracy_runs_what_has_no_results_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def run(system: System, settings: Any, home: Path, folder: Path) -> None:
        ran.append((system.name, tuple(settings)))
        result(home, 0.7)

    monkeypatch.setattr(accuracy, "_run", run)
    result(tmp_path / "one", 0.6)
    systems = (System(name="one", run="baseline svm"), System(name="both", run="fuse", of=("one",)))
    made = accuracy.measure(systems, ("a=1",), Kept(tmp_path, "accuracy"), untold)
    assert ran == [("both", ("a=1",))]
    assert made.rows[0][:3] == ("one", "0.600 ± 0.010", "0.600")
    assert "both, 0.700" in made.said[0]
    present.write_plain(tmp_path, made)
    assert {"table.csv", "table.md", "report.html", "accuracy.png"} <= {one.name for one in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("systems", "said"),
    [
        ((), "needs its systems"),
        ((System(name="a", run="rm all"),), "must begin with"),
        ((System(name="a", run="train"), System(name="a", run="train")), "two systems"),
        ((System(name="a", run="fuse", of=("b",)),), "not above it"),
        ((System(name="a", run="train", config=Path("none.yaml")),), "in none.yaml, which is no file"),
        ((System(name="a", run="train"), System(name="b", run="fuse", of=("a",), settings=("x=1",))), "no settings"),
    ],
)
def test_systems_that_cannot_be_are_refused(systems: tuple[System, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        accuracy.checked(systems)


def test_what_a_model_costs_and_brings(tmp_path: Path) -> None:
    """A real run: its parameters by the formula of an LSTM, the rest as the run's own files say."""
    small = ("model.name=mfcc_lstm", "model.options={width: 8, layers: 1, pooling: mean}")
    file = tmp_path / "small.yaml"
    file.write_text("features: {streams: [mfcc], n_mfcc: 10}\n")
    systems = (System(name="small LSTM", run="train", config=file, settings=small),)
    corpus = ("corpus.synthetic.speakers=3", "corpus.synthetic.sentences=1", "corpus.synthetic.takes=1")
    given = Given(None, (*corpus, "split.folds=3", "split.only=[1]", "train.epochs=2", "run.jobs=1"))
    made = models.measure(systems, given, 2, 0.0, Kept(tmp_path, "models"), untold)
    (row,) = made.rows
    assert len(list(tmp_path.glob("small-LSTM-*"))) == 1  # the second seed would have begun after the budget
    home = tmp_path / "small-LSTM-0"
    metrics = json.loads((home / "metrics.json").read_text())
    assert row[1].startswith(f"{metrics['uar']['value']:.3f} (")
    assert row[4] == str(4 * 8 * (10 + 8 + 2) + 7 * (8 + 1))
    assert 50 < float(row[3].split()[0].replace(",", "")) < 20_000
    history = json.loads((home / "fold-1/history.json").read_text())
    utterances = (home / "fold-1/split.csv").read_text().count("\ntrain,")
    assert row[5] == f"{2 * utterances / sum(one['seconds'] for one in history):.0f}"
    present.write_plain(tmp_path, made)
    assert (tmp_path / "models.png").stat().st_size > 5_000


def test_a_picture_of_bars_is_drawn(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "features")
    kept.write()
    made = Plain("features", "", ("what", "speed"), [("a", "1")], ["said"], "speed", [Bar("a", 1.0, 0.5, 1.5)])
    present.write_plain(tmp_path, made)
    assert (tmp_path / "features.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "table.csv").read_text() == "what,speed\na,1\n"


def test_a_networks_rows_are_compared_with_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of the suite efficiency, of steps that are made up."""
    made = {
        1: {"seconds": [2.0, 4.0, 2.0], "losses": [1.0, 0.5], "peaks": [400 * 2**20]},
        2: {"seconds": [1.0], "losses": [1.0, 0.5 + 5e-7], "peaks": [100 * 2**20, 200 * 2**20]},
    }
    monkeypatch.setattr(efficiency.Pool, "run", lambda self, task, ranks, seconds: made[ranks])
    config = load(None, ["model.name=wavlm", "model.size=tiny", "train.device=cpu"])
    search = Search(config, (4, 1, 320, 32), 4, 2**30, 2)
    rows = {"single": memory.Row(SINGLE, 1), "pipeline 1f1b": memory.Row(StrategySettings(microbatches=2), 2)}
    table = efficiency.measure(search, rows, 1, Kept(tmp_path, "efficiency"), untold)
    named = [dict(zip(efficiency.HEADINGS, row)) for row in table.rows]
    assert [one["utterances/s"] for one in named] == ["2.00", "4.00"]
    assert [one["of single"] for one in named] == ["1.00", "0.50"]
    assert [one["loss off by"] for one in named] == ["0", "1e-06"]
    assert named[1]["utterances/s per GiB"] == f"{4 / (300 / 1024):.2f}"
    assert all(float(one["planned MiB"]) > 0 for one in named)
    assert table.said == ["Emptiest: pipeline 1f1b, whose fullest of 2 processes peaks at 0.50 of one process."]


def test_an_encoder_grows_by_layers() -> None:
    config = load(None, ["model.name=wavlm", "model.size=tiny", "train.device=cpu"])
    search = Search(config, (4, 1, 320, 32), 4, 2**30, 2)
    assert search.parameters(3) - search.parameters(2) == search.parameters(5) - search.parameters(4) > 0
    assert search.size(5) == "5 layers"
    small = Search(config, (4, 1, 320, 32), 4, 420 * 2**20 + 2 * 2**20, 2)
    assert 1 <= small.expected(SINGLE, 1) < search.expected(SINGLE, 1)
