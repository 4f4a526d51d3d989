"""A person's sessions in one SQLite file on this machine, from which all of a person can be erased."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallel_ser.errors import UserError
from parallel_ser.system.files import plain

_TABLE = """
CREATE TABLE IF NOT EXISTS sessions (
    person TEXT NOT NULL, date TEXT NOT NULL, task TEXT NOT NULL, file TEXT NOT NULL, digest TEXT NOT NULL,
    summary TEXT NOT NULL, outputs TEXT NOT NULL, PRIMARY KEY (person, digest)
)
"""


_COLUMNS = "date, task, file, digest, summary, outputs"


@dataclass(frozen=True)
class Stored:
    """One session of a person.

    Attributes:
        date: ISO 8601, such as 2026-03-01.
        task: what the person was asked to do, such as ``free`` or ``read``.
        file: name of the recording, without folders.
        digest: of the recording's bytes: analysed again, it takes the place of what was there.
        summary: plain data of the analysis.
        outputs: files that were written of it, in full.
    """

    date: str
    task: str
    file: str
    digest: str
    summary: dict[str, Any]
    outputs: tuple[str, ...]


def default_path() -> Path:
    """``$PARALLEL_SER_STORE``, else ``parallel-ser/people.sqlite`` below the user's data folder (XDG)."""
    if own := os.environ.get("PARALLEL_SER_STORE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_DATA_HOME")
    return (Path(shared) if shared else Path.home() / ".local" / "share") / "parallel-ser" / "people.sqlite"


class Store:
    """The sessions of all people in a file that only its owner can read.

    Raises:
        UserError: the file is none of this, or cannot be opened.
    """

    def __init__(self, path: Path):
        self.path = path

    def add(self, person: str, session: Stored) -> None:
        """Keep a session of a person; files that an earlier analysis of the recording wrote stay known."""
        values = (person, session.date, session.task, session.file, session.digest)
        before = [one.outputs for one in self.sessions(person) if one.digest == session.digest]
        outputs = sorted({*session.outputs, *(path for paths in before for path in paths)})
        plain = (json.dumps(session.summary), json.dumps(outputs))
        with self._opened() as database:
            database.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, *plain))

    def sessions(self, person: str) -> list[Stored]:
        """Of a person, in the order of their dates."""
        if not self.path.exists():
            return []
        with self._opened() as database:
            query = f"SELECT {_COLUMNS} FROM sessions WHERE person = ? ORDER BY date, file"
            rows = database.execute(query, (person,)).fetchall()
        try:
            return [_stored(*row) for row in rows]
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{self.path} holds a session of {person!r} that this version did not write ({error}): name another "
                "store, or delete this one and what it names."
            ) from error

    def forget(self, person: str) -> tuple[int, int]:
        """Erase all of a person: rows, the pages that held them, and the files that were written of them.

        Returns:
            The sessions and the files that are gone.

        Raises:
            UserError: nothing is known of the person, or something could not be erased.
        """
        known = self.sessions(person)
        if not known:
            raise UserError(f"{self.path} knows no person {person!r}: nothing was erased.")
        files = 0
        for output in sorted({Path(one) for session in known for one in session.outputs}):
            files += _erased(output)
        with self._opened() as database:
            database.execute("DELETE FROM sessions WHERE person = ?", (person,))
            left = database.execute("SELECT COUNT(*) FROM sessions").fetchone()[0]
        if left:
            with self._opened() as database:
                database.isolation_level = None
                database.execute("VACUUM")
        else:
            _erased(self.path)
        self._require_gone(person)
        return len(known), files

    def _require_gone(self, person: str) -> None:
        word = person.encode()
        beside = [self.path, *(Path(f"{self.path}{suffix}") for suffix in ("-journal", "-wal", "-shm"))]
        for path in beside:
            # a short name may be part of another word: then the rows alone tell
            if path.exists() and len(word) > 7 and word in path.read_bytes():
                raise UserError(f"{path} still holds {person!r}, perhaps as a part of another name: look into it.")
        if self.sessions(person):
            raise UserError(f"{self.path} still holds sessions of {person!r}: another program may be writing it.")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            with closing(sqlite3.connect(plain(self.path), timeout=30)) as database, database:
                # what is deleted is overwritten, and no journal with the pages as they were is left on the disk
                database.execute("PRAGMA secure_delete = ON")
                database.execute("PRAGMA journal_mode = MEMORY")
                database.execute(_TABLE)
                yield database
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"cannot use {self.path} as a store of sessions: {error}.") from error


def _stored(date: str, task: str, file: str, digest: str, summary: str, outputs: str) -> Stored:
    kept, files = json.loads(summary), json.loads(outputs)
    if not isinstance(kept, dict):
        raise ValueError("its summary is none")
    if not isinstance(files, list) or not all(isinstance(one, str) for one in (date, task, file, digest, *files)):
        raise ValueError("its files are none")
    return Stored(date, task, file, digest, kept, tuple(files))


def _erased(path: Path) -> int:
    """Overwrite and remove a file, and its folder once it is empty; whether it was there."""
    try:
        with path.open("r+b") as file:
            size = path.stat().st_size
            while file.tell() < size:
                file.write(bytes(min(1 << 20, size - file.tell())))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise UserError(f"cannot erase {path}: {error.strerror or error}.") from error
    try:
        path.parent.rmdir()
    except OSError:
        return 1  # there is something else in it
    return 1
