"""Fetching, from a local server that breaks off, ignores ranges, lies and serves what it should not."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import re
import socket
import stat
import threading
import urllib.error
import urllib.request
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from parallel_ser.corpora import download
from parallel_ser.corpora import fetch as fetching
from parallel_ser.corpora.fetch import Source, fetch, fetch_source, sources
from parallel_ser.corpora.licences import Licence
from parallel_ser.corpora.unpack import CorruptArchiveError, unpack
from parallel_ser.errors import UserError

LICENCE = Licence("TINY", "CC0", "https://creativecommons.org/publicdomain/zero/1.0/", "Do what you like.", "Nobody.")
FILES = {f"Actor_{n:02d}/take {n}.wav": random.Random(n).randbytes(20_000) for n in range(1, 6)}
Speech = Path(__file__).parents[3] / "shared" / "data"


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            archive.writestr(info, content)
    return buffer.getvalue()


ARCHIVE = zipped(FILES)


def lacks(folder: Path) -> str | None:
    have = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.wav")}
    return None if have == FILES else f"it has {len(have)} of {len(FILES)} recordings"


# --- a server that misbehaves -----------------------------------------------------------------------------------------


@dataclass
class Server:
    """What the server does; ``answers`` is called with the first byte asked for, and gives status, headers and body."""

    url: str
    answers: list[Callable[[int], tuple[int, dict[str, str], bytes]]] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.asked.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
            status, headers, body = answer(start)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        http.shutdown()
        thread.join()


@pytest.fixture
def server(running: Server) -> Server:
    running.answers.clear()
    running.asked.clear()
    return running


def whole(content: bytes = ARCHIVE, **headers: str) -> Callable[[int], tuple[int, dict[str, str], bytes]]:
    """The whole file, whatever range is asked for."""
    return lambda start: (200, {"Content-Length": str(len(content)), **headers}, content)


def ranged(content: bytes = ARCHIVE, most: int | None = None) -> Callable[[int], tuple[int, dict[str, str], bytes]]:
    """The range asked for, breaking off after ``most`` bytes."""

    def answer(start: int) -> tuple[int, dict[str, str], bytes]:
        if start >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"}, b""
        body = content[start:]
        headers = {"Content-Length": str(len(body))}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return 206 if start else 200, headers, body[:most]

    return answer


def source(server: Server, content: bytes = ARCHIVE, known: bool = True) -> Source:
    md5 = hashlib.md5(content).hexdigest()
    size = len(content) if known else None
    return Source(LICENCE, f"{server.url}/tiny.zip", "tiny.zip", lacks, size, md5 if known else None)


def get(source: Source, target: Path, tries: int = 3) -> Path:
    return fetch_source(source, target, accept_licence=True, tries=tries, backoff=0.0)


def refused(source: Source, target: Path, tries: int = 3) -> str:
    """The message of a fetch that fails; nothing looks complete then, and no folder is left over."""
    with pytest.raises(UserError) as caught:
        get(source, target, tries)
    message = str(caught.value)
    assert re.fullmatch(r"[^\n]+\.", message)
    assert {path.name for path in target.parent.iterdir()} <= {"tiny.zip.part"}
    return message


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tiny"


def part(target: Path) -> Path:
    return target.parent / "tiny.zip.part"


# --- what should happen -----------------------------------------------------------------------------------------------


def test_fetches_unpacks_and_clears_up(server: Server, target: Path) -> None:
    server.answers = [ranged()]
    seen: list[tuple[int, int | None]] = []
    made = fetch_source(source(server), target, True, progress=lambda done, total: seen.append((done, total)))
    assert made == target
    assert lacks(target) is None
    assert [path.name for path in target.parent.iterdir()] == ["tiny"]
    assert seen[-1] == (len(ARCHIVE), len(ARCHIVE))
    assert target.stat().st_mode & 0o777 == target.parent.stat().st_mode & 0o777  # not private like a temporary folder


def test_already_complete_does_nothing_and_says_so(server: Server, target: Path) -> None:
    server.answers = [ranged()]
    get(source(server), target)
    server.asked.clear()
    said: list[str] = []
    assert fetch_source(source(server), target, accept_licence=False, say=said.append) == target
    assert "already complete" in said[0]
    assert server.asked == []


def test_an_empty_folder_is_filled_and_a_used_one_is_left_alone(server: Server, target: Path) -> None:
    server.answers = [ranged()]
    target.mkdir(parents=True)
    get(source(server), target)
    (target / "Actor_01" / "take 1.wav").unlink()
    with pytest.raises(UserError, match=r"4 of 5 recordings.*remove it or name another"):
        get(source(server), target)
    assert (target / "Actor_02" / "take 2.wav").exists()


def test_the_licence_comes_first(server: Server, target: Path) -> None:
    said: list[str] = []
    with pytest.raises(UserError, match="--accept-licence"):
        fetch_source(source(server), target, accept_licence=False, say=said.append)
    assert "Do what you like." in said[0]
    assert server.asked == []
    assert not target.parent.exists()


# --- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_a_broken_download_resumes(server: Server, target: Path, known: bool) -> None:
    server.answers = [ranged(most=30_000), ranged(most=30_000), ranged()]
    get(source(server, known=known), target)
    assert lacks(target) is None
    assert server.asked == [None, "bytes=30000-", "bytes=60000-"]


def test_giving_up_keeps_what_there_is_and_the_next_command_resumes(server: Server, target: Path) -> None:
    server.answers = [ranged(most=20_000)]
    message = refused(source(server), target, tries=2)
    assert "failed 2 times" in message
    assert "0.0 MB of 0.1 MB" in message
    assert "the same command resumes" in message
    assert part(target).read_bytes() == ARCHIVE[:40_000]
    server.answers = [ranged()]
    server.asked.clear()
    get(source(server), target)
    assert server.asked == ["bytes=40000-"]
    assert lacks(target) is None


def test_a_server_that_ignores_ranges_starts_anew(server: Server, target: Path) -> None:
    server.answers = [ranged(most=30_000), whole()]
    get(source(server), target)
    assert server.asked == [None, "bytes=30000-"]
    assert lacks(target) is None


def test_no_server(target: Path) -> None:
    nowhere = Source(LICENCE, "http://127.0.0.1:9/tiny.zip", "tiny.zip", lacks)
    assert "failed 3 times (Connection refused); " in refused(nowhere, target)


def test_only_http(target: Path) -> None:
    assert "https://" in refused(Source(LICENCE, "file:///etc/hostname", "tiny.zip", lacks), target)


@pytest.mark.parametrize("place", ["ftp://127.0.0.1:9/x.zip", "file:///etc/hostname"])
def test_a_server_that_sends_elsewhere(server: Server, target: Path, place: str) -> None:
    server.answers = [lambda start: (302, {"Location": place, "Content-Length": "0"}, b"")]
    message = refused(source(server), target)
    assert f"sends on to {place}, which is no" in message or "the server answers 302" in message
    assert not part(target).exists()
    server.answers = [lambda start: (302, {"Location": f"{server.url}/y.zip", "Content-Length": "0"}, b""), ranged()]
    get(source(server), target)
    assert lacks(target) is None


def test_from_https_nobody_is_sent_to_http() -> None:
    """What anybody on the way could change."""
    asked = urllib.request.Request("https://example.org/x.zip")
    redirects = download._Redirects()
    with pytest.raises(urllib.error.URLError, match="which is no https:// address"):
        redirects.redirect_request(asked, None, 302, "Found", {}, "http://example.org/x.zip")
    assert redirects.redirect_request(asked, None, 302, "Found", {}, "https://example.org/y.zip") is not None


def test_what_a_server_says_is_shown_as_text(server: Server, target: Path) -> None:
    """A reason phrase may hold a terminal's escapes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 403 \x1b[31m\xff" + b"x" * 999 + b"\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/tiny.zip"
        message = refused(Source(LICENCE, address, "tiny.zip", lacks), target)
        thread.join()
    assert message.isprintable()
    assert len(message) < 300
    assert r"(\x1b[31m" in message


