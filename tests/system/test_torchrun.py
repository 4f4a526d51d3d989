"""What a user of torchrun sees when a run ends before its time: one sentence of ours, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import starting

from parallel_ser.system.torchrun import starts_ours

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch/train.py"
TINY = (
    *("corpus.synthetic.speakers=4", "corpus.synthetic.sentences=1", "corpus.synthetic.takes=1", "split.folds=2"),
    *("features.window=0.04", "features.hop=0.02", "features.n_mels=20", "train.epochs=500", "strategy.microbatches=2"),
)


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    """An environment in which the project is installed as pyproject.toml says, whatever this one has."""
    written = (ROOT / "pyproject.toml").read_text()
    entry = re.search(r'\[project.entry-points."torchrun.handlers"\]\n(.+)\n', written)
    assert entry
    installed = tmp_path / "installed/parallel_ser_here-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: parallel-ser-here\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[torchrun.handlers]\n{entry[1].replace(chr(34), '')}\n")
    paths = os.pathsep.join([str(installed.parent), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PARALLEL_SER_DEBUG": ""}


def torchrun(*arguments: str | Path) -> list[str]:
    options = ["--standalone", "--local_addr=127.0.0.1", "--nproc_per_node=2"]
    return [sys.executable, "-m", "torch.distributed.run", *options, *map(str, arguments)]


def test_a_mistake_is_one_sentence(surroundings: dict[str, str]) -> None:
    done = starting.run(torchrun(SCRIPT, "train.epoch=3"), env=surroundings)
    assert done.returncode != 0
    assert done.stderr == "error: unknown setting train.epoch (command line); did you mean train.epochs?\n"


def test_an_option_that_is_a_setting_says_so_here_too(surroundings: dict[str, str]) -> None:
    done = starting.run(torchrun(SCRIPT, "--epochs", "3"), env=surroundings)
    assert done.stderr == "error: there is no option --epochs; settings are given as group.key=value: train.epochs=3\n"


def test_with_debug_all_is_shown(surroundings: dict[str, str]) -> None:
    done = starting.run(torchrun(SCRIPT, "--debug", "train.epoch=3"), env=surroundings)
    assert "ChildFailedError" in done.stderr


@pytest.mark.parametrize("how", ["torchrun", "train"])
def test_ctrl_c_is_our_line_alone(how: str, surroundings: dict[str, str], tmp_path: Path) -> None:
    given = [*TINY, f"run.folder={tmp_path}/run", f"run.cache={tmp_path}/cache"]
    command = torchrun(SCRIPT, *given)
    if how == "train":
        command = [sys.executable, "-m", "parallel_ser", "train", "--nproc", "2", *given]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings, start_new_session=True
    )
    assert started.stdout
    for line in started.stdout:
        if line.split()[:1] == ["2"]:  # the second epoch is done
            break
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does
    out, err = started.communicate(timeout=starting.LIMIT)
    assert out.splitlines()[-1].startswith("Stopped and saved at epoch ")
    assert "Traceback" not in out
    assert [line for line in err.splitlines() if not line.startswith(("features: ", "note: "))] == []


def test_other_programs_are_left_alone(surroundings: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "other.py"
    script.write_text("raise SystemExit(3)\n")
    done = starting.run(torchrun(script), env=surroundings)
    assert "ChildFailedError" in done.stderr


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ([SCRIPT, "corpus.root=x"], True),
        (["--nproc_per_node=2", "-m", "parallel_ser.training.main", "x.py"], True),
        (["-m", "another.module", SCRIPT], False),
        (["nowhere.py", SCRIPT], False),
        ([], False),
    ],
)
def test_what_starts_ours(words: list[str | Path], ours: bool) -> None:
    assert starts_ours(["torchrun", *map(str, words)]) == ours
