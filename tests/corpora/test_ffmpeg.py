"""Files that ffmpeg reads: with a program of that name that says what is asked of it, and with ffmpeg where it is."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parallel_ser.audio.extract import Extractor
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.corpora import ffmpeg
from parallel_ser.corpora.content import EmptyError, RecordingError, UndecodableError, decode
from parallel_ser.errors import UserError

RATE = 16000
M4A = b"\x00\x00\x00\x20ftypM4A " + bytes(48)
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on this machine")
Install = Callable[[str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a program called ffmpeg, of this body, on an otherwise empty path; returns where it tells its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def made(body: str) -> Path:
        program, told = folder / "ffmpeg", tmp_path / "arguments"
        head = f"#!{sys.executable}\nimport struct, sys, time\n"
        tell = f"open({str(told)!r}, 'wb').write('\\0'.join(sys.argv[1:]).encode(errors='surrogateescape'))\n"
        sound = "def sound(samples, rate=16000, channels=1):\n"
        sound += "    sys.stdout.buffer.write(struct.pack('>4s5I4x', b'.snd', 28, 0xFFFFFFFF, 6, rate, channels))\n"
        sound += "    sys.stdout.buffer.write(struct.pack(f'>{len(samples)}f', *samples))\n"
        program.write_text(head + tell + sound + body)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return told

    return made


def recording(folder: Path, name: str = "a.m4a", content: bytes = M4A) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("begins", "kind"),
    [
        (M4A, "MP4 (M4A)"),
        (b"\x1a\x45\xdf\xa3" + bytes(60), "Matroska (WebM)"),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "ASF (WMA)"),
        (b"#!AMR\n" + bytes(40), "AMR"),
        (b"\xff\xf1\x50\x80" + bytes(40), "AAC"),
        (b"\xff\xfb\x90\x00" + bytes(40), ""),  # MP3
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", ""),
        (b"RIFF\x24\x00\x00\x00AVI LIST", "AVI"),
        (b"OggS" + bytes(24) + b"Speex   1.2", "Speex"),
        (b"OggS" + bytes(24) + b"\x01vorbis", ""),
        (b"fLaC", ""),
        (b"#EXTM3U\nhttp://x/y.ts\n", ""),
        (b"", ""),
    ],
)
def test_kinds_by_content(begins: bytes, kind: str) -> None:
    assert ffmpeg.container(begins) == kind


@pytest.mark.parametrize("name", ["a b.m4a", "it's $(x).webm", "renamed.wav", "-y.mp4"])
def test_without_ffmpeg_the_sentence_has_a_line_to_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = recording(tmp_path, name)
    with pytest.raises(UndecodableError, match=r"is MP4 \(M4A\), which the program ffmpeg reads") as caught:
        decode(path)
    command = shlex.split(str(caught.value).rpartition("where it is: ")[2])
    assert command[:3] == ["ffmpeg", "-i", str(path)]
    assert Path(command[3]).suffix == ".wav"
    assert Path(command[3]) != path


def test_a_wav_file_of_an_unknown_coding(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(800, 0.1), RATE)
    content = bytearray(path.read_bytes())
    content[20:22] = struct.pack("<H", 0x0161)  # Windows Media
    path.write_bytes(content)
    with pytest.raises(UndecodableError, match=r"its coding is not known; copy it again, or convert it: ffmpeg -i /"):
        decode(path)


@pytest.mark.parametrize("name", ["a b.m4a", "-y.mp4", "concat:x|y.webm", "%d.m4a", "\udcff.m4a"])
def test_what_ffmpeg_is_asked_for(tmp_path: Path, install: Install, name: str) -> None:
    told = install("sound([0.5, -0.25, 0.125, 1.5], 8000, 2)")
    path = recording(tmp_path, name)
    samples, rate = decode(path)
    assert rate == 8000
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, [[0.5, -0.25], [0.125, 1.5]])
    arguments = told.read_bytes().split(b"\0")
    assert arguments[arguments.index(b"-i") + 1] == b"file:" + os.fsencode(path)
    assert arguments[arguments.index(b"-protocol_whitelist") + 1] == b"file,pipe"
    assert b"-nostdin" in arguments


@pytest.mark.parametrize(
    ("body", "error", "told"),
    [
        ("sys.exit(1)", UndecodableError, "that is damaged or truncated"),
        ("sound([0.5]); sys.exit(1)", UndecodableError, "that is damaged or truncated"),
        ("sound([0.5]); print('File ended prematurely', file=sys.stderr)", UndecodableError, "damaged or truncated"),
        ("print('moov atom not found', file=sys.stderr); sys.exit(1)", UndecodableError, "damaged or truncated"),
        ("print(\"Stream map '0:a:0' matches no streams.\", file=sys.stderr); sys.exit(1)", UndecodableError,
         "without sound; leave it out"),
        ("sys.stdout.write('x' * 100)", UndecodableError, "that is damaged or truncated"),
        ("sound([])", EmptyError, "holds no samples"),
        ("print('a warning of no weight', file=sys.stderr); sound([0.5])", None, ""),
        ("print('x' * 10**6, file=sys.stderr); sound([0.5])", None, ""),
    ],
)  # fmt: skip
def test_what_ffmpeg_may_say(
    tmp_path: Path, install: Install, body: str, error: type[RecordingError] | None, told: str
) -> None:
    install(body)
    path = recording(tmp_path)
    if error is None:
        assert decode(path)[0].tolist() == [[0.5]]
        return
    with pytest.raises(error, match=told) as caught:
        decode(path)
    assert str(path) in str(caught.value)


def test_one_that_never_ends_is_given_up(tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("sound([0.5]); sys.stdout.flush(); time.sleep(1000)")
    monkeypatch.setattr(ffmpeg, "SECONDS", 0.5)
    with pytest.raises(UndecodableError, match=r"takes ffmpeg more than 0.5 s to convert"):
        decode(recording(tmp_path))


def test_a_long_recording_is_refused_by_its_whole_length(tmp_path: Path, install: Install) -> None:
    install("sound([0.5] * 16000)\nfor _ in range(89): sys.stdout.buffer.write(struct.pack('>16000f', *[0.5] * 16000))")
    with pytest.raises(UserError, match=r"lasts 90 s, above audio\.max_seconds=60"):
        Extractor(AudioSettings(), FeatureSettings()).file(recording(tmp_path))


@pytest.mark.parametrize("keep", [0, 100])
def test_asf_that_is_shorter_than_it_says(tmp_path: Path, install: Install, keep: int) -> None:
    install("sound([0.5])")
    properties = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + struct.pack("<Q16xQ40xI", 104, 230, 0) + bytes(12)
    content = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14) + properties
    path = recording(tmp_path, "a.wma", (content + bytes(200))[: 230 - keep])
    if keep:
        with pytest.raises(UndecodableError, match=r"is ASF \(WMA\) that is damaged or truncated"):
            decode(path)
    else:
        assert decode(path)[0].tolist() == [[0.5]]


@needs_ffmpeg
@pytest.mark.parametrize(("suffix", "codec"), [("m4a", "aac"), ("mp4", "aac"), ("webm", "libopus"), ("wma", "wmav2")])
def test_real_ffmpeg(tmp_path: Path, suffix: str, codec: str) -> None:
    time = np.arange(2 * 48000) / 48000
    tone = 0.3 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "a.wav", tone, 48000)
    path = tmp_path / f"-a.{suffix}"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-c:a", codec, f"file:{path}"], check=True, timeout=60
    )
    samples, rate = decode(path)
    assert rate == 48000
    assert len(samples) == pytest.approx(96000, rel=0.03)
    spectrum = np.abs(np.fft.rfft(samples[:, 0]))
    assert np.argmax(spectrum) * rate / len(samples) == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UndecodableError, match="damaged or truncated"):
        decode(path)