def test_what_is_not_kept_is_not_said_to_be(target: Path) -> None:
    message = refused(Source(LICENCE, "http://127.0.0.1:9/tiny.zip", "tiny.zip", lacks), target)
    assert message.endswith("; nothing of it is kept, and the same command tries again.")


@pytest.mark.parametrize("name", ["x" * 300 + ".wav", "é" * 150, "/".join(["folder"] * 300)])
def test_a_name_that_no_file_can_have_ends_for_good(server: Server, target: Path, name: str) -> None:
    """The same command would go on from what was kept, for ever."""
    content = zipped({**FILES, name: b"1"})
    server.answers = [ranged(content)]
    assert "has a name that no file can have" in refused(source(server, content), target)
    assert not part(target).exists()


def test_statuses(server: Server, target: Path) -> None:
    server.answers = [lambda start: (404, {"Content-Length": "0"}, b"")]
    assert "the server answers 404" in refused(source(server), target)
    assert len(server.asked) == 1  # trying again would not help
    server.answers = [lambda start: (503, {"Content-Length": "0"}, b""), ranged()]
    get(source(server), target)
    assert lacks(target) is None


def test_the_whole_part_is_there_already(server: Server, target: Path) -> None:
    for known, asked in ((True, []), (False, [f"bytes={len(ARCHIVE)}-"])):
        server.answers = [ranged()]
        server.asked.clear()
        folder = target.parent / str(known)
        folder.mkdir(parents=True)
        (folder / "tiny.zip.part").write_bytes(ARCHIVE)
        get(source(server, known=known), folder / "tiny")
        assert server.asked == asked


