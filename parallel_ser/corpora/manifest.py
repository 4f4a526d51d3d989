"""A corpus of one's own, listed in a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from parallel_ser.corpora.base import Corpus, Sex, Utterance
from parallel_ser.corpora.labels import SEVEN, canonical, present
from parallel_ser.errors import UserError

REQUIRED = ("path", "speaker", "emotion")
OPTIONAL = ("sex", "text", "corpus", "duration")

_SEXES: Mapping[str, Sex] = MappingProxyType(
    {"": "unknown", "unknown": "unknown", "f": "female", "female": "female", "m": "male", "male": "male"}
)


def read(root: Path) -> Corpus:
    """Read a CSV file (UTF-8, comma-separated) with a header line.

    Columns: ``path`` (relative to the CSV file), ``speaker`` and ``emotion``; optional ``sex`` (female, male, unknown),
    ``text``, ``corpus`` and ``duration`` (seconds); any other column goes to the utterance's ``fields``. Known
    spellings of an emotion become one word (Angry, ANG and anger are all ``anger``); a word that is not known is kept
    in lower case. Speakers are taken to be different people when their ``corpus`` differs. The order is the file's.

    Raises:
        UserError: with file and line: no such file, a column or a cell missing, a recording that is not there or that
            is listed twice.
    """
    root = root.expanduser()
    if not root.is_file():
        trouble = "is not a file" if root.exists() else "does not exist"
        raise UserError(f"manifest: {root} {trouble}; expected a CSV file with the columns {', '.join(REQUIRED)}.")
    utterances = tuple(_rows(root))
    if not utterances:
        raise UserError(f"manifest: {root} lists no recordings below its header.")
    emotions = {utterance.emotion for utterance in utterances}
    order = (*SEVEN, *sorted(emotions - set(SEVEN)))
    return Corpus("manifest", utterances, present(order, emotions))


def _rows(file: Path) -> Iterator[Utterance]:
    lines: dict[Path, int] = {}
    try:
        # utf-8-sig: spreadsheets put a byte-order mark before the first column's name.
        with file.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.reader(stream, strict=True)
            columns = [name.strip() for name in next(table, [])]
            _check_header(file, columns)
            for cells in table:
                if any(cell.strip() for cell in cells):
                    utterance = _utterance(file, f"{file} line {table.line_num}", columns, cells)
                    first = lines.setdefault(utterance.path.resolve(), table.line_num)
                    if first != table.line_num:
                        raise UserError(
                            f"manifest: {file} line {table.line_num} lists {utterance.path}, which line {first} has "
                            "already; list each recording once."
                        )
                    yield utterance
    except UnicodeDecodeError as error:
        raise UserError(f"manifest: {file} is not text in UTF-8; save it as 'CSV UTF-8'.") from error
    except csv.Error as error:
        raise UserError(f"manifest: {file} line {table.line_num} is not valid CSV ({error}).") from error
    except OSError as error:
        raise UserError(f"manifest: cannot read {file}: {error.strerror}.") from error


def _check_header(file: Path, columns: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        found = ", ".join(columns) or "nothing"
        raise UserError(
            f"manifest: {file} line 1 lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: found {found}; "
            f"needed are {', '.join(REQUIRED)}, separated by commas."
        )
    if len(set(columns)) < len(columns):
        raise UserError(f"manifest: {file} line 1 names a column twice: {', '.join(columns)}.")


def _utterance(file: Path, where: str, columns: list[str], cells: list[str]) -> Utterance:
    if len(cells) != len(columns):
        raise UserError(
            f"manifest: {where} has {len(cells)} cells where the header has {len(columns)} columns; "
            "put quotes around a cell that holds a comma."
        )
    row = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
    for name in REQUIRED:
        if not row[name]:
            raise UserError(f"manifest: {where} has no {name}; every recording needs {', '.join(REQUIRED)}.")
    for name in ("speaker", "emotion", "corpus"):
        if not row.get(name, "").isprintable():
            raise UserError(f"manifest: {where}: {name} holds characters that do not print ({row[name]!r}).")
    path = file.parent / Path(row["path"]).expanduser()
    if not path.is_file():
        raise UserError(f"manifest: {where}: there is no file {path}; paths are relative to the CSV file's folder.")
    sex = _SEXES.get(row.get("sex", "").casefold())
    if sex is None:
        raise UserError(f"manifest: {where}: sex '{row['sex']}' is not one of female, male, unknown.")
    corpus = row.get("corpus") or "manifest"
    speaker = row["speaker"] if row["speaker"].startswith(f"{corpus}-") else f"{corpus}-{row['speaker']}"
    own = {name: cell for name, cell in row.items() if name not in REQUIRED + OPTIONAL}
    return Utterance(
        path=path,
        corpus=corpus,
        speaker=speaker,
        sex=sex,
        emotion=canonical(row["emotion"]) or row["emotion"].casefold(),
        text=row.get("text", ""),
        duration=_duration(where, row.get("duration", "")),
        fields=own,
    )


def _duration(where: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise UserError(f"manifest: {where}: duration '{cell}' is not a positive number of seconds.")
    return seconds
