"""Writing files so that a reader sees the whole of one or nothing of it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from uuid import uuid4

from parallel_ser.errors import UserError
from parallel_ser.system.terminal import printable

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def other_kind(path: Path) -> str:
    """What is at a path instead of a plain file, such as ``a pipe``; empty where it is one.

    Raises:
        OSError: nothing is there, or it cannot be looked at.
    """
    kind = stat.S_IFMT(path.stat().st_mode)
    return "" if kind == stat.S_IFREG else KINDS.get(kind, "no file")


def plain(path: Path) -> Path:
    """The same path; refused, before it is opened, where it is no plain file: a pipe without a writer is awaited.

    Raises:
        UserError: it is none; what is not there is left to who opens it.
    """
    try:
        kind = other_kind(path)
    except OSError:
        return path
    if kind:
        raise UserError(f"cannot read {path}: it is {kind} and not a file.")
    return path


def numbered(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """What is called by the prefix and a number, in order; what a user keeps beside it (``fold-0.bak``) is not."""
    named = ((path.name.removeprefix(prefix), path) for path in folder.glob(f"{prefix}*"))
    return sorted((int(text), path) for text, path in named if text.isascii() and text.isdecimal())


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Give ``write`` a temporary file beside ``path``, flush it to disk, then rename it into place.

    Two processes may write the same path at once: each reader sees one of the two, whole.

    Raises:
        UserError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # not mkstemp, whose files no other user of a shared folder can read
        temporary = path.parent / f".{path.name}.{uuid4().hex}.part"
        try:
            with temporary.open("x+b") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}.") from error


def write_text(path: Path, text: str) -> None:
    """``write_atomic`` for a text in UTF-8; of a name that is none the odd bytes are escapes, as JSON and YAML read."""
    write_atomic(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def extra(work: Callable[[], object]) -> None:
    """Write what a result can do without, such as a picture: where that fails, a note is all."""
    try:
        work()
    except (UserError, OSError) as error:
        print(f"note: {printable(str(error))}", file=sys.stderr, flush=True)


class SameFolder:
    """A folder that is to stay what it is: one that was renamed would be made anew, with the last files alone.

    Args:
        path: of the folder; where there is none nothing is held against it later.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stat = self._found()

    def require(self) -> None:
        """Refuse to write into another folder of this name.

        Raises:
            UserError: it was renamed, or removed.
        """
        found = self._found()
        if self.stat is not None and (found is None or not os.path.samestat(self.stat, found)):
            raise UserError(
                f"the folder {self.path} has been renamed or removed meanwhile, so nothing more is written: give it "
                "its name again and go on with run.resume=true."
            )

    def _found(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except OSError:
            return None


def require_writable(folder: Path) -> None:
    """Refuse a folder, which need not be there yet, in which nothing can be made; nothing is left in it.

    Raises:
        UserError: it cannot be written, or is no folder.
    """
    nearest = folder.expanduser().absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        with TemporaryFile(dir=nearest):  # the rights alone do not tell of a disk that is read-only
            pass
    except OSError as error:
        raise UserError(f"cannot write in {nearest}: {error.strerror or error}.") from error


def cache_folder() -> Path:
    """Where caches live: ``$PARALLEL_SER_CACHE``, else ``parallel-ser`` below the user's cache folder (XDG)."""
    if own := os.environ.get("PARALLEL_SER_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "parallel-ser"


def cache_key(facts: Sequence[Any]) -> str:
    """A hash of plain data as JSON, such as the name of a cache entry by all that produced it."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
