"""``parallel-ser runs``: what it says of runs against what their folders hold."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from classical_runs import SVM, copied
from commanding import done, refused, said
from rich.console import Console

from parallel_ser.report.runs import print_runs


@pytest.fixture(scope="module")
def some(svm_run: Path, gmm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: two, one of another seed, a fusion, and what is none."""
    folder = tmp_path_factory.mktemp("some")
    copied(svm_run, folder / "svm")
    copied(gmm_run, folder / "gmm")
    done("baseline", *SVM, "classical.seed=7", f"run.folder={folder}/svm-7")
    done("fuse", folder / "svm", folder / "gmm", "--out", folder / "fused")
    (folder / "notes").mkdir()
    (folder / "notes.txt").write_text("no run")
    return folder


def metrics(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_csv_and_json_hold_every_run_with_its_figures(some: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(done("runs", some, "--csv").stdout)))
    assert [Path(row["run"]).name for row in rows] == ["fused", "gmm", "svm", "svm-7"]
    for row in rows:
        own = metrics(Path(row["run"]))
        assert float(row["uar"]) == own["uar"]["value"]
        assert float(row["wa"]) == own["wa"]["value"]
        assert (row["protocol"], row["corpus"], int(row["folds_done"])) == ("speaker", "synthetic", 2)
    assert [row["seed"] for row in rows] == ["", "0", "0", "7"]
    assert [row["model"] for row in rows] == ["mean of 2", "gmm", "svm", "svm"]
    told = json.loads(done("runs", some, "--json").stdout)
    assert [row["uar"] for row in told["runs"]] == [float(row["uar"]) for row in rows]


def test_runs_that_differ_in_their_seed_alone_have_a_mean(some: Path) -> None:
    (group,) = json.loads(done("runs", some, "--json").stdout)["seeds"]
    uars = [metrics(some / name)["uar"]["value"] for name in ("svm", "svm-7")]
    assert group["seeds"] == [0, 7]
    assert group["uar_mean"] == pytest.approx(sum(uars) / 2)
    assert group["uar_std"] == pytest.approx(abs(uars[0] - uars[1]) / 2**0.5)
    assert "2 seeds: UAR" in done("runs", some).stdout


def test_the_table_has_the_runs_that_were_named(some: Path) -> None:
    text = done("runs", some / "svm", some / "gmm", "--wide").stdout
    assert "svm-7" not in text
    assert f"{metrics(some / 'svm')['uar']['value']:.3f}" in text
    assert "macro F1" in text


def test_a_run_in_work_and_a_changed_one_are_listed_and_said_so(some: Path, tmp_path: Path) -> None:
    unfinished = copied(some / "svm", tmp_path / "unfinished")
    (unfinished / "metrics.json").unlink()
    (unfinished / "fold-1/predictions.csv").unlink()
    changed = copied(some / "svm", tmp_path / "changed")
    config = changed / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 1"))
    text = done("runs", tmp_path, "--wide").stdout
    assert "1 of 6" in text  # of which two were asked for
    assert "config.yaml has changed since the run wrote it" in text


def test_where_there_is_no_run_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused("runs").startswith("there is no folder runs here: give the folders of runs")
    assert refused("runs", tmp_path) == f"there is no run in {tmp_path}; parallel-ser train makes one."
    assert "is no folder" in refused("runs", tmp_path / "nowhere")
    assert said("runs", tmp_path, "--csv", "--json").exit_code == 2


@pytest.mark.parametrize("width", [60, 80, 120])
def test_names_of_any_length_fit(width: int) -> None:
    row = {
        **{"run": "runs/20260101-120000-ravdess-cnn-s-pipeline", "problem": None, "corpus": "ravdess", "folds_done": 5},
        **{
            "model": "cnn-s-pipeline",
            "protocol": "speaker+text",
            "split_seed": 3,
            "seed": 4294967295,
            "folds": 5,
            "n": 1440,
        },
        **{
            "speakers": 24,
            "uar": 0.71234,
            "uar_low": 0.65,
            "uar_high": 0.75,
            "wa": 0.7,
            "macro_f1": 0.7,
            "chance": 0.1,
        },
    }
    out = io.StringIO()
    print_runs(Console(file=out, width=width), [row], [])
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "0.712  0.650 to 0.750" in text
