"""What the system has no more of is one sentence, in a library's words too."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from parallel_ser.errors import UserError
from parallel_ser.system.leftovers import workers
from parallel_ser.system.limits import explain, no_locks, refused, used_up


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EMFILE, "files open here"),
        (errno.ENFILE, "too many files open"),
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.ENOMEM, "no more memory"),
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
    assert "no more memory" in str(used_up(MemoryError()))


@pytest.mark.parametrize(
    ("number", "why"),
    [(errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left on device"), (errno.ENOENT, "No such file")],
)
def test_shared_memory_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, number: int, why: str) -> None:
    error = OSError(number, os.strerror(number))  # as a semaphore raises it
    assert no_locks(error) is None  # here they can be made

    def none() -> None:
        raise error

    monkeypatch.setattr(multiprocessing, "Lock", none)
    assert str(explain(error)).startswith(f"processes cannot share locks here, for /dev/shm cannot be used ({why}")
    assert "/dev/shm" not in str(explain(OSError(number, os.strerror(number), "a.wav")))
    with pytest.raises(UserError, match="/dev/shm cannot be used"), workers():
        pass


def test_a_refused_file_is_named_on_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a\nb"
    file.touch()
    for path, said in ((file / "c", "Not a directory"), (tmp_path / "none/c", "No such file")):
        with pytest.raises(OSError, match="c") as caught:
            path.mkdir()
        assert str(explain(caught.value)).endswith(f"/c: {os.strerror(caught.value.errno or 0)}.")
        assert said in str(refused(caught.value))
        assert "\n" not in str(refused(caught.value))
    assert refused(ValueError("something else")) is None
    assert refused(ConnectionResetError(errno.ECONNRESET, "gone")) is None
