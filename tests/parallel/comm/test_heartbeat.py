"""A rank that is lost is named, a busy one is not, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch.distributed as dist
from starting import LIMIT

from parallel_ser.parallel.comm import heartbeat

SCRIPT = Path(__file__).parent / "heartbeat_ranks.py"


@contextmanager
def ranks(case: str, limit: float = 4.0, count: int = 3) -> Iterator[list[subprocess.Popen[str]]]:
    """Ranks that nothing but this test watches, as under a batch system."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    group |= {"LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, SCRIPT, case, str(limit)],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        yield started
    finally:
        for one in started:
            one.kill()
            one.communicate()


@pytest.mark.parametrize("case", ["frozen", "frozen-sockets", "killed"])
def test_a_lost_rank_is_named_and_the_others_end(case: str) -> None:
    with ranks(case) as started:
        first, lost, last = started
        told = [one.communicate(timeout=LIMIT) for one in (first, last)]
        assert {one.returncode for one in (first, last)} <= {1, 2}
        errors = told[0][1] + told[1][1]
        if case == "killed":  # the message itself tells of it, or the heartbeat does
            assert "has ended" in errors
        else:
            assert f"error: rank 1 on {socket.gethostname()} has not answered for" in errors
            assert "so this run ends. Do as advised." in errors
            assert errors.count("error:") == 1
            assert lost.poll() is None


@pytest.mark.parametrize("case", ["busy", "busy-sockets", "paused"])
def test_a_rank_that_computes_and_a_run_that_pauses_go_on(case: str) -> None:
    with ranks(case) as started:
        if case == "paused":
            assert started[1].stdout
            assert started[1].stdout.readline() == "begun\n"
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for one in started:
                    one.send_signal(number)
                time.sleep(9.0 if number == signal.SIGSTOP else 0.0)
        for one in started:
            out, errors = one.communicate(timeout=LIMIT)
            assert one.returncode == 0, errors
            assert out.endswith("done\n")


def test_a_stop_is_heard_while_a_rank_waits_for_a_lost_one() -> None:
    """Long before the limit, and inside of a library: under torchrun half a minute would be all there is."""
    with ranks("frozen-sockets", limit=600.0) as started:
        first, lost, _ = started
        while "T (stopped)" not in Path(f"/proc/{lost.pid}/status").read_text():
            time.sleep(0.1)
        # Python has no handler of its own here, so the signal itself would end the process: take one that it notes
        first.send_signal(signal.SIGINT)
        _, errors = first.communicate(timeout=LIMIT)
        assert first.returncode == 128 + signal.SIGINT, errors
        assert "rank 1 on" in errors


def watch_of(monkeypatch: pytest.MonkeyPatch) -> tuple[heartbeat._Watch, socket.socket]:
    """The first rank's watch, whose thread does not run, and a connection to it."""
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    store = dist.HashStore()
    watch = heartbeat._Watch(store, 0, 60.0, "")
    port = int(store.get(heartbeat.KEY).decode().split()[0])
    return watch, socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\n", b"x" * 5000, b"wrong 1 0 host\n", b"{} one 0 host\n", b"{} 1\n"]
)
def test_strangers_are_not_listened_to(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    watch, stranger = watch_of(monkeypatch)
    with stranger:
        stranger.sendall(said.replace(b"{}", watch.secret.encode()))
        until = time.monotonic() + 5.0
        seen = False
        while time.monotonic() < until and not (seen and not watch.lines):
            watch._listen(0.1)
            seen = seen or bool(watch.lines)
        assert seen
        assert not watch.lines
    watch.stopped = True
    assert watch.server
    watch.server.close()


def test_a_rank_that_comes_and_leaves_at_once_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, peer = watch_of(monkeypatch)
    with peer:
        peer.sendall(f"{watch.secret} 1 1 QUEUE.L\n..Q".encode())
    for _ in range(10):
        watch._listen(0.05)
    assert not watch.lines
    assert watch.server
    watch.server.close()


def test_why_a_run_ends_is_heard_though_the_first_rank_left_bytes_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, peer = watch_of(monkeypatch)
    told = b""
    with peer:
        peer.sendall(f"{watch.secret} 2 2 host\n".encode())
        while not (watch.lines and watch.lines[0].peer):
            watch._listen(0.05)
        (line,) = watch.lines
        for _ in range(3):  # so that the connection is no longer new, whose bytes go at once
            watch._send(line, b".")
            peer.recv(9)
        peer.sendall(b".")
        for data in (b".", b"L1|1|host|has ended\n"):
            watch._send(line, data)
        line.connection.close()
        with suppress(ConnectionResetError):
            while data := peer.recv(99):
                told += data
    assert told == b".L1|1|host|has ended\n"
    assert watch.server
    watch.server.close()
