"""The processes of a run: their group, their devices, their threads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from parallel_ser.errors import UserError
from parallel_ser.parallel.comm import shared
from parallel_ser.parallel.comm.heartbeat import heartbeat
from parallel_ser.system.cores import threads_a_rank, usable_cores
from parallel_ser.system.launcher import end_with_launcher
from parallel_ser.system.process import keep_freed, peak_uss

T = TypeVar("T")

LOST = ("Connection closed by peer", "Connection reset", "Broken pipe", "Application timeout", "unhandled system error")
"""What the errors say that a rank sees when another has gone."""


def lost_a_peer(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, only says that another rank has gone."""
    cause: BaseException | None = error
    while cause is not None:
        if any(sign in str(cause) for sign in LOST):
            return True
        cause = cause.__cause__
    return False


class QuietExit(SystemExit):
    """Another rank has told the user what went wrong; this one ends quietly with status 2."""


@dataclass(frozen=True)
class ProcessContext:
    """The ranks of a run and where this one computes.

    Attributes:
        rank: of this process.
        size: of the group.
        device: on which this rank computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this rank speaks for the run: it alone prints and writes."""
        return self.rank == 0

    def any_rank(self, flag: bool) -> bool:
        """Whether any rank says so."""
        if self.size == 1:
            return flag
        votes = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return bool(votes.item())

    def rank0_first(self, work: Callable[[], T], share: bool = False) -> T:
        """Run ``work`` on the first rank and then on the others, which so find what it has cached.

        With ``share`` the others do not run it: they are given the first rank's result.

        Raises:
            UserError: on the first rank, or whatever else ``work`` raised there; the others end quietly.
        """
        if self.size == 1:
            return work()
        try:
            told: list[Any] = [True, work() if self.first else None]
        except KeyboardInterrupt:  # of all ranks: who was waiting may have ended, and cannot be told
            raise
        except BaseException:
            dist.broadcast_object_list([False, None], src=0)
            raise
        result = told[1]
        if not share:
            told[1] = None
        dist.broadcast_object_list(told, src=0)
        if not told[0]:
            raise QuietExit(2)
        if self.first:
            return result
        return told[1] if share else work()

    def gather(self, value: T) -> list[T]:
        """Every rank's value on the first rank, in their order; nothing on the others."""
        if self.size == 1:
            return [value]
        every: list[Any] = [None] * self.size if self.first else []
        dist.gather_object(value, every if self.first else None)
        return every

    def rank0_only(self, work: Callable[[], object]) -> None:
        """Run ``work`` on the first rank alone, which alone writes; the others wait for it.

        Raises:
            UserError: on the first rank, what ``work`` raised there; the others end quietly.
        """

        def unshared() -> None:
            work()

        self.rank0_first(unshared, share=True)


def peak_memory(device: torch.device) -> int:
    """Bytes that this process has held at the most: on its GPU, else resident without pages of files."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_uss()


def choose_device(wanted: str, local_rank: int) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``; one GPU a rank.

    Raises:
        UserError: ``cuda`` without a GPU for this rank.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if wanted == "cuda" and available < ranks:
        raise UserError(
            f"train.device=cuda needs one GPU a process, and this machine shows {available} for {ranks}: "
            f"use train.device=cpu or fewer processes."
        )
    if wanted == "cpu" or available < ranks:
        return torch.device("cpu")
    return torch.device("cuda", local_rank)


@contextmanager
def process_context(
    device: str = "auto",
    threads: int = 0,
    timeout: float = 3600.0,
    share: bool = True,
    peer_timeout: float = 60.0,
    advice: str = "",
) -> Iterator[ProcessContext]:
    """Join the group that torchrun describes in the environment, or a group of one.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: of this rank; 0 is what ``system.cores.threads_a_rank`` says.
        timeout: seconds for which a message is awaited; long, for the first rank may extract features.
        share: send through memory where the ranks can share it, see ``shared``; else all by sockets.
        peer_timeout: seconds after which a rank counts as lost that does not even say that it is there, see
            ``heartbeat``; 0 waits for ever.
        advice: what is said beside, when one is lost.

    Raises:
        QuietExit: instead of an error, where another rank has raised one before: what all ranks find is told once.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    try:
        place = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    except UserError:
        if rank:  # all ranks find it alike: the first tells
            raise QuietExit(2) from None
        raise
    keep_freed()
    usable_cores()  # which is asked once, before ranks keep to cores of their own
    torch.set_num_threads(threads_a_rank(threads, here))
    if place.type == "cuda":
        torch.cuda.set_device(place)
    end_with_launcher()
    limit = timedelta(seconds=timeout)
    alone = "RANK" not in os.environ
    store = dist.HashStore() if alone else next(dist.rendezvous("env://", timeout=limit))[0]
    dist.init_process_group(
        "nccl" if place.type == "cuda" else shared.register() if size > 1 and share else "gloo",
        store=dist.PrefixStore("group", store),
        rank=rank,
        world_size=size,
        timeout=limit,
    )
    try:
        with heartbeat(store, rank, size, peer_timeout, advice):
            yield ProcessContext(rank, size, place)
    except Exception as error:
        if size > 1 and not lost_a_peer(error) and store.add("failed ranks", 1) > 1:
            time.sleep(1.0)  # so that torchrun, which ends all when one has ended, lets the first one tell
            raise QuietExit(2) from error
        raise
    finally:
        dist.destroy_process_group()
