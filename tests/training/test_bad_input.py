"""What a user can get wrong: exit status 2, one line that says what, and nothing left behind."""

from __future__ import annotations

import csv
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from parallel_ser.cli import app
from parallel_ser.system.digests import read_json, write_json
from parallel_ser.training import run_folder, standing
from parallel_ser.training.main import main
from parallel_ser.training.predictions import Predictions

RATE = 16000
SETTINGS = [
    "corpus.name=manifest",
    "split.folds=2",
    "split.only=[0]",
    "features.n_mels=20",
    "features.hop=0.02",
    "features.window=0.04",
    "train.epochs=1",
    "train.threads=1",
    "train.device=cpu",
    "strategy.name=single",
    "run.jobs=1",
]
Row = tuple[str, str, str]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setenv("PARALLEL_SER_CACHE", str(tmp_path / "cache"))
    yield
    torch.set_num_threads(threads)


def write_noise(path: Path, seconds: float = 0.4, rate: int = RATE, seed: int = 0) -> None:
    signal = np.random.default_rng(seed).uniform(-0.3, 0.3, int(seconds * rate)).astype(np.float32)
    soundfile.write(path, signal, rate)


def corpus(folder: Path, rows: list[Row] | None = None) -> Path:
    """A manifest of recordings, by default of 4 speakers with 2 emotions each."""
    folder.mkdir(parents=True, exist_ok=True)
    if rows is None:
        rows = [(f"{s}{e}.wav", f"s{s}", e) for s in range(4) for e in ("anger", "joy")]
    for place, (name, _, _) in enumerate(rows):
        write_noise(folder / name, seed=place)
    manifest = folder / "all.csv"
    manifest.write_text("\n".join(["path,speaker,emotion", *(",".join(row) for row in rows)]))
    return manifest


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], *changes: str) -> str:
    """Run ``main``, check that it ends as it should, and return what it said."""
    folder = tmp_path / "run"
    assert main([*SETTINGS, f"run.folder={folder}", *changes]) == 2
    said = capsys.readouterr()
    # what is not the error is the progress of the features
    lines = [line for line in said.err.splitlines() if not line.startswith("features: ")]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("error: ")
    assert lines[0].endswith((".", "?"))
    assert "Traceback" not in said.out
    assert not folder.exists()
    assert not list(tmp_path.rglob("*.part"))
    return lines[0]


def test_a_missing_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ravdess", "tess", "emodb", "crema_d", "iemocap", "manifest"):
        said = refused(tmp_path, capsys, f"corpus.name={name}", f"corpus.root={tmp_path}/nowhere")
        assert f"{tmp_path}/nowhere" in said
    assert "corpus.root" in refused(tmp_path, capsys, "corpus.name=ravdess")


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("ravdess", "tess", "emodb", "crema_d"):
        assert str(tmp_path / "empty") in refused(
            tmp_path, capsys, f"corpus.name={name}", f"corpus.root={tmp_path}/empty"
        )


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def brief(path: Path) -> None:
    write_noise(path, 0.05)


def endless(path: Path) -> None:
    write_noise(path, 600, 8000)


def not_numbers(path: Path) -> None:
    signal = np.full(RATE, 0.1, dtype=np.float32)
    signal[500] = np.nan
    soundfile.write(path, signal, RATE, subtype="FLOAT")


def silence(path: Path) -> None:
    soundfile.write(path, np.zeros(RATE), RATE)


def prose(path: Path) -> None:
    path.write_text("These are no samples.")


def pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


DAMAGES = [
    (nothing, "empty", "is empty (0 bytes)"),
    (truncated, "undecodable", "is truncated"),
    (brief, "too short", "lasts 0.05 s, below audio.min_seconds=0.1"),
    (endless, "too long", "lasts 600 s, above audio.max_seconds=60"),
    (not_numbers, "non-finite", "NaN"),
    (silence, "silent", "is silent"),
    (prose, "undecodable", "cannot be decoded"),
    (pointer, "undecodable", "is a Git LFS pointer and not the recording; git lfs pull"),
]


@pytest.mark.parametrize(("damage", "kind", "said"), DAMAGES)
def test_a_bad_recording_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], kind: str, said: str
) -> None:
    manifest = corpus(tmp_path / "corpus")
    damage(tmp_path / "corpus/2joy.wav")
    line = refused(tmp_path, capsys, f"corpus.root={manifest}", "corpus.on_problem=stop")
    assert "2joy.wav" in line
    assert said in line
    assert "corpus.on_problem=skip leaves such recordings out" in line
    assert len(list((tmp_path / "cache").rglob("*.features"))) == 7  # what was computed of the others is kept


