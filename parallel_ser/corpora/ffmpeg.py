"""What libsndfile does not read (M4A, WebM, WMA, videos …) through the program ffmpeg, where it is installed."""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from threading import Timer
from typing import IO

import numpy as np
from numpy.typing import NDArray

from parallel_ser.corpora.content import EmptyError, RecordingError, UndecodableError

SECONDS = 300
"""Time after which a conversion is given up."""

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,amr,amrnb,amrwb,avi,flv,ogg"  # no playlists, which name other files
)
_AU_FLOAT = 6
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_CHUNK = 2**20
_BROKEN = ("prematurely", "partial file", "truncat", "invalid data", "error while decoding", "moov atom not found")
"""What ffmpeg says of a file that breaks off or is damaged, of which it decodes the rest."""


def container(begins: bytes) -> str:
    """The kind of file by its first 64 bytes, where ffmpeg is needed to read it; empty for others.

    >>> container(b"\\x00\\x00\\x00\\x20ftypM4A "), container(b"RIFF\\x24\\x00\\x00\\x00WAVEfmt ")
    ('MP4 (M4A)', '')
    """
    if begins[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "MP4 (M4A)"
    if begins.startswith(b"RIFF") and begins[8:11] == b"AVI":
        return "AVI"
    if begins.startswith(b"OggS") and b"Speex" in begins:
        return "Speex"
    if len(begins) > 1 and begins[0] == 0xFF and begins[1] & 0xF6 == 0xF0:  # a frame of ADTS; MP3 has a layer
        return "AAC"
    starts = {
        b"\x1a\x45\xdf\xa3": "Matroska (WebM)",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "ASF (WMA)",
        b"#!AMR": "AMR",
        b"FLV\x01": "FLV",
    }
    return next((name for start, name in starts.items() if begins.startswith(start)), "")


def conversion(path: Path) -> str:
    """The command that makes a WAV file of a recording beside it."""
    target = path.with_suffix(".wav") if path.suffix.lower() != ".wav" else path.with_name(f"{path.stem}-converted.wav")
    return f"ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(target))}"


def decode(path: Path, kind: str, accept: Callable[[int, int], None]) -> tuple[NDArray[np.float32], int]:
    """Samples ``(frames, channels)`` and sample rate in Hz of a file's first sound, as ``content.decode`` gives them.

    Args:
        path: of the file.
        kind: as ``container`` names it.
        accept: is given the frames and the rate; what it refuses is not held in memory.

    Raises:
        UndecodableError: ffmpeg is not installed, or does not make sound of the whole file in time.
    """
    command = _command(path, kind)
    with TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        timer = Timer(SECONDS, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            samples, rate, refusal = _read(process.stdout, accept)
            late = process.wait() < 0
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        said.seek(0)
        words = said.read().decode(errors="replace").lower()
    if late:
        raise UndecodableError(f"{path} takes ffmpeg more than {SECONDS} s to convert; cut it into utterances.")
    _require_sound(path, kind, words, rate != 0 and not process.returncode)
    if refusal is not None:
        raise refusal
    if len(samples) == 0:
        raise EmptyError(f"{path} holds no samples; leave it out or record it again.")
    return samples, rate


def blocks(path: Path, kind: str, seconds: float) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Samples ``(frames, channels)`` and rate of a file's first sound in blocks of so many seconds.

    Raises:
        UndecodableError: as ``decode``; where the file breaks off, after what is there of it.
    """
    with TemporaryFile() as said:
        process = subprocess.Popen(_command(path, kind), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        try:
            assert process.stdout is not None
            rate, channels = _header(process.stdout)
            count = 0
            size = max(1, round(seconds * rate)) * 4 * channels
            while rate and (part := _filled(process.stdout, size)):
                whole = part[: len(part) - len(part) % (4 * channels)]
                samples = np.frombuffer(whole, ">f4").astype(np.float32).reshape(-1, channels)
                count += len(samples)
                yield samples, rate
            process.wait()
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        said.seek(0)
        words = said.read().decode(errors="replace").lower()
    _require_sound(path, kind, words, rate != 0 and not process.returncode)
    if count == 0:
        raise EmptyError(f"{path} holds no samples; leave it out or record it again.")


def _command(path: Path, kind: str) -> list[str | bytes]:
    """What writes a file's first sound to its output as AU.

    Raises:
        UndecodableError: ffmpeg is not installed.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise UndecodableError(
            f"{path} is {kind}, which the program ffmpeg reads and which is not installed: install it, or convert the "
            f"file where it is: {conversion(path)}"
        )
    command: list[str | bytes] = [program, "-nostdin", "-hide_banner", "-v", "error", "-threads", "1"]
    command += ["-protocol_whitelist", "file,pipe", "-format_whitelist", _FORMATS]
    source = b"file:" + os.fsencode(path.absolute())  # also where the name looks like an option or an address
    return [*command, "-i", source, "-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]


def _require_sound(path: Path, kind: str, words: str, whole: bool) -> None:
    """Refuse a file of which ffmpeg says in ``words`` that something is wrong with it."""
    if "matches no streams" in words:
        raise UndecodableError(f"{path} is {kind} without sound; leave it out.")
    broken = not whole or any(word in words for word in _BROKEN)
    if broken or (kind.startswith("ASF") and _asf_breaks_off(path)):
        raise UndecodableError(f"{path} is {kind} that is damaged or truncated; copy or convert it again.")


def _filled(stream: IO[bytes], size: int) -> bytes:
    """So many bytes of a pipe, or what is left of it."""
    parts, missing = [], size
    while missing and (part := stream.read(min(missing, _CHUNK))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _asf_breaks_off(path: Path) -> bool:
    """Whether an ASF file is shorter than its header says (section 3.2 of its specification), of which ffmpeg is mute.

    The properties are a GUID, the object's size, the file's GUID, the file's size, …, and flags: 1 is a broadcast's.
    """
    with path.open("rb") as file:
        head = file.read(2**16)
    start = head.find(_ASF_PROPERTIES)
    if start < 0 or len(head) < start + 92:
        return True
    size, flags = struct.unpack_from("<Q40xI", head, start + 40)
    return not flags & 1 and path.stat().st_size < size


def _read(
    stream: IO[bytes], accept: Callable[[int, int], None]
) -> tuple[NDArray[np.float32], int, RecordingError | None]:
    """Samples and rate of an AU stream, and why they are refused; a rate of 0 where the stream is none."""
    rate, channels = _header(stream)
    if not rate:
        return np.empty((0, 1), np.float32), 0, None
    parts: list[bytes] = []
    size, refusal = 0, None
    while part := stream.read(_CHUNK):
        size += len(part)
        if refusal is None:
            parts.append(part)
        try:
            accept(size // (4 * channels), rate)
        except RecordingError as error:  # of the length so far; the last one knows the whole
            refusal = error
            parts.clear()
    whole = b"".join(parts)
    samples = np.frombuffer(whole[: len(whole) - len(whole) % (4 * channels)], ">f4").astype(np.float32)
    return samples.reshape(-1, channels), rate, refusal


def _header(stream: IO[bytes]) -> tuple[int, int]:
    """Rate and channels of an AU stream, whose samples come next; a rate of 0 where it is none."""
    header = stream.read(24)
    if len(header) < 24:
        return 0, 1
    magic, offset, _, encoding, rate, channels = struct.unpack(">4s5I", header)
    if magic != b".snd" or encoding != _AU_FLOAT or not rate or not channels:
        return 0, 1
    stream.read(offset - 24)
    return rate, channels