@pytest.mark.parametrize("known", [True, False])
def test_a_part_longer_than_the_file_is_begun_again(server: Server, target: Path, known: bool) -> None:
    server.answers = [ranged()]
    target.parent.mkdir(parents=True)
    part(target).write_bytes(ARCHIVE + b"more")
    get(source(server, known=known), target)
    assert lacks(target) is None


# --- lies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [len(ARCHIVE) - 1_000, len(ARCHIVE) + 1_000])
def test_a_wrong_length_is_refused_before_anything_kept_is_lost(server: Server, target: Path, length: int) -> None:
    target.parent.mkdir(parents=True)
    part(target).write_bytes(ARCHIVE[:10])
    server.answers = [whole(**{"Content-Length": str(length)})]
    assert f"announces {length:,} bytes where {len(ARCHIVE):,} are known" in refused(source(server), target)
    assert part(target).read_bytes() == ARCHIVE[:10]


def test_a_length_too_long_of_an_unknown_file_is_a_broken_connection(server: Server, target: Path) -> None:
    server.answers = [whole(**{"Content-Length": str(len(ARCHIVE) + 1_000)})]
    assert "the connection ended at byte" in refused(source(server, known=False), target)


def test_a_length_too_short_of_an_unknown_file_is_a_corrupt_archive(server: Server, target: Path) -> None:
    server.answers = [whole(**{"Content-Length": str(len(ARCHIVE) - 1_000)})]
    assert "cannot be unpacked" in refused(source(server, known=False), target)
    assert not part(target).exists()


@pytest.mark.parametrize("told", ["bytes 0-9/10", "bytes 5-99/{size}", "nonsense", ""])
def test_a_wrong_range_is_never_appended(server: Server, target: Path, told: str) -> None:
    told = told.format(size=len(ARCHIVE))
    server.answers = [
        ranged(most=30_000),
        lambda start: (206, {"Content-Range": told, "Content-Length": "9"}, b"x" * 9),
        ranged(),
    ]
    if told == "bytes 0-9/10":  # another size than known: another file
        assert "announces 10 bytes" in refused(source(server), target)
        assert part(target).read_bytes() == ARCHIVE[:30_000]
    else:
        get(source(server), target)
        assert lacks(target) is None


def test_more_bytes_than_known(server: Server, target: Path) -> None:
    body = ARCHIVE + b"x" * 500_000
    server.answers = [lambda start: (200, {}, body)]  # no length: it ends where the connection does
    assert "sends more than" in refused(source(server), target)
    assert not part(target).exists()


def test_a_wrong_md5(server: Server, target: Path) -> None:
    wrong = bytearray(ARCHIVE)
    wrong[50] ^= 1
    server.answers = [ranged(bytes(wrong))]
    assert "MD5" in refused(source(server), target)
    assert not part(target).exists()


# --- archives ---------------------------------------------------------------------------------------------------------


