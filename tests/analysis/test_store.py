"""A store of sessions: what is forgotten is in no byte of it, and nobody else's is gone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from parallel_ser.analysis.series import series
from parallel_ser.analysis.store import Store, Stored
from parallel_ser.errors import UserError


def session(date: str, secret: str, outputs: tuple[str, ...] = ()) -> Stored:
    return Stored(date, "free speech", f"{secret}.wav", f"digest-{secret}", {"note": secret * 50}, outputs)


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_sessions_come_back_by_date_and_one_recording_is_one_session(tmp_path: Path) -> None:
    store = Store(tmp_path / "people.sqlite")
    assert store.sessions("anna") == []
    for date in ("2026-02-01", "2026-01-01"):
        store.add("anna", session(date, f"secret-{date}", (f"/out/{date}",)))
    again = session("2026-01-02", "secret-2026-01-01", ("/other",))
    store.add("anna", again)
    found = store.sessions("anna")
    assert [one.date for one in found] == ["2026-01-02", "2026-02-01"]
    assert found[0].outputs == ("/other", "/out/2026-01-01")
    assert (tmp_path / "people.sqlite").stat().st_mode & 0o077 == 0


def test_forgetting_leaves_no_byte(tmp_path: Path) -> None:
    store, written = Store(tmp_path / "people.sqlite"), tmp_path / "out" / "anna" / "report.html"
    written.parent.mkdir(parents=True)
    written.write_text("secret-anna-page")
    linked = tmp_path / "link"
    linked.hardlink_to(written)  # what the file held is overwritten, not only unlinked
    for number in range(40):
        store.add("anna-k-17", session(f"2026-01-{1 + number % 28:02}", f"secret-anna-{number}", (str(written),)))
        store.add("bert", session(f"2026-01-{1 + number % 28:02}", f"secret-bert-{number}"))
    assert b"secret-anna" in everything(tmp_path)
    assert store.forget("anna-k-17") == (40, 1)
    left = everything(tmp_path)
    assert b"anna" not in left
    assert left.count(b"secret-bert-39") > 0
    assert len(store.sessions("bert")) == 40
    assert not written.parent.exists()
    assert store.forget("bert") == (40, 0)
    assert not store.path.exists()


def test_who_is_not_known_is_not_forgotten_silently(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="knows no person 'carl'"):
        Store(tmp_path / "people.sqlite").forget("carl")


@pytest.mark.parametrize(
    ("column", "value"), [("summary", "{bad"), ("summary", "[]"), ("outputs", "5"), ("outputs", "[1]")]
)
def test_a_session_that_another_program_wrote_is_said(tmp_path: Path, column: str, value: str) -> None:
    store = Store(tmp_path / "people.sqlite")
    store.add("anna", session("2026-01-01", "secret"))
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute(f"UPDATE sessions SET {column} = ?", (value,))
    for use in (store.sessions, store.forget):
        with pytest.raises(UserError, match="holds a session of 'anna' that this version did not write"):
            use("anna")
    store.add("bert", session("2026-01-01", "other"))
    with pytest.raises(UserError, match="does not hold what an analysis keeps"):
        series("bert", store.sessions("bert"), "digest-other")


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "people.sqlite").write_text("not a database, and longer than a header of one hundred bytes" * 9)
    with pytest.raises(UserError, match="store of sessions"):
        Store(tmp_path / "people.sqlite").sessions("anna")
