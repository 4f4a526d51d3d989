"""Every byte of a file counts, and other programs read the file as ever."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from parallel_ser.errors import UserError
from parallel_ser.system import digests
from parallel_ser.system.files import write_atomic

CONTENT = {"a": 1, "b": [0.1, 1e-300, None, "é"], "c": {"d": True}}


def write_zip(path: Path, _: object = None) -> None:
    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a", "text")
        digests.seal(file)

    write_atomic(path, write)


def read_zip(path: Path) -> str:
    with digests.sealed(path) as file, zipfile.ZipFile(file) as archive:
        return archive.read("a").decode()


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any], Any]] = {
    "json": (lambda path: digests.write_json(path, CONTENT), digests.read_json, CONTENT),
    "bytes": (lambda path: digests.write_bytes(path, b"\0\1\2" * 9), digests.read_bytes, b"\0\1\2" * 9),
    "zip": (write_zip, read_zip, "text"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_comes_back_and_no_other_byte_is_accepted(tmp_path: Path, kind: str) -> None:
    write, read, content = KINDS[kind]
    path = tmp_path / "file"
    write(path)
    assert read(path) == content
    whole = path.read_bytes()
    damaged = [whole[:place] + bytes([byte ^ 1]) + whole[place + 1 :] for place, byte in enumerate(whole)]
    damaged += [whole[:place] for place in range(len(whole))]
    damaged += [whole + b"\0", whole + b"\n", b"\0" * len(whole), b"", b"{}", b"[]", b"null"]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(digests.DamagedError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_there_is_said_so(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match="No such file"):
        KINDS[kind][1](tmp_path / "none")
    with pytest.raises(UserError, match="cannot read"):
        KINDS[kind][1](tmp_path)


def test_other_programs_read_them(tmp_path: Path) -> None:
    digests.write_json(tmp_path / "x.json", CONTENT)
    assert CONTENT.items() <= json.loads((tmp_path / "x.json").read_text()).items()
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(3)}, buffer)
    digests.seal(buffer)
    (tmp_path / "x.pt").write_bytes(buffer.getvalue())
    assert torch.equal(torch.load(tmp_path / "x.pt", weights_only=True)["w"], torch.arange(3))
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert archive.testzip() is None


def test_an_entry_of_a_cache_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "entry.json"
    assert digests.cached_json(path) is None
    digests.write_json(path, CONTENT)
    assert digests.cached_json(path) == CONTENT
    path.write_text(path.read_text().replace("1", "2", 1))
    assert digests.cached_json(path) is None