def test_corrupted_archives_leave_nothing(server: Server, target: Path) -> None:
    flipped = bytearray(ARCHIVE)
    flipped[len(flipped) // 2] ^= 0xFF
    for content in (b"<html>try later</html>", ARCHIVE[:-40], ARCHIVE[40:], bytes(flipped)):
        server.answers = [ranged(content)]
        message = refused(source(server, content, known=False), target)
        assert "cannot be unpacked" in message
        assert not part(target).exists()


def test_an_archive_that_is_not_the_whole_corpus(server: Server, target: Path) -> None:
    content = zipped(dict(list(FILES.items())[:3]))
    server.answers = [ranged(content)]
    assert "3 of 5 recordings" in refused(source(server, content), target)
    assert not part(target).exists()


EVIL = ("../evil", "a/../../evil", "/tmp/evil", "C:/evil", "C:evil", "..\\evil", "a//b", "./a", "a/./b", "/")


@pytest.mark.parametrize("name", EVIL)
def test_no_member_leaves_the_folder(server: Server, target: Path, name: str) -> None:
    content = zipped({**FILES, name: b"evil"})
    server.answers = [ranged(content)]
    assert "would leave the folder" in refused(source(server, content), target)
    assert not list(target.parent.parent.rglob("*evil*"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("link/file", "through the link")
    with pytest.raises(CorruptArchiveError, match="link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"zeros": bytes(10_000_000)}, "would grow to 10,000,000 bytes"),
        ({"A.wav": b"1", "a.wav": b"2"}, "two members have one name"),
        ({"a": b"1", "a/b": b"2"}, "two members have one name"),
    ],
)
def test_other_archives_that_are_refused(tmp_path: Path, files: dict[str, bytes], why: str) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(files))
    with pytest.raises(CorruptArchiveError, match=why):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", range(60))
def test_damage_anywhere_is_noticed_or_harmless(tmp_path: Path, seed: int) -> None:
    """Any few bytes changed: the archive is refused, or its files are below the folder."""
    rng = random.Random(seed)
    content = bytearray(zipped({f"{n}/x.wav": bytes(rng.choices(range(9), k=60)) for n in range(3)}))
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    (tmp_path / "a.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    with contextlib.suppress(CorruptArchiveError):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "out"}


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_no_space(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    server.answers = [ranged()]
    free = {"download": len(ARCHIVE) - 1, "unpack": 99_999}  # the files take 100,000
    for verb, size in free.items():
        monkeypatch.setattr("shutil.disk_usage", lambda path, size=size: usage(0, 0, size))
        if verb == "unpack":
            part(target).write_bytes(ARCHIVE)
        assert f"are needed to {verb}" in refused(source(server), target)
    assert part(target).read_bytes() == ARCHIVE  # not to be fetched again
    monkeypatch.undo()
    get(source(server), target)
    assert lacks(target) is None


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    server.answers = [ranged()]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        get(source(server), tmp_path / "file" / "tiny")


# --- the corpora ------------------------------------------------------------------------------------------------------


def test_a_mirror_serves_the_file_by_its_name(tmp_path: Path, server: Server) -> None:
    server.answers = [whole()]
    with pytest.raises(UserError, match=re.escape(f"{server.url}/mirror/Audio_Speech_Actors_01-24.zip announces")):
        fetch("ravdess", tmp_path / "ravdess", True, base_url=f"{server.url}/mirror/")


def touch(folder: Path, names: list[str]) -> None:
    import numpy
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, numpy.zeros(8), 16_000, format="WAV")
    folder.mkdir()
    for name in names:
        (folder / f"{name}.wav").write_bytes(buffer.getvalue())


def test_ravdess_is_1440_recordings(tmp_path: Path) -> None:
    names = [
        f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}"
        for emotion in range(1, 9)
        for intensity in (1, 2)
        for statement in (1, 2)
        for repetition in (1, 2)
        for actor in range(1, 25)
        if (emotion, intensity) != (1, 2)
    ]
    assert len(names) == 1_440
    touch(tmp_path / "ravdess", names)
    lack = sources()["ravdess"].incomplete
    assert lack(tmp_path / "ravdess") is None
    (tmp_path / "ravdess" / f"{names[7]}.wav").write_bytes(b"")
    assert lack(tmp_path / "ravdess") == f"{names[7]}.wav cannot be read"
    (tmp_path / "ravdess" / f"{names[7]}.wav").unlink()
    assert "1,439 of 1,440" in str(lack(tmp_path / "ravdess"))


def test_tess_is_2800_recordings_and_one_is_misnamed(tmp_path: Path) -> None:
    words = [f"{a}{b}" for a in "abcdefghij" for b in "abcdefghijklmnopqrst"]
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    names = [f"{s}_{w}_{e}" for s in ("OAF", "YAF") for w in [*words[:-1], "bite"] for e in emotions]
    names[names.index("OAF_bite_neutral")] = "OA_bite_neutral"
    assert len(names) == 2_800
    touch(tmp_path / "tess", names)
    lack = sources()["tess"].incomplete
    assert lack(tmp_path / "tess") is None
    (tmp_path / "tess" / "YAF_aa_ps.wav").unlink()
    assert "2,799 of 2,800 recordings, YAF_aa_ps is missing" in str(lack(tmp_path / "tess"))


@pytest.mark.skipif(not (Speech / "tess").is_dir(), reason="the real TESS is not at ../shared/data/tess")
def test_the_real_tess_is_complete() -> None:
    said: list[str] = []
    fetch("tess", Speech / "tess", accept_licence=False, say=said.append)
    assert "already complete" in said[0]


@pytest.mark.skipif(not (Speech / "ravdess").is_dir(), reason="the real RAVDESS is not at ../shared/data/ravdess")
def test_twenty_actors_are_not_the_whole_of_ravdess() -> None:
    assert "1,200 of 1,440" in str(sources()["ravdess"].incomplete(Speech / "ravdess"))


def test_licences_name_terms_and_source() -> None:
    for name, terms, cite in (("ravdess", "CC BY-NC-SA 4.0", "Livingstone"), ("tess", "CC BY-NC-ND 4.0", "Dupuis")):
        text = fetching.sources()[name].licence.text()
        assert terms in text
        assert cite in text
