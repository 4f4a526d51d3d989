"""Work on many files in as many processes as there are cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from parallel_ser.errors import UserError
from parallel_ser.system.leftovers import begun, workers

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 16
"""Files a worker takes at once: less is spent on handing out, and the progress still moves."""
FEW = 64
"""Files up to which this process is quicker than workers, which take seconds to start."""


def spread(make: Callable[[Sequence[T]], R], items: Sequence[T], jobs: int) -> Iterator[R]:
    """What ``make`` gives of each chunk of the items, in their order, as it comes.

    Args:
        make: travels to another process, as do the items and what it gives.
        items: files, with what goes with them.
        jobs: processes, each on one thread, -1 for all cores; this one alone when there are few items.

    Raises:
        UserError: a process was killed.
    """
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    if jobs == 1 or len(items) <= FEW:
        yield from map(make, chunks)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        with workers():
            pool = Parallel(n_jobs=jobs, return_as="generator", batch_size=1)
            yield from begun(pool, (delayed(make)(one) for one in chunks))
    except TerminatedWorkerError as error:
        raise UserError(
            "a worker process was killed while features were computed, most likely for want of memory; use fewer jobs."
        ) from error
