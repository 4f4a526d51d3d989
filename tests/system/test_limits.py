"""What the system has no more of is one sentence, in a library's words too."""

from __future__ import annotations

import errno
import os

import pytest

from parallel_ser.system.limits import used_up


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EMFILE, "files open here"),
        (errno.ENFILE, "too many files open"),
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
    ],
)
def test_a_limit_is_named_whatever_raised_it(number: int, said: str) -> None:
    plain = OSError(number, os.strerror(number))
    wrapped = RuntimeError("[enforce fail at device.cc:1] " + os.strerror(number))
    chained = ValueError("something else")
    chained.__cause__ = plain
    for error in (plain, wrapped, chained):
        assert said in str(used_up(error))
    assert used_up(ValueError("something else")) is None
    assert used_up(OSError(errno.ENOENT, "none")) is None
