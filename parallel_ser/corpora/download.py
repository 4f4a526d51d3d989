"""Downloading one file over HTTP from a server that may break off, ignore ranges or lie."""

from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parallel_ser.errors import UserError
from parallel_ser.system.terminal import printable

_BLOCK = 1 << 18  # bytes
_TIMEOUT = 30.0  # seconds without a byte

Progress = Callable[[int, int | None], None]


class _Broken(Exception):
    """The connection failed in a way that another try may mend."""


def download(
    url: str, part: Path, size: int | None, progress: Progress | None = None, tries: int = 5, backoff: float = 1.0
) -> None:
    """Bring the file at ``url`` into ``part``, going on after what is already there.

    The server's word is not trusted: where the size is known, an answer that announces another is refused before
    anything is written; an answer that holds fewer bytes than announced is a broken connection; a range that begins
    elsewhere than asked is thrown away and the file begun again.

    Args:
        url: http or https.
        part: where to; kept when the connection breaks.
        size: of the whole file in bytes, where it is known.
        progress: called with the bytes there are and, where known, the bytes there will be.
        tries: connections at most.
        backoff: seconds before the second connection; doubled for each further one.

    Raises:
        UserError: the server refuses, sends another file, or breaks off every time; no space on the disk.
        OSError: ``part`` cannot be written.
    """
    reason: Exception | None = None
    for attempt in range(tries):
        if attempt:
            time.sleep(backoff * 2 ** (attempt - 1))
        try:
            return _receive(url, part, size, progress)
        except _Broken as error:
            reason = error
    of = f" of {_mb(size)}" if size else ""
    kept = f"{_mb(_size(part))}{of} are kept in {part}, and the same command resumes from there"
    none = "nothing of it is kept, and the same command tries again"
    raise UserError(
        f"the download of {url} failed {tries} times ({reason}); {kept if _size(part) else none}."
    ) from reason


def _receive(url: str, part: Path, size: int | None, progress: Progress | None) -> None:
    """One try: returns when the whole archive is in ``part``."""
    if size is not None and _size(part) > size:
        part.unlink()
    kept = _size(part)
    if kept and kept == size:
        return
    try:
        response = _open(url, kept)
    except urllib.error.HTTPError as error:
        error.close()
        told = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if error.code == 416:  # nothing after what is kept: either it is all, or it is not this file
            if size is None and told and int(told[1]) == kept:
                return
            part.unlink(missing_ok=True)
        elif error.code < 500 and error.code not in (408, 429):
            raise UserError(f"the server answers {error.code} ({_phrase(error.reason)}) for {url}.") from error
        raise _Broken(f"the server answers {error.code}") from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(cause := getattr(error, "reason", None), _Elsewhere):
            raise UserError(f"the server that answers for {url} {cause}; nothing of it is fetched.") from error
        clause = getattr(cause or error, "strerror", None) or cause or error
        raise _Broken(_phrase(clause) or type(error).__name__) from error
    with response:
        start, announced = _announced(response)
        if size is not None and announced not in (None, size):
            raise UserError(
                f"{url} announces {announced:,} bytes where {size:,} are known; it is another file, or the mirror is "
                "wrong."
            )
        if start not in (0, kept):
            part.unlink(missing_ok=True)
            raise _Broken("the server sends another range than asked for")
        expected = announced if size is None else size
        require_space(part.parent, (expected or 0) - start, "download")
        done = start
        with part.open("ab" if start else "wb") as file:
            while block := _read(response):
                done += len(block)
                if expected is not None and done > expected:
                    break
                file.write(block)
                if progress:
                    progress(done, expected)
    if expected is not None and done > expected:
        part.unlink()
        raise UserError(f"{url} sends more than the {expected:,} bytes announced; nothing of it is kept.")
    if expected is not None and done < expected:
        raise _Broken(f"the connection ended at byte {done:,} of {expected:,}")


def _open(url: str, start: int) -> http.client.HTTPResponse:
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{url} is no address to fetch from; it must begin with https:// or http://.")
    headers = {"User-Agent": "parallel-ser", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = urllib.request.build_opener(_Redirects)
    response: http.client.HTTPResponse = opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    return response


class _Elsewhere(Exception):
    """Where a server sends on to that is not gone to; a clause."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Goes where a server sends on to, but not from https to what anybody on the way can change."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """See urllib."""
        allowed = ("https:",) if req.full_url.lower().startswith("https:") else ("https:", "http:")
        if not newurl.lower().startswith(allowed):
            raise urllib.error.URLError(
                _Elsewhere(f"sends on to {_phrase(newurl)}, which is no {allowed[0]}// address")
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _phrase(told: object) -> str:
    """What a server says, of which not all need be a sentence."""
    text = printable(" ".join(str(told).split()))
    return text if len(text) <= 200 else f"{text[:199]}…"


def _announced(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The first byte that the answer holds, and the size of the whole file where it is told."""
    if response.status == 206:
        told = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if told is None:
            return -1, None
        return int(told[1]), None if told[3] == "*" else int(told[3])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_phrase(error) or type(error).__name__) from error


def require_space(folder: Path, size: int, verb: str) -> None:
    """Refuse to begin what the disk has no room for, ``size`` in bytes."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(f"{folder} has {_mb(free)} free and {_mb(size)} are needed to {verb}; make room there.")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
