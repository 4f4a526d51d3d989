"""What the system has no more of is one sentence, in a library's words too."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from parallel_ser.system.limits import explain, refused, used_up


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
