"""Unpacking a zip archive that nobody vouches for."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

_BLOCK = 1 << 18  # bytes
_MOST_MEMBERS = 100_000
_LONGEST_NAME = 255  # bytes of one name, as file systems take them
_LONGEST_PATH = 1000  # letters
_MOST_GROWTH = 20  # times the archive's size; recorded speech shrinks to a half or a third


class CorruptArchiveError(Exception):
    """The archive is damaged or is not what it should be; the message is one clause."""


def unpack(archive: Path, folder: Path, before: Callable[[int], None] = lambda size: None) -> None:
    """Write the archive's files below ``folder``, an empty one.

    All names are judged before anything is written. Refused are: absolute names, ``..``, drives and backslashes,
    links and devices, encrypted or doubled members, names that no file can have, and more than 20 times the archive's
    size or 100,000 members.

    Args:
        archive: a zip file.
        folder: where to; what it holds after an error is for the caller to remove.
        before: called with the bytes that will be written, before they are.

    Raises:
        CorruptArchiveError: damaged or refused.
        OSError: ``folder`` cannot be written.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
        raise CorruptArchiveError(str(error)) from error
    with opened as file:
        members = [(info, _safe(info)) for info in file.infolist()]
        _require_sane(members, archive.stat().st_size)
        before(sum(info.file_size for info, _ in members))
        for info, name in members:
            path = folder / name
            if info.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as out:
                for block in _blocks(file, info):
                    out.write(block)


def _safe(info: zipfile.ZipInfo) -> PurePosixPath:
    name = info.orig_filename  # before zipfile mends it
    parts = name.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or any(sign in name for sign in "\\:\0"):
        raise CorruptArchiveError(f"member {name!r} would leave the folder")
    if len(name) > _LONGEST_PATH or any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise CorruptArchiveError(f"member {name[:60]!r}… has a name that no file can have")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise CorruptArchiveError(f"member {name!r} is a link or a device")
    if info.flag_bits & 0x1:
        raise CorruptArchiveError(f"member {name!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CorruptArchiveError(f"member {name!r} is compressed in an unusual way")
    return PurePosixPath(*parts)


def _require_sane(members: list[tuple[zipfile.ZipInfo, PurePosixPath]], archive_size: int) -> None:
    if len(members) > _MOST_MEMBERS:
        raise CorruptArchiveError(f"it has {len(members):,} members, more than {_MOST_MEMBERS:,}")
    size = sum(info.file_size for info, _ in members)
    if size > _MOST_GROWTH * archive_size:
        raise CorruptArchiveError(f"it would grow to {size:,} bytes, more than {_MOST_GROWTH} times its size")
    # folded, because some file systems do not tell A from a
    files = [str(path).casefold() for info, path in members if not info.is_dir()]
    folders = {str(parent).casefold() for _, path in members for parent in path.parents}
    folders |= {str(path).casefold() for info, path in members if info.is_dir()}
    if len(set(files)) < len(files) or folders.intersection(files):
        raise CorruptArchiveError("two members have one name")


def _blocks(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The member's bytes; zipfile stops at the announced size and compares the CRC there."""
    try:
        with file.open(info) as stream:
            while block := stream.read(_BLOCK):
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError, RuntimeError) as error:
        raise CorruptArchiveError(f"member {info.filename!r} is damaged: {error}") from error
