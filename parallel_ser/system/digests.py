"""Files that carry a digest of their bytes, so that a changed one is refused and never read as if it were whole.

=================  ==============================  ==============================================
a file             where its digest is             written and read by
=================  ==============================  ==============================================
JSON               the last key, ``digest``        ``write_json``, ``read_json``, ``cached_json``
a zip archive      its comment                     ``seal``, ``sealed``
other bytes        before them                     ``write_bytes``, ``read_bytes``
many files         in another file                 ``file_digest``
=================  ==============================  ==============================================

Other programs read the first two as ever. The digest is BLAKE2b of 128 bits: it tells of damage, not of malice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from parallel_ser.errors import UserError
from parallel_ser.system.files import plain, write_atomic, write_text

KEY = "digest"
SIZE = 16
"""Bytes of a digest."""
SIGN = b"parallel-ser blake2b "
"""Begins the comment of an archive."""
BLOCK = 1 << 20


class DamagedError(UserError):
    """A file that does not hold what was written."""

    def __init__(self, path: Path, why: str = "its content does not fit its digest") -> None:
        super().__init__(f"{path} is damaged, or was not written by this version ({why}): copy it again, or make anew.")

    def __reduce__(self) -> tuple[type[UserError], tuple[str]]:
        return UserError, (str(self),)  # from another process the sentence is enough


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data, which has no ``digest`` of its own, with the digest of its text, whole or not at all."""
    assert KEY not in content
    write_text(path, _rendered(content))


def read_json(path: Path) -> dict[str, Any]:
    """What ``write_json`` wrote.

    Raises:
        DamagedError: one of its bytes has changed.
        UserError: it cannot be read.
    """
    data = _bytes(path)
    try:
        content = json.loads(data)
    except ValueError as error:
        raise DamagedError(path, "it is no JSON") from error
    if not isinstance(content, dict) or content.pop(KEY, None) is None or _encoded(_rendered(content)) != data:
        raise DamagedError(path)
    return content


@contextmanager
def shaped(path: Path) -> Iterator[None]:
    """Within it what a file does not hold, as it is another's under its name, is said of the file.

    Raises:
        DamagedError: something was looked up in vain, or is of another kind.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DamagedError(path, f"it does not hold what such a file does: {reason}") from error


def cached_json(path: Path) -> dict[str, Any] | None:
    """What ``write_json`` wrote into a cache; None where there is nothing whole."""
    try:
        return read_json(path)
    except UserError:
        return None


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes behind their digest, whole or not at all."""
    write_atomic(path, lambda file: file.write(_digest(content).digest() + content))


def read_bytes(path: Path) -> bytes:
    """What ``write_bytes`` wrote.

    Raises:
        DamagedError: one of its bytes has changed.
        UserError: it cannot be read.
    """
    packed = _bytes(path)
    if _digest(packed[SIZE:]).digest() != packed[:SIZE]:
        raise DamagedError(path)
    return packed[SIZE:]


def seal(file: BinaryIO) -> None:
    """Give a zip archive, open for reading and writing, the digest of its bytes as its comment."""
    comment = len(SIGN) + 2 * SIZE
    file.seek(-2, 2)  # the length of the comment, so far none, ends the archive
    file.write(comment.to_bytes(2, "little"))
    file.seek(0)
    digest = _digest_of(file, -1)
    file.seek(0, 2)
    file.write(SIGN + digest.encode())


@contextmanager
def sealed(path: Path) -> Iterator[BinaryIO]:
    """A zip archive that ``seal`` has sealed, open at its beginning.

    Raises:
        DamagedError: one of its bytes has changed.
        UserError: it cannot be read.
    """
    length = len(SIGN) + 2 * SIZE
    try:
        with plain(path).open("rb") as file:
            content = max(0, file.seek(0, 2) - length)
            file.seek(content)
            comment = file.read()
            file.seek(0)
            if comment != SIGN + _digest_of(file, content).encode():
                raise DamagedError(path)
            file.seek(0)
            yield file
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error


def file_digest(path: Path) -> str:
    """The digest of a whole file, to be kept elsewhere.

    Raises:
        UserError: it is no plain file.
        OSError: it cannot be read.
    """
    with plain(path).open("rb") as file:
        return _digest_of(file, -1)


def _rendered(content: Mapping[str, Any]) -> str:
    text = json.dumps({**content, KEY: ""}, indent=1, ensure_ascii=False)
    return json.dumps({**content, KEY: _digest(_encoded(text)).hexdigest()}, indent=1, ensure_ascii=False) + "\n"


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # as ``write_text`` does


def _bytes(path: Path) -> bytes:
    try:
        return plain(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error


def _digest(content: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(content, digest_size=SIZE)


def _digest_of(file: BinaryIO, length: int) -> str:
    """Of so many bytes from where the file stands, or of all."""
    digest = _digest()
    while length and (block := file.read(BLOCK if length < 0 else min(BLOCK, length))):
        digest.update(block)
        length -= len(block) if length > 0 else 0
    return digest.hexdigest()
