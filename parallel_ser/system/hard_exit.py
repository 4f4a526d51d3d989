"""The end of a process whose libraries have threads that would outlive the interpreter."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from typing import NoReturn


class HardExit:
    """Ends this process with a status once everything else that runs at exit has run.

    In about one run of ten gloo's threads outlived the interpreter and aborted the process ("terminate called without
    an active exception"), for which torchrun takes down the other ranks. What is registered at exit runs last to
    first; so make this first, before libraries that register something are imported.
    """

    def __init__(self) -> None:
        self.status = 1  # of an exception that nothing catches
        atexit.register(self._end)

    def __call__(self, status: int) -> NoReturn:
        """Leave with ``status``."""
        self.status = status
        sys.exit(status)

    def _end(self) -> None:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.status)
