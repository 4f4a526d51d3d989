"""What dead processes left is swept, and nothing of the living or of others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from parallel_ser.system import leftovers

HOLD = (
    "import sys, time, pathlib; from parallel_ser.system.leftovers import claim\n"
    "file = claim(pathlib.Path(sys.argv[1])); print('claimed', flush=True); time.sleep(600)"
)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    temporary, memory = tmp_path / "tmp", tmp_path / "shm"
    temporary.mkdir()
    memory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(leftovers, "MEMORY", memory)
    return temporary, memory


def names(*folders: Path) -> set[str]:
    return {one.name for folder in folders for one in folder.iterdir()}


@pytest.mark.parametrize("name", ["parallel-ser-abc", "torchelastic_abc"])
def test_what_a_killed_process_claimed_is_swept_and_not_before(places: tuple[Path, Path], name: str) -> None:
    temporary, memory = places
    folder = temporary / name
    (folder / "none/attempt_0").mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "claimed\n"
        (memory / f"joblib_memmapping_folder_{owner.pid}_a_b").mkdir()
        (memory / f"sem.loky-{owner.pid}-x").touch()
        before = names(*places)
        leftovers.sweep()
        assert names(*places) == before
        owner.kill()
    leftovers.sweep()
    assert names(*places) == set()


def test_what_nobody_claimed_stays(places: tuple[Path, Path]) -> None:
    temporary, memory = places
    (temporary / "torchelastic_other").mkdir()
    (temporary / "parallel-ser-notes").mkdir()
    (memory / "sem.loky-1-x").touch()
    (memory / "joblib_memmapping_folder_999999999_a").mkdir()
    before = names(*places)
    leftovers.sweep()
    assert names(*places) == before


def test_a_claim_is_one_processs(tmp_path: Path) -> None:
    with leftovers.claim(tmp_path) as file:  # type: ignore[union-attr]
        assert file
        assert leftovers.claim(tmp_path) is None


WORK = (
    "import time; from joblib import Parallel, delayed; from parallel_ser.system.leftovers import workers\n"
    "with workers():\n"
    "    made = Parallel(n_jobs=2, return_as='generator')(delayed(time.sleep)(k) for k in (0, 600, 600))\n"
    "    print(next(made), flush=True); next(made)"
)


def test_a_process_that_is_stopped_with_its_workers_leaves_no_warnings() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "None\n"
        os.killpg(owner.pid, signal.SIGTERM)
        assert owner.communicate(timeout=60) == ("", "")  # of the tracker too, which has the same stderr
