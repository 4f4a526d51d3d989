"""What is missing or does not go together is said in a sentence with the command that mends it."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

import pytest
from starting import run as start

from parallel_ser.errors import UserError
from parallel_ser.parallel import internals
from parallel_ser.system import installed

SHADOW = """
import sys
from importlib import metadata
plain = metadata.distribution
def distribution(name):
    if name == {name!r}:
        raise metadata.PackageNotFoundError(name)
    return plain(name)
metadata.distribution = distribution
from parallel_ser.__main__ import main
sys.argv = ["parallel-ser", "--version"]
main()
"""


def pretend(folder: Path, name: str, version: str, code: str = "") -> dict[str, str]:
    """Surroundings in which a package of that version stands before the one that is installed."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if code:
        (folder / f"{name}.py").write_text(code)
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def run(command: list[str], folder: Path, surroundings: dict[str, str] | None = None) -> tuple[int, str, str]:
    done = start(command, cwd=folder, env=surroundings)
    return done.returncode, done.stdout, done.stderr


def test_a_torchaudio_of_another_version_is_refused_with_the_pair_that_works(tmp_path: Path) -> None:
    status, _, told = run(
        [sys.executable, "-m", "parallel_ser", "--version"], tmp_path, pretend(tmp_path, "torchaudio", "2.11.0")
    )
    assert status == 2
    assert told.startswith("error: torchaudio 2.11.0 is installed where parallel-ser needs torchaudio==2.11.1: run ")
    assert "-m pip install 'torch<" in told
    assert len(told.splitlines()) == 1


def test_every_rank_finds_it_and_the_first_says_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "parallel_ser.training.main"]
    surroundings = pretend(tmp_path, "torchaudio", "2.11.0")
    for rank, lines in (("0", 1), ("1", 0)):
        status, _, told = run(command, tmp_path, {**surroundings, "RANK": rank, "WORLD_SIZE": "2"})
        assert (status, len(told.splitlines())) == (2, lines), told


def test_a_library_that_does_not_load_is_no_traceback(tmp_path: Path) -> None:
    broken = "raise OSError('undefined symbol: torch_exception_get_what_without_backtrace')"
    surroundings = pretend(tmp_path, "torchaudio", metadata.version("torchaudio"), broken)
    surroundings["PARALLEL_SER_CACHE"] = str(tmp_path / "cache")
    for command in (["-m", "parallel_ser", "features", "--out", "table.csv"], ["-m", "parallel_ser.training.main"]):
        status, _, told = run([sys.executable, *command], tmp_path, surroundings)
        assert status == 2, told
        assert "does not load (undefined symbol" in told
        assert "pip install --force-reinstall 'torch<" in told
        assert len(told.splitlines()) == 1


@pytest.mark.parametrize("name", ["soxr", "deepspeed", "packaging"])
def test_a_part_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    status, _, told = run([sys.executable, "-c", SHADOW.format(name=name)], tmp_path)
    assert status == 2
    assert told.startswith(f"error: {name} is missing: run ")
    assert f"pip install '{name}" in told or f"pip install {name}" in told


def test_releases_whose_inner_interfaces_were_not_checked_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in internals.CHECKED:
        internals.require_checked(package)
    monkeypatch.setattr(internals, "version", lambda _: "3.0.1")
    with pytest.raises(UserError, match=r"torch 3\.0\.1 is installed, .*: pip install 'torch==2\.14\.\*'"):
        internals.require_checked("torch")


def test_a_library_for_which_there_is_no_memory_is_not_called_damaged() -> None:
    try:
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object", name="torch")
    except ImportError as error:
        told = str(installed.explain(error))
    assert "too little memory" in told
    assert "pip" not in told
