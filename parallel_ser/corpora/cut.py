"""Utterances that a list names as parts of recordings, cut into files of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from parallel_ser.corpora.content import RecordingError, blocks
from parallel_ser.corpora.manifest import WHOLE, seconds
from parallel_ser.corpora.table import Finder, rows
from parallel_ser.errors import UserError
from parallel_ser.system.csv_text import csv_text
from parallel_ser.system.files import require_writable, write_atomic, write_text

LIST = "utterances.csv"
_BLOCK = 10.0  # seconds that are decoded at a time
_FIELDS = ("recording", "from_s", "to_s")


@dataclass(frozen=True)
class Part:
    """A row of the list: what it says beside path and times, where it stands, and its times in seconds."""

    cells: Mapping[str, str]
    where: str
    line: int
    start: float
    end: float | None


def cut(
    file: Path, folder: Path, advance: Callable[[int, int], None] = lambda done, total: None
) -> tuple[int, list[str]]:
    """Cut what a CSV file lists (``path``, ``start``, ``end`` in seconds) into WAV files in ``folder``.

    ``folder/utterances.csv`` lists them with all other columns, and with ``recording``, ``from_s`` and ``to_s``. A row
    without times is the whole recording. Samples stay as they are: 16 bits where those hold them, else 32-bit floats.

    Args:
        file: the list; paths are relative to it.
        folder: where the files go; new, or without a list.
        advance: is told how many recordings are done, and of how many.

    Returns:
        how many utterances were cut, and a sentence for each recording or row of which none could be.

    Raises:
        UserError: the list cannot be read, ``folder`` has a list already, or nothing could be cut.
    """
    if (folder / LIST).exists():
        raise UserError(f"{folder / LIST} is there already; name another folder.")
    require_writable(folder)
    finder, recordings, failed = Finder(file.parent), dict[Path, list[Part]](), list[str]()
    for row in rows(file, "corpus cut", ("path",)):
        path = finder(row.cells["path"])
        if path is None:
            failed.append(f"{row.where}: there is no {row.cells['path']}.")
            continue
        try:
            times = [seconds(row.cells.get(name, ""), row.where, name) for name in ("start", "end")]
        except UserError as error:
            failed.append(str(error))
            continue
        start, end = times[0] or 0.0, times[1]
        if end is not None and end <= start:
            failed.append(f"{row.where}: it ends at {end:g} s and begins at {start:g} s.")
            continue
        cells = {name: text for name, text in row.cells.items() if name not in ("path", "start", "end")}
        recordings.setdefault(path, []).append(Part(cells, row.where, row.line, start, end))
    folder.mkdir(parents=True, exist_ok=True)
    listed: list[tuple[int, dict[str, str]]] = []
    for number, (path, parts) in enumerate(recordings.items()):
        advance(number, len(recordings))
        try:
            for part, samples, rate in _pieces(path, parts):
                if len(samples) == 0 or (part.end or 0.0) > part.start + len(samples) / rate + WHOLE:
                    failed.append(f"{part.where}: {path} ends before {part.end or part.start:g} s.")
                    continue
                name = f"{part.line:06d}-{path.stem}.wav"
                write_atomic(folder / name, partial(_write, samples=samples, rate=rate))
                to = part.start + len(samples) / rate
                origin = dict(zip(_FIELDS, (str(path), f"{part.start:g}", f"{to:.6g}"), strict=True))
                listed.append((part.line, {"path": name, **part.cells, **origin}))
        except RecordingError as error:
            failed.append(str(error))
    advance(len(recordings), len(recordings))
    if not listed:
        raise UserError(f"nothing of {file} could be cut: {failed[0] if failed else 'it lists no recordings.'}")
    write_text(folder / LIST, _table([cells for _, cells in sorted(listed, key=lambda one: one[0])]))
    return len(listed), failed


def _pieces(path: Path, parts: Sequence[Part]) -> Iterator[tuple[Part, NDArray[np.float32], int]]:
    """Each part with its samples ``(frames, channels)`` and their rate, decoding the recording once, block by block."""
    waiting = sorted(parts, key=lambda part: part.start)
    begun: list[tuple[Part, list[NDArray[np.float32]]]] = []
    at, rate = 0, 0
    for samples, rate in blocks(path, _BLOCK):
        after = at + len(samples)
        while waiting and round(waiting[0].start * rate) < after:
            begun.append((waiting.pop(0), []))
        going, begun = begun, []
        for part, pieces in going:
            end = None if part.end is None else round(part.end * rate)
            pieces.append(samples[max(0, round(part.start * rate) - at) : None if end is None else end - at].copy())
            if end is not None and end <= after:
                yield part, np.concatenate(pieces), rate
            else:
                begun.append((part, pieces))
        at = after
    yield from ((part, np.concatenate(pieces), rate) for part, pieces in begun)
    yield from ((part, np.empty((0, 1), np.float32), rate) for part in waiting)


def _write(out: BinaryIO, samples: NDArray[np.float32], rate: int) -> None:
    import soundfile

    whole = samples.astype(np.float64) * 32768
    if (whole == np.rint(whole)).all() and whole.max(initial=0.0) <= 32767:
        soundfile.write(out, whole.astype(np.int16), rate, format="WAV", subtype="PCM_16")
    else:
        soundfile.write(out, samples, rate, format="WAV", subtype="FLOAT")


def _table(records: Sequence[Mapping[str, str]]) -> str:
    titles = list(dict.fromkeys(name for record in records for name in record))
    return csv_text([titles, *([record.get(name) for name in titles] for record in records)])
