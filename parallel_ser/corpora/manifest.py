"""A corpus of one's own, listed in a CSV file."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from parallel_ser.corpora.base import Corpus, NoCorpusError, Problem, Sex, Utterance
from parallel_ser.corpora.labels import SEVEN, canonical, present
from parallel_ser.corpora.table import Finder, NoColumnError, Row, rows
from parallel_ser.errors import UserError

REQUIRED = ("path", "speaker", "emotion")
OPTIONAL = ("sex", "text", "corpus", "duration")
DIMENSIONS = frozenset({"arousal", "activation", "valence", "dominance"})
WHOLE = 0.05
"""Seconds by which a segment that is the whole file may differ from it: other tools round."""

_SEXES: Mapping[str, Sex] = MappingProxyType(
    {
        **dict.fromkeys(("f", "female"), "female"),
        **dict.fromkeys(("m", "male"), "male"),
        **dict.fromkeys(("", "unknown", "other", "nan", "none"), "unknown"),
    }
)


def read(root: Path) -> Corpus:
    """Read a CSV file (UTF-8) with a header line.

    Columns: ``path`` (relative to the CSV file), ``speaker`` and ``emotion``; optional ``sex`` (female, male, unknown),
    ``text``, ``corpus`` and ``duration`` (seconds); any other column goes to the utterance's ``fields``. The names that
    nkululeko and audformat have for them are known (``table.ALIASES``). ``start`` and ``end`` must be those of the
    whole file: an utterance is a file of its own. Paths may be written on another system (``table.Finder``). Known
    spellings of an emotion become one word (Angry, ANG and anger are all ``anger``); a word that is not known is kept
    in lower case. Speakers are taken to be different people when their ``corpus`` differs. The order is the file's.

    Raises:
        UserError: with file and line: no such file, a column or a cell missing, a recording that is listed twice or of
            which a part is listed; or none of the recordings is there. One that is not there is a problem.
    """
    root = root.expanduser()
    if not root.is_file():
        trouble = "is not a file" if root.exists() else "does not exist"
        raise NoCorpusError(f"manifest: {root} {trouble}; expected a CSV file with the columns {', '.join(REQUIRED)}.")
    try:
        entries = list(_rows(root))
    except NoColumnError as error:
        if "emotion" in error.missing and (found := sorted(DIMENSIONS & {name.casefold() for name in error.found})):
            raise UserError(
                f"manifest: {root} has {' and '.join(found)} and no column emotion: what is learned are categories, "
                "not dimensions; add a column emotion, such as high and low."
            ) from error
        raise
    if not entries:
        raise UserError(f"manifest: {root} lists no recordings below its header.")
    utterances = tuple(one for one in entries if isinstance(one, Utterance))
    problems = tuple(one for one in entries if isinstance(one, Problem))
    if not utterances:
        raise UserError(
            f"manifest: of the {len(problems)} recordings that {root} lists none is there, such as {problems[0].path}; "
            "paths are relative to the CSV file's folder."
        )
    emotions = {utterance.emotion for utterance in utterances}
    order = (*SEVEN, *sorted(emotions - set(SEVEN)))
    notes = alike(utterance.speaker for utterance in utterances)
    return Corpus("manifest", utterances, present(order, emotions), problems, notes)


def alike(speakers: Iterable[str]) -> tuple[str, ...]:
    """A note on speakers who are told apart by the case of letters alone, and so may be one on both sides of a split.

    >>> alike(["P1", "p2", "p1", "P1"])
    ('speakers P1, p1 differ in capitals alone and are taken for several people: spell them alike if they are one',)
    """
    spelled: dict[str, set[str]] = {}
    for speaker in speakers:
        spelled.setdefault(unicodedata.normalize("NFKC", speaker).casefold(), set()).add(speaker)
    return tuple(
        f"speakers {', '.join(sorted(same))} differ in capitals alone and are taken for several people: "
        "spell them alike if they are one"
        for same in spelled.values()
        if len(same) > 1
    )


def _rows(file: Path) -> Iterator[Utterance | Problem]:
    lines: dict[Path, int] = {}
    finder = Finder(file.parent)
    for row in rows(file, "manifest", REQUIRED):
        utterance = _utterance(row, finder)
        if isinstance(utterance, Problem):
            yield utterance
            continue
        first = lines.setdefault(utterance.path.resolve(), row.line)
        if first != row.line:
            raise UserError(
                f"{row.where} lists {utterance.path}, which line {first} has already; list each recording once."
            )
        yield utterance


def _utterance(row: Row, finder: Finder) -> Utterance | Problem:
    cells = row.cells
    for name in REQUIRED:
        if not cells[name]:
            raise UserError(f"{row.where} has no {name}; every recording needs {', '.join(REQUIRED)}.")
    for name in ("speaker", "emotion", "corpus"):
        if not cells.get(name, "").isprintable():
            raise UserError(f"{row.where}: {name} holds characters that do not print ({cells[name]!r}).")
    path = finder(cells["path"])
    if path is None:
        return Problem(
            finder.folder / cells["path"], "missing", f"listed in line {row.line}, but there is no such file"
        )
    require_whole(row, path)
    corpus = cells.get("corpus") or "manifest"
    speaker = cells["speaker"] if cells["speaker"].startswith(f"{corpus}-") else f"{corpus}-{cells['speaker']}"
    return Utterance(
        path=path,
        corpus=corpus,
        speaker=speaker,
        sex=sex_of(cells.get("sex", ""), row.where),
        emotion=canonical(cells["emotion"]) or cells["emotion"].casefold(),
        text=cells.get("text", ""),
        duration=_duration(row.where, cells.get("duration", "")),
        fields={name: cell for name, cell in cells.items() if name not in REQUIRED + OPTIONAL},
    )


def sex_of(word: str, where: str) -> Sex:
    """What a cell says of a speaker's sex; ``where`` it stands begins an error.

    Raises:
        UserError: the word is not known.
    """
    sex = _SEXES.get(word.casefold())
    if sex is None:
        raise UserError(f"{where}: sex '{word}' is not one of female, male, unknown.")
    return sex


def require_whole(row: Row, path: Path) -> None:
    """Refuse a row that lists a part of a file (audformat's segments).

    Raises:
        UserError: it does.
    """
    from parallel_ser.corpora.content import RecordingError  # numpy, which most manifests do not need

    start, end = (seconds(row.cells.get(name, ""), row.where, name) for name in ("start", "end"))
    if not start and end is None:
        return
    try:
        length = _length(path)
    except RecordingError:  # which is said where it is read
        return
    if start or abs(length - (end or length)) > WHOLE:
        raise UserError(
            f"{row.where} lists a part of {path} (from {start or 0:g} s to {length if end is None else end:g} s of "
            f"{length:.2f} s), and an utterance is a file of its own; parallel-ser corpus cut LIST.csv --to FOLDER "
            "cuts such parts out."
        )


def _length(path: Path) -> float:
    """Of a recording, in seconds."""
    import soundfile

    from parallel_ser.corpora.content import decode

    try:
        return float(soundfile.info(os.fsencode(path)).duration)
    except (soundfile.SoundFileError, TypeError):
        samples, rate = decode(path)
        return len(samples) / rate


def seconds(cell: str, where: str, name: str) -> float | None:
    """A time in seconds, or as pandas writes it (``0 days 00:00:01.898250``); None where there is none.

    Raises:
        UserError: it is no time; ``where`` it stands begins the sentence, ``name`` says of what.
    """
    if cell in ("", "NaT"):
        return None
    days, _, clock = cell.rpartition(" days")
    parts = (clock.strip() or "0").split(":")
    try:
        time = sum(float(part) * 60**power for power, part in enumerate(reversed(parts))) + 86400 * int(days or 0)
    except ValueError:
        time = math.nan
    if not (math.isfinite(time) and time >= 0) or len(parts) > 3:
        raise UserError(f"{where}: {name} '{cell}' is no time in seconds.")
    return time


def _duration(where: str, cell: str) -> float | None:
    time = seconds(cell, where, "duration")
    if time == 0:
        raise UserError(f"{where}: duration '{cell}' is no time in seconds above 0.")
    return time
