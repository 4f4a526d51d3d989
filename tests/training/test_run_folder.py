"""Folders of runs: their names, and that no two runs share one."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from parallel_ser.config import load
from parallel_ser.corpora.audit import audit
from parallel_ser.corpora.base import Utterance
from parallel_ser.corpora.protocols import Fold
from parallel_ser.errors import UserError
from parallel_ser.system.files import require_writable
from parallel_ser.training import run_folder
from parallel_ser.training.settings import RunSettings


class OneSecond(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: object = None) -> OneSecond:
        return cls(2026, 1, 2, 3, 4, 5)


def test_runs_begun_in_the_same_second_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder, "datetime", OneSecond)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: run_folder.make(None, "x"), range(20)))
    assert {str(one) for one in made} == {
        "runs/20260102-030405-x",
        *(f"runs/20260102-030405-x-{number}" for number in range(2, 21)),
    }
    assert all(one.is_dir() for one in made)


@pytest.mark.parametrize(
    ("overrides", "ranks", "kind"),
    [
        (["strategy.name=pipeline"], 2, "cnn-s-pipeline"),
        (["strategy.name=pipeline"], 1, "cnn-s-single"),
        (["strategy.name=ddp", "model.size=xl"], 4, "cnn-xl-ddp"),
    ],
)
def test_a_name_says_the_model_and_how_it_was_trained(overrides: list[str], ranks: int, kind: str) -> None:
    assert run_folder.kind_of(load(None, overrides), ranks) == kind


def test_a_folder_of_ones_own_model_is_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    assert run_folder.kind_of(load(None, [f"model.file={tmp_path}/mine.py"]), 1) == "mine-single"


def test_a_new_run_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = run_folder.open_new(load(None, []), "cnn-s-single", 1, 1)
    assert re.fullmatch(r"runs/\d{8}-\d{6}-synthetic-cnn-s-single", str(folder))
    assert {one.name for one in folder.iterdir()} == {"config.yaml", "environment.json"}
    own = load(None, [f"run.folder={tmp_path}/my run #1"])
    assert run_folder.open_new(own, "", 1, 1) == tmp_path / "my run #1"
    with pytest.raises(UserError, match="exists: give another"):
        run_folder.check(own)


@pytest.mark.parametrize("name", ["my run #1", "a\nb: [", "é\x1b[2J", "'quoted' \"twice\""])
def test_a_folder_of_any_name_has_settings_that_are_read_back(tmp_path: Path, name: str) -> None:
    config = load(None, [f"run.folder={tmp_path}/{name}", "train.epochs=3"])
    folder = run_folder.open_new(config, "", 1, 1)
    assert folder.name == name
    assert run_folder.settings(folder).train.epochs == 3


def test_all_that_may_matter_has_its_version(tmp_path: Path) -> None:
    folder = run_folder.open_new(load(None, [f"run.folder={tmp_path}/run"]), "", 1, 1)
    versions = run_folder.read_json(folder / "environment.json")["versions"]
    assert {"parallel-ser", "torch", "torchaudio", "numpy", "scikit-learn", "librosa", "libsndfile"} <= set(versions)


def test_results_that_did_not_come_leave_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError), run_folder.results(None, "x"):
        raise RuntimeError
    assert not list((tmp_path / "runs").iterdir())
    with run_folder.results(None, "x") as folder:
        (folder / "file").touch()
    assert folder.is_dir()


@pytest.mark.parametrize("below", ["", "a/b"])
def test_what_cannot_be_written_is_found_at_once(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write in"):
        require_writable(tmp_path / "file" / below)
    with pytest.raises(UserError, match=r"cannot write in /proc"):  # a folder in which root, too, can make nothing
        require_writable(Path("/proc") / below)
    require_writable(tmp_path / below)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_run_that_goes_on_must_have_the_split_that_it_began_with(tmp_path: Path) -> None:
    names = ["=a.wav", "b\udcff.wav", "c.wav", "d.wav"]
    utterances = [
        Utterance(tmp_path / "old" / name, "x", f"x-{name[0]}", "unknown", emotion)
        for name, emotion in zip(names, ("joy", "fear", "joy", "fear"))
    ]
    fold = Fold(0, (0, 1), (), (2, 3))
    report = audit(utterances, fold, [one.path.name for one in utterances])
    home = tmp_path / "run/fold-0"
    run_folder.write_split(home, utterances, fold, report)
    moved = [replace(one, path=tmp_path / "new" / one.path.name) for one in utterances]
    run_folder.write_split(home, moved, fold, report)
    assert f"{tmp_path}/new/c.wav" in (home / "split.csv").read_text()
    for others in ([*moved[:3], replace(moved[3], emotion="joy")], [*moved[:3], replace(moved[3], path=Path("e.wav"))]):
        before = (home / "split.csv").read_bytes()
        with pytest.raises(UserError, match=r"other recordings than when .*run was begun, which .*split\.csv lists"):
            run_folder.write_split(home, others, fold, report)
        assert (home / "split.csv").read_bytes() == before


def test_further_corpora_may_move(tmp_path: Path) -> None:
    first, also = tmp_path / "one.csv", tmp_path / "two.csv"
    config = load(None, ["corpus.name=manifest", f"corpus.root={first}", f"corpus.also=[{{name: tess, root: {also}}}]"])
    folder = run_folder.open_new(config.model_copy(update={"run": RunSettings(folder=tmp_path / "run")}), "", 1, 1)
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("two.csv", "moved.csv"))
    moved = run_folder.settings(folder)
    assert moved.corpus.also[0].root == tmp_path / "moved.csv"
    run_folder.same_run(config.model_copy(update={"run": RunSettings(folder=folder, resume=True)}))
    other = load(path, ["corpus.also=[]", f"run.folder={folder}", "run.resume=true"])
    with pytest.raises(UserError, match=r"corpus\.also=.*tess"):
        run_folder.same_run(other)
