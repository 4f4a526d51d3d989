"""Reading lists of recordings: CSV files that spreadsheets, scripts and other tools write."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from parallel_ser.errors import UserError
from parallel_ser.system.files import plain

ALIASES: Mapping[str, str] = {
    "file": "path",
    "filename": "path",
    "gender": "sex",
    "transcription": "text",
    "transcript": "text",
}
"""Columns of other tools' lists (nkululeko's, audformat's), by the name that they have here."""


class NoColumnError(UserError):
    """A table that lacks columns.

    Attributes:
        missing: those that it lacks.
        found: those that it has.
    """

    def __init__(self, message: str, missing: Sequence[str], found: Sequence[str]) -> None:
        super().__init__(message)
        self.missing, self.found = tuple(missing), tuple(found)


@dataclass(frozen=True)
class Row:
    """One line of a table: its cells by column, and where it stands, for messages."""

    cells: Mapping[str, str]
    where: str
    line: int


def rows(file: Path, what: str, required: Sequence[str]) -> Iterator[Row]:
    """The lines of a CSV file in UTF-8, with commas, semicolons or tabs, below its header; empty ones are passed over.

    A column that ``ALIASES`` knows goes under its name here, unless the table has that, too.

    Args:
        file: the table.
        what: begins an error's sentence.
        required: columns without which it is refused.

    Raises:
        UserError: with file and line: it cannot be read, is no CSV in UTF-8, or lacks a column or a cell.
    """
    try:
        # utf-8-sig: spreadsheets put a byte-order mark before the first column's name.
        with plain(file).open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = max(",;\t", key=first.count)
            table = csv.reader(stream, strict=True, delimiter=delimiter)
            columns = _columns(file, what, _filled(next(table, [])), required)
            for written in table:
                if not _filled(written):
                    continue
                cells = _filled(written, len(columns))
                where = f"{what}: {file} line {table.line_num}"
                if len(cells) != len(columns):
                    raise UserError(
                        f"{where} has {len(cells)} cells where the header has {len(columns)} columns; "
                        "put quotes around a cell that holds a comma."
                    )
                yield Row(dict(zip(columns, map(_cell, columns, cells), strict=True)), where, table.line_num)
    except UnicodeDecodeError as error:
        raise UserError(f"{what}: {file} is not text in UTF-8; save it as 'CSV UTF-8'.") from error
    except csv.Error as error:
        raise UserError(f"{what}: {file} line {table.line_num} is not valid CSV ({error}).") from error
    except OSError as error:
        raise UserError(f"{what}: cannot read {file}: {error.strerror}.") from error


def _filled(cells: Sequence[str], count: int = 0) -> list[str]:
    """The cells without empty ones at the end, as spreadsheets write them, down to a number."""
    texts = [cell.strip() for cell in cells]
    while len(texts) > count and not texts[-1]:
        texts.pop()
    return texts


def _cell(column: str, text: str) -> str:
    """A cell with composed letters, so that one name is one; of a path the folder decides, see ``Finder``."""
    return text if column == "path" else unicodedata.normalize("NFC", text)


def _columns(file: Path, what: str, written: list[str], required: Sequence[str]) -> list[str]:
    columns: list[str] = []
    for name in written:
        folded = name.casefold()
        known = ALIASES.get(folded, folded if folded in (*required, *ALIASES.values()) else name)
        columns.append(name if known in written or known in columns else known)
    missing = [name for name in required if name not in columns]
    if missing:
        raise NoColumnError(
            f"{what}: {file} line 1 lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: found "
            f"{', '.join(written) or 'nothing'}; needed are {', '.join(required)}, separated by commas.",
            missing,
            written,
        )
    if len(set(columns)) < len(columns):
        raise UserError(f"{what}: {file} line 1 names a column twice: {', '.join(columns)}.")
    return columns


@dataclass
class Finder:
    """Finds the files that a list names, also where it was written on another system.

    Windows writes backslashes; a Mac decomposes letters (``ü`` becomes ``u`` and a mark), so that one name has two
    spellings in Unicode. A file of the very name goes before one of another spelling.

    Attributes:
        folder: which relative paths count from.
    """

    folder: Path
    _listings: dict[Path, dict[str, list[str]]] = field(default_factory=dict)

    def __call__(self, written: str) -> Path | None:
        """The file of a written path, or None."""
        for text in dict.fromkeys((written, written.replace("\\", "/"))):
            path = self.folder / Path(text).expanduser()
            if found := next((one for one in chain([path], self._respelled(path)) if one.is_file()), None):
                return found
        return None

    def _respelled(self, path: Path) -> Iterator[Path]:
        """The path in each spelling that is there of each of its parts, from ``folder`` on."""
        if path == self.folder or path.parent == path:
            yield path
            return
        for parent in self._respelled(path.parent):
            for name in self._names(parent).get(unicodedata.normalize("NFC", path.name), ()):
                yield parent / name

    def _names(self, folder: Path) -> dict[str, list[str]]:
        """The folder's entries by their composed name."""
        if folder not in self._listings:
            names: dict[str, list[str]] = {}
            try:
                entries = sorted(os.listdir(folder))
            except OSError:  # no folder, or one that may not be read
                entries = []
            for entry in entries:
                names.setdefault(unicodedata.normalize("NFC", entry), []).append(entry)
            self._listings[folder] = {**names, "..": [".."]}
        return self._listings[folder]
