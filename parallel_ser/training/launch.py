"""Starting the processes of a run on this machine, as torchrun does."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from parallel_ser.errors import UserError
from parallel_ser.system.cores import THREADS, threads_a_rank
from parallel_ser.system.launcher import torchrun_options
from parallel_ser.system.limits import require_files
from parallel_ser.system.stops import INTERRUPTED
from parallel_ser.system.torchrun import killed


def launch(ranks: int, arguments: Sequence[str], threads: int, debug: bool = False) -> int:
    """Run ``parallel_ser.training.main`` here (one rank) or in ``ranks`` processes; returns the exit status.

    Args:
        ranks: processes to start.
        arguments: of ``parallel_ser.training.main.main``.
        threads: of each process; 0 is what ``threads_a_rank`` says.
        debug: show torchrun's own messages too.

    Raises:
        UserError: a process was killed, or too few files may be open.
    """
    require_files(ranks)
    os.environ[THREADS] = str(threads_a_rank(threads, ranks))
    if ranks == 1:
        from parallel_ser.training.main import main

        return main(arguments)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    if not debug:  # what went wrong is said by the process where it went wrong
        logging.disable(logging.ERROR)
    started = [*torchrun_options(ranks), "-m", "parallel_ser.training.main", *arguments]
    try:
        run(get_args_parser().parse_args(started))
    except SignalException as stopped:
        if stopped.sigval == signal.SIGTERM:  # of which the ranks say nothing
            print(INTERRUPTED, file=sys.stderr, flush=True)
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode < 0:
            raise UserError(killed(rank, -failure.exitcode)) from failed
        if failure.exitcode == 128 + signal.SIGTERM:  # a rank alone was told to end
            print(INTERRUPTED, file=sys.stderr, flush=True)
        return failure.exitcode
    finally:
        logging.disable(logging.NOTSET)
    return 0
