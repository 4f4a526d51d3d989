"""Groups that share memory: what they sum, send and do when a peer is lost."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from starting import LIMIT

HERE = Path(__file__).parent


def run(what: str, ranks: int, folder: Path) -> None:
    command = [sys.executable, str(HERE / "shared_ranks.py"), what]
    started = [
        subprocess.Popen([*command, str(rank), str(ranks), str(folder / "store")], stderr=subprocess.PIPE, text=True)
        for rank in range(ranks)
    ]
    told = [one.communicate(timeout=LIMIT)[1] for one in started]
    assert [one.returncode for one in started] == [0] * ranks, "\n".join(told)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="memory is shared on x86 alone")
@pytest.mark.parametrize(
    ("what", "ranks"),
    [("collectives", 2), ("collectives", 3), ("circle", 3), ("lost", 3), ("stress", 3), ("stress", 4)],
)
def test_messages_through_memory(what: str, ranks: int, tmp_path: Path) -> None:
    run(what, ranks, tmp_path)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="memory is shared on x86 alone")
def test_a_message_of_another_size_is_refused(tmp_path: Path) -> None:
    run("mixed", 2, tmp_path)


def test_where_one_cannot_reach_the_memory_all_send_through_sockets(tmp_path: Path) -> None:
    run("apart", 2, tmp_path)
