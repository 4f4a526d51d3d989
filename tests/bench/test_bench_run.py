"""A benchmark from end to end: planted defects show as what they are, and a stop loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from parallel_ser.bench import analyse, measure, present, record, run
from parallel_ser.bench.asked import Asked
from parallel_ser.bench.record import Job, Record
from parallel_ser.bench.run import Plan
from parallel_ser.cli import app
from parallel_ser.errors import UserError
from parallel_ser.parallel.settings import StrategySettings

TINY = ("corpus.synthetic.speakers=3", "corpus.synthetic.sentences=2", "corpus.synthetic.takes=1")
DEFECTS = ("slow", "fewer", "wrong_gradient", "leak", "threads")


def ddp(name: str) -> Job:
    strategy = StrategySettings(name="ddp", microbatches=2)
    return Job(name=name, strategy=strategy, ranks=2, threads=1, batch=8, size="s")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The rows of a benchmark with one sound row and one for each defect."""
    folder = tmp_path_factory.mktemp("bench")
    patch = pytest.MonkeyPatch()
    single = Job(
        name="single",
        strategy=StrategySettings(name="single", microbatches=2),
        ranks=1,
        threads=1,
        batch=8,
        size="s",
        reference=True,
    )
    # one rank on one thread, for two ranks fill a small machine's cores: a further thread could not use more
    alone = single.model_copy(update={"name": "threads", "reference": False})
    jobs = [single, ddp("sound"), *(ddp(name) for name in DEFECTS if name != "threads"), alone]
    patch.setattr(measure, "_jobs", lambda asked, config, cores: jobs)
    patch.setattr(measure, "Plan", lambda suite, jobs, rounds, budget, tune: Plan(suite, jobs, 1, 0.0, 4))
    try:
        hooks = {name: f"defects:{name}" for name in DEFECTS}
        _, found = measure.measure(Asked(suite="strategies", settings=TINY, out=folder / "out", hooks=hooks))
    finally:
        patch.undo()
    rows = analyse.table(found)
    present.write(folder / "out", found, rows)
    assert {path.name for path in (folder / "out").iterdir()} >= {"table.csv", "table.md", "report.html", "speed.png"}
    return {row["name"]: row for row in rows}


def test_a_sound_row_has_no_flag_but_noise_of_the_machine(spoilt: dict[str, dict[str, Any]]) -> None:
    assert not [flag for flag in spoilt["sound"]["flags"] if "INVALID" in flag or "grows" in flag]
    assert spoilt["sound"]["sent_mib"] > 0
    assert spoilt["sound"]["memory_mib"] > 0


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ("slow", "rank 1 computes"),
        ("fewer", "INVALID: its losses leave one process's"),
        ("wrong_gradient", "INVALID: its losses leave one process's"),
        ("leak", "memory grows by"),
        ("threads", "INVALID: "),
    ],
)
def test_a_planted_defect_shows_as_what_it_is(spoilt: dict[str, dict[str, Any]], defect: str, said: str) -> None:
    assert said in "; ".join(spoilt[defect]["flags"])


class Fake:
    """A pool that measures nothing and counts."""

    def __init__(self, stop_after: int = 10**6):
        self.names: list[str] = []
        self.stop_after = stop_after

    def run(self, task: Any, ranks: int, seconds: float) -> dict[str, Any]:
        if len(self.names) == self.stop_after:
            raise KeyboardInterrupt
        self.names.append(task.job.name)
        return {"steps": [0.1], "losses": [1.0], "utterances": 8.0, "inference": 1.0, "inferred": 1, "peaks": [1]}


def test_a_stop_loses_nothing_and_nothing_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Fake(stop_after=6), Fake()
    what = Asked(suite="strategies", settings=TINY, strategies=("ddp", "fsdp"), repeats=2, out=tmp_path / "out")
    monkeypatch.setattr(run, "Pool", lambda deepspeed: first)
    with pytest.raises(KeyboardInterrupt):
        measure.measure(what)
    kept = record.read(tmp_path / "out" / "records.json")
    assert sum(len(row.samples) for row in kept.rows) == 2  # four were spent on the single process's micro-batches
    monkeypatch.setattr(run, "Pool", lambda deepspeed: second)
    _, found = measure.measure(Asked(suite="strategies", repeats=2, out=tmp_path / "out", resume=True))
    rows = {row.job.name: [one.round for one in row.samples] for row in found.rows}
    assert all(own == [0, 1] for own in rows.values())
    assert len(second.names) == 2 * len(rows) - 2


def test_rounds_end_with_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Pool", lambda deepspeed: Fake())
    what = Asked(suite="strategies", settings=TINY, strategies=("ddp",), repeats=9, budget="0s", out=tmp_path / "out")
    _, found = measure.measure(what)
    assert {len(row.samples) for row in found.rows} == {1}


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cores"):
        measure.measure(Asked(suite="strategies", nproc=1024))
    with pytest.raises(UserError, match="names none of"):
        measure.measure(Asked(suite="strategies", strategies=("nothing",), out=tmp_path / "a"))
    with pytest.raises(UserError, match="--out"):
        measure.measure(Asked(suite="strategies", resume=True))
    done = CliRunner().invoke(app, ["bench", "--budget", "soon"])
    assert done.exit_code == 2
    assert "--budget soon is no time" in done.output
    done = CliRunner().invoke(app, ["bench", "model.fil=own.py", "train.batch=3"])  # no suite before the settings
    assert "unknown setting model.fil (command line); did you mean model.file?" in done.output


def test_records_of_version_one_open_and_others_are_refused(tmp_path: Path) -> None:
    old = {"version": 1, "suite": "strategies", "command": "", "environment": {}, "settings": {}, "data": ""}
    job = {"name": "single", "strategy": {"name": "single"}, "ranks": 1, "threads": 2, "batch": 8, "size": "s"}
    sample = {"round": 0, "steps": [0.1], "losses": [1.0], "utterances": 8.0}
    old["rows"] = [{"job": job, "samples": [sample]}]
    path = tmp_path / "records.json"
    path.write_text(json.dumps(old))
    assert record.read(path).rows[0].samples[0].steps == (0.1,)
    for spoilt, said in ((json.dumps({**old, "version": 2}), "version"), ("{", "no benchmark record")):
        path.write_text(spoilt)
        with pytest.raises(UserError, match=said):
            record.read(path)


def test_a_record_survives_writing(tmp_path: Path) -> None:
    found = Record(suite="strategies", command="x", environment={"cores": 2}, settings={}, data="")
    found.write(tmp_path / "records.json")
    assert record.read(tmp_path / "records.json") == found


@pytest.mark.parametrize("suite", ["strategies", "scaling", "microbatches"])
def test_the_recorded_results_open_and_make_a_table(suite: str) -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "results" / f"bench-{suite}.json"
    found = record.read(path)
    assert found.suite == suite
    rows = analyse.table(found)
    assert [row["name"] for row in rows] == [row.job.name for row in found.rows]
    assert all(row["rounds"] for row in rows)