def test_bad_recordings_are_left_out_with_a_note_beside_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"{s}{e}{n}.wav", f"s{s}", e) for s in range(4) for e in ("anger", "joy") for n in range(2)]
    manifest = corpus(tmp_path / "corpus", rows)
    bad = [name for name, _, _ in rows[: len(DAMAGES)]]
    for name, (damage, _, _) in zip(bad, DAMAGES, strict=True):
        damage(tmp_path / "corpus" / name)
    folder = tmp_path / "run"
    assert main([*SETTINGS, f"corpus.root={manifest}", f"run.folder={folder}", "split.folds=2"]) == 0
    told = "left out of manifest: 1 empty, 1 non-finite, 1 silent, 1 too long, 1 too short, 3 undecodable"
    assert told in " ".join(capsys.readouterr().out.split())
    metrics = run_folder.read_json(folder / "metrics.json")
    assert any(told in note for note in metrics["notes"])
    with (folder / "left-out.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in table] == bad
    assert [row["kind"] for row in table] == [kind for _, kind, _ in DAMAGES]
    for row, (_, _, said) in zip(table, DAMAGES, strict=True):
        assert said in row["why"]
    assert not {*bad} & {Path(path).name for path in Predictions.from_csv(folder / "predictions.csv").paths}


def test_where_no_recording_is_good_the_first_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = corpus(tmp_path / "corpus")
    for path in (tmp_path / "corpus").glob("*.wav"):
        pointer(path)
    line = refused(tmp_path, capsys, f"corpus.root={manifest}")
    assert "0anger.wav is a Git LFS pointer" in line
    assert "7 more fail as well" in line or "more fail" in line


def test_one_emotion_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = f"corpus.root={corpus(tmp_path / 'corpus')}"
    line = refused(tmp_path, capsys, root, "corpus.emotions=[anger]")
    assert "has one emotion, anger, and two are needed" in line
    assert "did you mean anger" in refused(tmp_path, capsys, root, "corpus.emotions=[angre]")


def test_one_speaker_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(f"{n}{e}.wav", "me", e) for n in range(4) for e in ("anger", "joy")]
    line = refused(tmp_path, capsys, f"corpus.root={corpus(tmp_path / 'corpus', rows)}")
    assert "speaker" in line
    assert "split.protocol" in line


def test_a_class_missing_from_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(f"{s}{e}.wav", f"s{s}", e) for s in range(4) for e in ("anger", "joy")]
    manifest = corpus(tmp_path / "corpus", [*rows, ("fear.wav", "s3", "fear")])
    line = refused(tmp_path, capsys, f"corpus.root={manifest}", "split.folds=0", "split.only=[]")
    assert "fear" in line


def test_a_world_size_that_the_strategy_cannot_use(tmp_path: Path) -> None:
    root = f"corpus.root={corpus(tmp_path / 'corpus')}"
    for nproc, change, said in (
        ("2", "strategy.name=single", "--nproc 1"),
        ("9", "strategy.name=pipeline", "use --nproc 4"),
        ("3", "strategy.stages=[1]", "2 cut points"),
        ("5", "strategy.microbatches=4", "strategy.microbatches=5"),
    ):
        chosen = [*SETTINGS, "strategy.name=pipeline", change, root, f"run.folder={tmp_path}/run"]
        done = CliRunner().invoke(app, ["train", "--nproc", nproc, *chosen])
        assert done.exit_code == 2
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith("error: strategy.")
        assert said in done.stderr
        assert not (tmp_path / "run").exists()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, list[str]]:
    """The folder of a finished run and its settings."""
    settings = [*SETTINGS, f"corpus.root={corpus(tmp_path / 'corpus')}", f"run.folder={tmp_path}/done"]
    assert main(settings) == 0
    capsys.readouterr()
    return tmp_path / "done", settings


def refused_with(folder: Path, capsys: pytest.CaptureFixture[str], settings: list[str]) -> str:
    """As ``refused``, for a run whose folder stays as it is."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(settings) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("features: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return lines[0]


def test_a_run_folder_that_exists_or_does_not_fit(
    run: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, settings = run
    assert "run.resume=true" in refused_with(folder, capsys, settings)
    line = refused_with(folder, capsys, [*settings, "run.resume=true", "model.size=m"])
    assert "model.size=s, not m" in line
    line = refused_with(folder, capsys, [*settings, f"run.folder={folder}/other", "run.resume=true"])
    assert "run.folder" in line


def test_a_checkpoint_of_another_model_or_a_damaged_one(
    run: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, settings = run
    (folder / "fold-0/predictions.csv").unlink()
    last = standing.newest(folder / "fold-0/last")
    assert last is not None
    info = read_json(last / "training.json")
    write_json(last / "training.json", {**info, "signature": {"stem.conv.weight": [1, 1, 3, 3]}})
    line = refused_with(folder, capsys, [*settings, "run.resume=true"])
    assert "another model: its stem.conv.weight is [1, 1, 3, 3], not [" in line
    (last / "training.json").write_text("{")
    assert "training.json is damaged" in refused_with(folder, capsys, [*settings, "run.resume=true"])
    write_json(last / "training.json", info)
    (shard,) = last.glob("*.safetensors")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert f"{shard.name} has changed" in refused_with(folder, capsys, [*settings, "run.resume=true"])
    shard.unlink()
    assert f"{shard.name} is missing" in refused_with(folder, capsys, [*settings, "run.resume=true"])
    shard.write_bytes(whole)
    (last / "other.safetensors").write_bytes(whole)
    line = refused_with(folder, capsys, [*settings, "run.resume=true"])
    assert "other.safetensors does not belong to it" in line


def test_settings_that_were_changed_in_the_folder(
    run: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, settings = run
    path = folder / "config.yaml"
    text = path.read_text()
    path.write_text(text.replace("f_min: 50", "f_min: 51"))
    assert path.read_text() != text
    assert "config.yaml has changed since the run wrote it" in refused_with(
        folder, capsys, [*settings, "run.resume=true"]
    )
    path.write_text("# a note of mine\n" + text.replace("root: ", "root:   "))
    run_folder.settings(folder)


def test_a_full_disk_while_a_cache_entry_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = corpus(tmp_path / "corpus")
    plain, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "No space left on device" in refused(tmp_path, capsys, f"corpus.root={manifest}")
    assert len(list((tmp_path / "cache").rglob("*.features"))) == 3
    assert main([*SETTINGS, f"corpus.root={manifest}", f"run.folder={tmp_path}/run"]) == 0
    shutil.rmtree(tmp_path / "run")


def test_a_setting_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "train.epochs" in refused(tmp_path, capsys, f"corpus.root={tmp_path}", "train.epoch=3")
