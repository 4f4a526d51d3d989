from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starting import LIMIT

from parallel_ser.audio.cache import FeatureCache
from parallel_ser.audio.extract import Extractor, Features
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.errors import UserError

RATE = 16000


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor(AudioSettings(), FeatureSettings(n_mels=20))


def write_tones(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03}.wav" for index in range(count)]
    for index, path in enumerate(paths):
        time = np.arange(RATE // 4) / RATE
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * (100 + 10 * index) * time), RATE)
    return paths


def stored(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_same(one: Features, other: Features) -> None:
    np.testing.assert_array_equal(one.frames, other.frames)
    assert one.frames.dtype == other.frames.dtype == np.float32
    assert (one.measures, one.audio_id) == (other.measures, other.audio_id)


def forbid(*_: object) -> Features:
    raise AssertionError("computed although it is in the cache")


def test_what_comes_back_is_what_was_computed(tmp_path: Path, extractor: Extractor) -> None:
    paths = write_tones(tmp_path / "audio", 3)
    cache = FeatureCache(tmp_path / "cache", extractor)
    for features in (cache.fill(paths), cache.fill(paths), [cache.get(path) for path in paths]):
        for path, found in zip(paths, features):
            check_same(found, extractor.file(path))
    found.frames[0, 0] = 1.0  # the caller's own


def test_nothing_is_computed_twice(tmp_path: Path, extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_tones(tmp_path / "audio", 3)
    FeatureCache(tmp_path / "cache", extractor).fill(paths[:2])
    monkeypatch.setattr(Extractor, "file", forbid)
    moved = paths[0].rename(tmp_path / "elsewhere.wav")
    cache = FeatureCache(tmp_path / "cache", extractor)
    assert len(cache.fill([paths[1], moved, moved])) == 3
    cache.get(moved)
    with pytest.raises(AssertionError):
        cache.get(paths[2])


def test_new_content_and_new_settings_make_new_entries(tmp_path: Path, extractor: Extractor) -> None:
    (path,) = write_tones(tmp_path / "audio", 1)
    cache = FeatureCache(tmp_path / "cache", extractor)
    first = cache.get(path)
    soundfile.write(path, 0.1 * soundfile.read(path)[0], RATE)
    assert cache.get(path).audio_id != first.audio_id
    other = Extractor(AudioSettings(), FeatureSettings(n_mels=21))
    assert FeatureCache(tmp_path / "cache", other).get(path).frames.shape[0] == 21
    assert len(stored(tmp_path / "cache")) == 3


def test_any_damage_to_an_entry_is_seen_and_mended(tmp_path: Path, extractor: Extractor) -> None:
    (path,) = write_tones(tmp_path / "audio", 1)
    cache = FeatureCache(tmp_path / "cache", extractor)
    features, entry = cache.get(path), cache.entry(path)
    whole = entry.read_bytes()
    flipped = [bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]) for at in (0, 20, len(whole) // 2, len(whole) - 1)]
    for damaged in (b"", whole[:10], whole[:-1], whole[:-4], whole + b"\0", bytes(len(whole)), *flipped):
        entry.write_bytes(damaged)
        check_same(cache.fill([path])[0], features)
        assert entry.read_bytes() == whole


def test_no_pickle_is_ever_loaded(tmp_path: Path, extractor: Extractor) -> None:
    (path,) = write_tones(tmp_path / "audio", 1)
    cache = FeatureCache(tmp_path / "cache", extractor)
    cache.get(path)
    head = cache.entry(path).read_bytes()[16:]
    assert head.startswith(b'{"shape": [20, ')


def test_workers_compute_the_same_and_tell_how_far_they_are(tmp_path: Path, extractor: Extractor) -> None:
    paths = write_tones(tmp_path / "audio", 70)
    bad = tmp_path / "audio" / "bad.wav"
    bad.write_bytes(b"")
    steps: list[tuple[int, int]] = []
    cache = FeatureCache(tmp_path / "cache", extractor)
    with pytest.raises(UserError, match=r"bad\.wav is empty"):
        cache.fill([*paths[:30], bad, *paths[30:]], jobs=2, progress=lambda done, total: steps.append((done, total)))
    assert steps[0] == (0, 71)
    assert steps[-1] == (71, 71)
    assert steps == sorted(steps)
    assert len(steps) > 3
    # One bad file did not stop the others, and other processes compute the same to the bit.
    assert len(stored(tmp_path / "cache")) == 70
    FeatureCache(tmp_path / "alone", extractor).fill(paths, jobs=1)
    assert stored(tmp_path / "alone") == stored(tmp_path / "cache")


def test_equal_files_share_an_entry_and_count_each(tmp_path: Path, extractor: Extractor) -> None:
    paths = write_tones(tmp_path / "audio", 2)
    twin = tmp_path / "audio" / "twin.wav"
    twin.write_bytes(paths[0].read_bytes())
    steps: list[tuple[int, int]] = []
    found = FeatureCache(tmp_path / "cache", extractor).fill(
        [*paths, twin], progress=lambda done, total: steps.append((done, total))
    )
    check_same(found[0], found[2])
    assert (steps[0], steps[-1]) == ((0, 3), (3, 3))
    assert len(stored(tmp_path / "cache")) == 2


@pytest.mark.parametrize("bad", [1, 3])
def test_the_first_bad_file_is_named_and_the_rest_counted(tmp_path: Path, extractor: Extractor, bad: int) -> None:
    paths = write_tones(tmp_path / "audio", 5)
    for number, path in enumerate(paths[1 : 1 + bad]):
        path.write_bytes(b"no sound" + bytes([number]))
    more = r"; 2 more fail as well" if bad == 3 else ""
    with pytest.raises(UserError, match=rf"001\.wav cannot be decoded as audio; use WAV, FLAC, OGG or MP3{more}\.$"):
        FeatureCache(tmp_path / "cache", extractor).fill(paths)


def test_a_missing_file_is_named(tmp_path: Path, extractor: Extractor) -> None:
    cache = FeatureCache(tmp_path / "cache", extractor)
    for ask in (lambda path: cache.fill([path]), cache.get):
        with pytest.raises(UserError, match=r"gone\.wav: No such file"):
            ask(tmp_path / "gone.wav")


def test_a_full_disk_is_one_error_and_leaves_no_half_entry(
    tmp_path: Path, extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_tones(tmp_path / "audio", 3)
    cache = FeatureCache(tmp_path / "cache", extractor)
    cache.get(paths[0])
    before = stored(tmp_path / "cache")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"^cannot write .*\.features: No space left on device\.$"):
            cache.fill(paths)
    assert stored(tmp_path / "cache") == before  # no *.part either
    assert len(cache.fill(paths)) == 3


def test_a_disk_that_fills_while_writing(tmp_path: Path, extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = write_tones(tmp_path / "audio", 1)
    flush = os.fsync

    def full(handle: int) -> None:
        flush(handle)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        FeatureCache(tmp_path / "cache", extractor).get(path)
    assert not stored(tmp_path / "cache")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, extractor: Extractor) -> None:
    (path,) = write_tones(tmp_path / "audio", 1)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cannot (read|write) .*Not a directory"):
        FeatureCache(tmp_path / "cache", extractor).get(path)


def test_two_processes_fill_one_cache_at_once(tmp_path: Path, extractor: Extractor) -> None:
    paths = write_tones(tmp_path / "audio", 40)
    program = (
        "import sys; from pathlib import Path\n"
        "from parallel_ser.audio.cache import FeatureCache\n"
        "from parallel_ser.audio.extract import AudioSettings, Extractor, FeatureSettings\n"
        "cache = FeatureCache(Path(sys.argv[1]), Extractor(AudioSettings(), FeatureSettings(n_mels=20)))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(sum(f.frames.shape[0] for f in cache.fill([Path(p) for p in sys.argv[2:]])))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "cache"), *map(str, paths)]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ})
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=LIMIT)[0] for process in both] == ["800\n", "800\n"]
    FeatureCache(tmp_path / "alone", extractor).fill(paths)
    assert stored(tmp_path / "cache") == stored(tmp_path / "alone")


def test_the_default_folder_lies_below_the_users_cache(
    tmp_path: Path, extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLEL_SER_CACHE", str(tmp_path))
    assert FeatureCache(None, extractor).folder == tmp_path / "features"
