"""What the samples of a recording say, whatever its file is called and however it is coded."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parallel_ser.errors import UserError
from parallel_ser.system.files import other_kind

_LONGEST = 2**31
"""A header that claims more frames than this (37 hours at 16 kHz) is damaged, or of a stream of unknown length."""


LFS = b"version https://git-lfs.github.com/spec/"
"""Begins what Git leaves in place of a file that is stored elsewhere."""


_CONTAINERS = (b"RIFF", b"RIFX", b"RF64", b"OggS", b"caff", b"FORM")


class OutOfMemoryError(UserError):
    """A recording for which there is no memory: nothing is wrong with it, and it is not left out."""


class RecordingError(UserError):
    """Something wrong with one recording, without which others can be used.

    Attributes:
        kind: as in ``corpora.base.Problem``.
    """

    kind = "unusable"


class UndecodableError(RecordingError):
    """A file that is missing, empty, no audio, damaged or cut short."""

    kind = "undecodable"


class EmptyError(UndecodableError):
    """A file without one byte or without one sample."""

    kind = "empty"


class TooLongError(UndecodableError):
    """A recording that is longer than what reads it takes."""

    kind = "too long"


class TooShortError(RecordingError):
    """A recording that is shorter than what reads it takes."""

    kind = "too short"


class SilentError(RecordingError):
    """A recording without a sound."""

    kind = "silent"


class OutOfPhaseError(RecordingError):
    """A recording whose channels cancel each other."""

    kind = "out of phase"


class NonFiniteError(RecordingError):
    """A recording with samples that are no sound: NaN, infinite, or beyond all bounds."""

    kind = "non-finite"


def require_file(path: Path) -> None:
    """Refuse, before it is opened, what is no plain file: a pipe without a writer is awaited for ever.

    Raises:
        UndecodableError: it is none, or is not there.
    """
    try:
        kind = other_kind(path)
    except (OSError, ValueError) as error:
        raise UndecodableError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    if kind:
        raise UndecodableError(f"{path} is {kind} and not a recording; name a file.")


def decode(
    path: Path, accept: Callable[[int, int], None] = lambda frames, rate: None
) -> tuple[NDArray[np.float32], int]:
    """Samples ``(frames, channels)``, full scale ±1, and the sample rate in Hz.

    WAV, FLAC, OGG, MP3 and whatever else libsndfile reads; M4A, WebM, WMA and videos where ffmpeg is installed, see
    ``ffmpeg``. Silence and NaN are samples like others.

    Args:
        path: of the file.
        accept: is given the frames and the rate that the file's header promises, before anything is decoded; what it
            raises refuses the file. No more than what is promised is decoded.

    Raises:
        EmptyError: not one byte or not one sample is there.
        UndecodableError: nothing decodable is there, or less than the file promises.
        OutOfMemoryError: there is no memory for it.
    """
    import soundfile

    from parallel_ser.corpora import ffmpeg  # which needs the errors above

    begins = _begins(path)
    if kind := ffmpeg.container(begins):
        return ffmpeg.decode(path, kind, accept)
    with _decoding(path, begins):
        with soundfile.SoundFile(os.fsencode(path)) as file:
            promised, rate, container = _promised(path, file), file.samplerate, file.format
            accept(promised, rate)
            try:
                samples = file.read(dtype="float32", always_2d=True)
            except MemoryError as error:
                needed = 4 * promised * file.channels / 2**30
                raise OutOfMemoryError(
                    f"{path} takes {needed:.1f} GiB of memory to decode, which are not there: end other programs, use "
                    "fewer processes (run.jobs), or cut it into utterances."
                ) from error
            except soundfile.SoundFileError as error:
                raise UndecodableError(f"{path} is damaged or truncated; copy or convert it again.") from error
        short = _cut_short(path, container, promised - len(samples))
    _require_whole(path, short, len(samples), rate)
    return samples, rate


def blocks(path: Path, seconds: float) -> Iterator[tuple[NDArray[np.float32], int]]:
    """What ``decode`` gives, in blocks of so many seconds, so that memory does not grow with the recording.

    Raises:
        EmptyError, UndecodableError: as ``decode``; where the file breaks off, after what is there of it.
    """
    import soundfile

    from parallel_ser.corpora import ffmpeg

    begins = _begins(path)
    if kind := ffmpeg.container(begins):
        yield from ffmpeg.blocks(path, kind, seconds)
        return
    with _decoding(path, begins):
        with soundfile.SoundFile(os.fsencode(path)) as file:
            promised, rate, container, count = _promised(path, file), file.samplerate, file.format, 0
            if container in ("WAV", "WAVEX", "OGG") and promised and _cut_short(path, container, 0):
                raise UndecodableError(f"{path} is truncated; copy or convert it again.")
            while True:
                try:
                    samples = file.read(max(1, round(seconds * rate)), dtype="float32", always_2d=True)
                except soundfile.SoundFileError as error:
                    raise UndecodableError(f"{path} is damaged or truncated; copy or convert it again.") from error
                if not len(samples):
                    break
                count += len(samples)
                yield samples, rate
        short = _cut_short(path, container, promised - count)
    _require_whole(path, short, count, rate)


def _begins(path: Path) -> bytes:
    """The first bytes of a recording; refuses what is none."""
    require_file(path)
    try:
        with path.open("rb") as raw:
            begins = raw.read(64)
    except OSError as error:
        raise UndecodableError(f"cannot read {path}: {error.strerror or error}.") from error
    if not begins:
        raise EmptyError(f"{path} is empty (0 bytes); copy or convert it again.")
    if begins.startswith(LFS):
        raise UndecodableError(
            f"{path} is a Git LFS pointer and not the recording; git lfs pull in its folder fetches it."
        )
    return begins


@contextmanager
def _decoding(path: Path, begins: bytes) -> Iterator[None]:
    """What the libraries raise, as an error of ours."""
    import soundfile

    from parallel_ser.corpora import ffmpeg

    try:
        yield
    except OSError as error:
        raise UndecodableError(f"cannot read {path}: {error.strerror or error}.") from error
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a headerless .raw file
        cure = "; use WAV, FLAC, OGG or MP3."
        if begins.startswith(_CONTAINERS):  # WAV and its like hold sound in codings without number
            cure = (
                f": it is damaged, or its coding is not known; copy it again, or convert it: {ffmpeg.conversion(path)}"
            )
        raise UndecodableError(f"{path} cannot be decoded as audio{cure}") from error


def _promised(path: Path, file: Any) -> int:
    """The frames that a header promises."""
    promised = int(file.frames)
    if promised > _LONGEST:
        raise UndecodableError(f"{path} does not say how long it is; convert it again, to WAV or FLAC.")
    return promised


def _require_whole(path: Path, short: bool, frames: int, rate: int) -> None:
    if short:
        raise UndecodableError(
            f"{path} is truncated (it breaks off after {frames / rate:.2f} s); copy or convert it again."
        )
    if frames == 0:
        raise EmptyError(f"{path} holds no samples; leave it out or record it again.")


def _cut_short(path: Path, container: str, absent: int) -> bool:
    """Whether a file is truncated, of whose promised frames ``absent`` could not be read: 0 for many a stump."""
    match container:
        case "WAV" | "WAVEX":
            return absent > 0 or not _wav_complete(path)
        case "OGG":
            return absent > 0 or not _ogg_complete(path)
        case "MP3" | "MPEG":
            # Without the encoder's own count of frames, the length is estimated from the bit rate.
            with path.open("rb") as file:
                head = file.read(2**17)
            return absent > 0 and (b"Xing" in head or b"Info" in head)
    return absent > 0


def _wav_complete(path: Path) -> bool:
    """Whether the data chunk of a RIFF file ends within the file; a size of 0xFFFFFFFF (from a pipe) says nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "<" if file.read(12)[:4] == b"RIFF" else ">"
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack(f"{order}4sI", chunk)
            if name == b"data":
                return length == 0xFFFFFFFF or file.tell() + length <= size
            file.seek(length + length % 2, 1)
    return True


