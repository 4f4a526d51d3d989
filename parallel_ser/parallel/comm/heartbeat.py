"""Whether the other ranks of a run are still there, asked beside the run by a thread of each.

A rank that waits for a peer cannot tell a slow one from one whose machine has vanished: nothing closes the connection.
So each rank sends a byte to the first one every few seconds, and the first one to each. Who is silent for too long, or
has ended without a farewell, is named, and every rank ends: a run cannot go on without one of its parts, and a
checkpoint is written whole or not at all. ::

    rank 1 ─▶ .  .  .  .  Q          Q: a farewell; silence behind it is none
    rank 0 ◀─ .  .  .  L1 …          L: rank 1 is lost; the others end too

A rank that computes, extracts features or compiles for an hour sends its bytes meanwhile. A run that is stopped and
continued (Ctrl-Z, a sleeping laptop) finds that it did not look for a while, and counts that time against nobody.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch.distributed as dist

from parallel_ser.system.stops import SIGNALS, TERMINAL

KEY = "heartbeat"
PERIOD = 2.0
"""Seconds between two bytes, at the most; a sixth of a short limit."""
ENDED = 5.0
"""Seconds that a rank has, when a peer has ended, to find that out by itself and to end in its own words."""
STALE = 8.0
"""Seconds of silence after which a rank that was told to stop waits no longer."""
CONNECT = 20.0
LONGEST = 1000
"""Bytes of an introduction, at the most."""


@dataclass(frozen=True)
class Peer:
    """Another rank, as it introduces itself."""

    rank: int
    local_rank: int
    host: str

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}"


@dataclass
class Line:
    """The connection with a peer, and when it was last heard."""

    connection: socket.socket
    peer: Peer | None = None
    heard: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    buffer: bytes = b""


@contextmanager
def heartbeat(store: dist.Store, rank: int, size: int, limit: float, advice: str = "") -> Iterator[None]:
    """Watch the other ranks meanwhile, and end this process when one is lost.

    Args:
        store: that all ranks have.
        rank: of this process.
        size: of the group.
        limit: seconds of silence after which a rank is lost; 0 watches nobody.
        advice: a sentence that is said when one is lost.
    """
    if size == 1 or not limit:
        yield
        return
    watch = _Watch(store, rank, limit, advice)
    watch.start()
    try:
        yield
    except BaseException:  # the others find this rank gone
        watch.farewell = False
        raise
    finally:
        watch.stop()


class _Watch(threading.Thread):
    """The thread. The first rank listens and has a line to each other, the others have one to it."""

    def __init__(self, store: dist.Store, rank: int, limit: float, advice: str) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.me = Peer(rank, int(os.environ.get("LOCAL_RANK", "0")), socket.gethostname())
        self.limit, self.advice, self.farewell = limit, advice, True
        self.period = min(PERIOD, limit / 6)
        self.lines: list[Line] = []
        self.server: socket.socket | None = None
        self.stopped, self.signalled = False, 0
        self.ours, self.theirs = socket.socketpair()  # wakes the thread: to stop, or for a signal
        self.theirs.setblocking(False)
        self.before = -1
        here = os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE", "1")
        if rank == 0:
            self.secret = secrets.token_hex(8)
            self.server = _listening(here)
            store.set(KEY, f"{self.server.getsockname()[1]} {self.secret} {self.me.host}")
        else:
            port, self.secret, host = store.get(KEY).decode().split(" ", 2)
            address = "127.0.0.1" if here else os.environ.get("MASTER_ADDR", "127.0.0.1")
            try:
                connection = socket.create_connection((address, int(port)), CONNECT)
                connection.sendall(f"{self.secret} {rank} {self.me.local_rank} {self.me.host}\n".encode())
            except OSError as error:
                print(f"note: rank {rank} cannot watch the others ({error}).", file=sys.stderr, flush=True)
                return
            self.lines.append(Line(_prompt(connection), Peer(0, 0, host)))

    def start(self) -> None:
        """Begin, and hear of signals also while the main thread waits inside of a library."""
        if threading.current_thread() is threading.main_thread():
            self.before = signal.set_wakeup_fd(self.theirs.fileno(), warn_on_full_buffer=False)
        super().start()

    def stop(self) -> None:
        """End the thread; the others are told that this rank leaves, unless it fails."""
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self.before)
        self.stopped = True
        with suppress(OSError):
            self.theirs.send(b"\0")
        self.join(self.period)
        for line in self.lines:
            with suppress(OSError):
                if self.farewell:
                    line.connection.send(b"Q")
                line.connection.close()
        if self.server:
            self.server.close()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """See ``threading.Thread``."""
        with suppress(OSError, ValueError):  # a line that ``stop`` has closed meanwhile
            self._run()

    def _run(self) -> None:
        sent = looked = time.monotonic()
        while not self.stopped:
            self._listen(max(0.0, sent + self.period - time.monotonic()))
            now = time.monotonic()
            if now - looked > 2 * self.period + 1:  # this process was stopped, and the others may have been, too
                for line in self.lines:
                    line.heard += now - looked
            looked = now
            if now - sent >= self.period:
                sent = now
                for line in self.lines:
                    self._send(line, b".")
            self._judge(now)

    def _listen(self, seconds: float) -> None:
        """Take in what has come, for so many seconds at the most."""
        sockets = [self.ours, *(line.connection for line in self.lines if not line.ended)]
        if self.server:
            sockets.append(self.server)
        poll = select.poll()
        for one in sockets:
            poll.register(one, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(1e3 * seconds)}
        if self.ours.fileno() in ready:
            for number in self.ours.recv(64):
                self.signalled = self.signalled or (number if number in SIGNALS else 0)
        if self.server and self.server.fileno() in ready:
            connection, _ = self.server.accept()
            self.lines.append(Line(_prompt(connection)))
        for line in list(self.lines):
            if not line.ended and line.connection.fileno() in ready:
                self._read(line)

    def _read(self, line: Line) -> None:
        try:
            data = line.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            line.ended = time.monotonic()
            return
        line.heard = time.monotonic()
        line.buffer += data
        if line.peer is None:
            self._introduce(line)
        if line.peer is None:
            return
        if (lost := line.buffer.find(b"L")) >= 0:
            if line.buffer.endswith(b"\n"):
                rank, local_rank, host, how = line.buffer[lost + 1 : -1].decode().split("|")
                self._end(Peer(int(rank), int(local_rank), host), how)
        elif b"Q" in line.buffer:
            self._forget(line)
        else:
            line.buffer = b""

    def _introduce(self, line: Line) -> None:
        """Take a connection for a rank's, where it begins as one; others are not listened to."""
        head, end, rest = line.buffer.partition(b"\n")
        words = head.decode(errors="replace").split(" ", 3)
        if len(words) == 4 and words[0] == self.secret and words[1].isdecimal() and words[2].isdecimal():
            if end:
                line.peer, line.buffer = Peer(int(words[1]), int(words[2]), words[3]), rest
        elif end or len(line.buffer) > LONGEST:
            self._forget(line)

    def _forget(self, line: Line) -> None:
        line.connection.close()
        self.lines.remove(line)

    def _send(self, line: Line, data: bytes) -> None:
        with suppress(OSError):  # a full buffer, or an end that is read
            line.connection.send(data)

    def _judge(self, now: float) -> None:
        """Whether a peer is lost."""
        for line in list(self.lines):
            if line.peer is None:
                continue
            silent = now - line.heard
            # SIGTERM: torchrun ends all, for one has failed and says why. A terminal tells all: each may speak.
            grace = ENDED if self.signalled in TERMINAL else 0.0
            if self.signalled and line.ended and now - line.ended >= grace:
                os._exit(128 + self.signalled)
            if self.signalled and silent > STALE:
                self._end(line.peer, f"has not answered for {silent:.0f} s", 128 + self.signalled)
            if line.ended and now - line.ended > ENDED:
                self._lost(line, "has ended")
            elif not line.ended and silent > self.limit:
                self._lost(line, f"has not answered for {silent:.0f} s")

    def _lost(self, line: Line, how: str) -> None:
        peer = line.peer
        assert peer is not None
        for other in self.lines:
            if other is not line:
                self._send(other, f"L{peer.rank}|{peer.local_rank}|{peer.host}|{how}\n".encode())
        self._end(peer, how)

    def _end(self, peer: Peer, how: str, status: int = 1) -> None:
        """End this process; of those on a machine one tells why."""
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[?25h")  # a progress bar has hidden the cursor
            sys.stdout.flush()
        gone = peer.host == self.me.host and peer.local_rank == 0
        if self.me.local_rank == 0 or gone:
            print(f"error: {peer} {how}, so this run ends. {self.advice}".rstrip(), file=sys.stderr, flush=True)
        else:
            time.sleep(1.0)  # torchrun ends all of a machine when one has ended: the one that tells comes first
        os._exit(status)


def _prompt(connection: socket.socket) -> socket.socket:
    """It sends at once: what waits for the answer to the byte before (Nagle's algorithm) is dropped where this process
    ends with bytes unread, so that a peer would not hear why."""
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _listening(here: bool) -> socket.socket:
    """A socket that ranks of this machine, or of any, can reach."""
    if here:
        return socket.create_server(("127.0.0.1", 0))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))
