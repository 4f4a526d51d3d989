"""Which cores a rank is kept to."""

from __future__ import annotations

import os
import sys

import pytest
from starting import run

from parallel_ser.parallel.comm.pinning import cores_of, memory_nodes

TWO = [[0, 1, 2, 3, 8], [4, 5, 6, 7]]


@pytest.mark.parametrize(("ranks", "threads"), [(1, 1), (2, 2), (4, 2), (2, 4), (3, 3), (9, 1), (1, 9), (2, 1)])
def test_ranks_have_cores_of_their_own(ranks: int, threads: int) -> None:
    own = [cores_of(rank, ranks, threads, TWO) for rank in range(ranks)]
    assert all(len(set(one)) == threads for one in own)
    assert len({core for one in own for core in one}) == ranks * threads


def test_a_rank_stays_on_one_memory_node_where_all_do() -> None:
    for rank in range(4):
        assert any(set(cores_of(rank, 4, 2, TWO)) <= set(node) for node in TWO)


def test_more_than_there_are_bind_nothing() -> None:
    assert cores_of(0, 5, 2, TWO) == ()


def test_the_nodes_have_the_cores_that_may_be_used() -> None:
    assert sorted(core for node in memory_nodes() for core in node) == sorted(os.sched_getaffinity(0))


def test_every_thread_of_a_process_is_kept() -> None:
    code = (
        "import os, threading, time; from pathlib import Path;"
        "from parallel_ser.parallel.comm.pinning import pin_cores;"
        "threading.Thread(target=time.sleep, args=(9999,), daemon=True).start();"
        "own = set(pin_cores(1));"
        "every = [os.sched_getaffinity(int(one.name)) for one in Path('/proc/self/task').iterdir()];"
        "assert len(own) == 1 and len(every) > 1 and all(one == own for one in every)"
    )
    assert run([sys.executable, "-c", code]).returncode == 0