def _ogg_complete(path: Path) -> bool:
    """Whether the last page (RFC 3533, section 6) is whole: a head of 27 bytes, n lacing values, and their sum."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 2**17), 2)
        tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    return len(page) >= 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def audio_id(samples: NDArray[np.floating]) -> str:
    """A name for decoded audio: 32 hexadecimal digits, the same wherever the samples are the same.

    A WAV file and a FLAC copy of it share it, at 16 and at 24 bits, since float32 holds both exactly.

    Args:
        samples: ``(frames,)`` or ``(frames, channels)``; mono is the same in both shapes.
    """
    sound = np.asarray(samples, dtype="<f4")
    sound = sound[:, None] if sound.ndim == 1 else sound
    digest = hashlib.blake2b(repr(sound.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(sound + np.float32(0)).data)  # adding 0 makes -0.0 the same as 0.0
    return digest.hexdigest()


def cancels(samples: NDArray[np.floating]) -> bool:
    """Whether the channels of samples ``(frames, channels)`` cancel: their mean is 30 dB or more below them.

    So it is where one of two is the other with the sign turned, and no mono signal can be made of them by a mean.
    """
    if samples.shape[1] < 2:
        return False
    mean = samples.mean(axis=1, dtype=np.float64)
    return bool(np.square(mean).mean() < 1e-3 * np.square(samples, dtype=np.float64).mean())


def clipped_share(samples: NDArray[np.floating], full_scale: float = 0.98, run: int = 3) -> float:
    """Share of samples, 0 to 1, that lie in flat tops.

    A flat top is ``run`` or more samples in a row at exactly the channel's own highest or lowest value, where that
    value is near full scale. A peak that merely touches full scale is one sample, at most two, and does not count; a
    recording that was clipped and then made a little quieter does. 0.98 takes in 8-bit and mu-law coding, whose
    highest values are 0.992 and 0.980.

    Args:
        samples: ``(frames,)`` or ``(frames, channels)``, full scale being 1.
        full_scale: the extremes from which on flat tops are counted.
        run: samples in a row that make a flat top.
    """
    if samples.size == 0:
        return 0.0
    flat = 0
    for channel in samples.reshape(len(samples), -1).T:
        for extreme in {channel.max(), channel.min()}:
            if abs(extreme) >= full_scale:
                edges = np.flatnonzero(np.diff(channel == extreme, prepend=False, append=False))
                lengths = edges[1::2] - edges[::2]
                flat += int(lengths[lengths >= run].sum())
    return flat / samples.size
