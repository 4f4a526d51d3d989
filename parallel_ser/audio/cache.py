"""Features on disk: computed once for a file's bytes and the settings, by as many processes as there are cores."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from parallel_ser.audio.extract import Features, attempted
from parallel_ser.audio.spread import spread
from parallel_ser.corpora.content import RecordingError, require_file
from parallel_ser.errors import UserError
from parallel_ser.system import digests
from parallel_ser.system.files import cache_folder

_DIGEST = 16


class AnyExtractor(Protocol):
    """What makes features of a file: ``Extractor``, or a set of openSMILE's. It must travel to another process."""

    key: str

    def file(self, path: Path) -> Features:
        """Features of a file."""

    def files(self, paths: Sequence[Path]) -> Iterator[Features | UserError]:
        """Features of each file, or why it has none."""


class FeatureCache:
    """Features of files, from ``folder`` (by default below the user's cache folder) where they are there already.

    An entry is named by the hash of the file's bytes and of ``extractor.key``, so that moving or renaming a file keeps
    its entry, and changing a setting makes another. Any number of processes may use one folder: an entry appears whole.
    """

    def __init__(self, folder: Path | None, extractor: AnyExtractor):
        self.folder = folder if folder is not None else cache_folder() / "features"
        self.extractor = extractor

    def entry(self, path: Path) -> Path:
        """Where the features of the file are kept.

        Raises:
            UserError: the file cannot be read.
        """
        require_file(path)
        try:
            content = digests.file_digest(path)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
        name = hashlib.blake2b(f"{content}{self.extractor.key}".encode(), digest_size=_DIGEST).hexdigest()
        return self.folder / name[:2] / f"{name}.features"

    def get(self, path: Path) -> Features:
        """Features of one file, computed and kept when they are not there.

        Raises:
            UserError: the file has no features (see ``Extractor.file``), or they cannot be written.
        """
        entry = self.entry(path)
        if (known := _read(entry)) is not None:
            return known
        features = self.extractor.file(path)
        _write(entry, features)
        return features

    def fill(
        self, paths: Sequence[Path], jobs: int = 1, progress: Callable[[int, int], None] | None = None
    ) -> list[Features]:
        """``attempt`` where every file must have features.

        Raises:
            RecordingError: files have none; it names the first.
            UserError: an entry cannot be written.
        """
        return require(self.attempt(paths, jobs, progress))

    def attempt(
        self, paths: Sequence[Path], jobs: int = 1, progress: Callable[[int, int], None] | None = None
    ) -> list[Features | RecordingError]:
        """Features of all files in their order, or why one has none; what is missing is computed and kept.

        Args:
            paths: the audio files.
            jobs: processes, each on one thread, -1 for all cores; this one alone when few files are missing.
            progress: called with the number of files done and of all files.

        Raises:
            UserError: an entry cannot be written.
        """
        entries = list(attempted(self.entry, paths))
        files = Counter(entry for entry in entries if isinstance(entry, Path))  # equal files share an entry
        known = {entry: _read(entry) for entry in files}
        source = dict(reversed(list(zip(entries, paths, strict=True))))
        missing = [(source[entry], entry) for entry, features in known.items() if features is None]
        done = len(paths) - sum(files[entry] for _, entry in missing)
        problems: dict[Path, UserError] = {}
        if progress:
            progress(done, len(paths))
        for made in spread(partial(_make_all, self.extractor), missing, jobs):
            problems |= {entry: problem for entry, problem in made.items() if problem}
            done += sum(files[entry] for entry in made)
            if progress:
                progress(done, len(paths))
        found: list[Features | RecordingError] = []
        for entry, path in zip(entries, paths, strict=True):
            problem = entry if isinstance(entry, UserError) else problems.get(entry)
            if problem is None:
                found.append(known[entry] or self.get(path))  # type: ignore[index]
            elif isinstance(problem, RecordingError):
                found.append(problem)
            else:
                raise problem
        return found


def require(found: Sequence[Features | RecordingError], advice: str = "") -> list[Features]:
    """The features, where every recording has some; ``advice`` goes on an error's sentence.

    Raises:
        RecordingError: that of the first that has none, with the number of the others.
    """
    problems = [one for one in found if isinstance(one, RecordingError)]
    if problems:
        others = len(problems) - 1
        clauses = [str(problems[0]).removesuffix("."), *([f"{others} more fail as well"] if others else [])]
        raise type(problems[0])("; ".join([*clauses, *([advice] if advice else [])]) + ".")
    return [one for one in found if isinstance(one, Features)]


def _make_all(extractor: AnyExtractor, chunk: Sequence[tuple[Path, Path]]) -> dict[Path, UserError | None]:
    """Make each (file, entry); for each entry what is wrong with its file, or None."""
    problems: dict[Path, UserError | None] = {}
    for (_, entry), made in zip(chunk, extractor.files([path for path, _ in chunk]), strict=True):
        if isinstance(made, UserError):
            problems[entry] = made
        else:
            problems[entry] = None
            _write(entry, made)
    return problems


def _write(entry: Path, features: Features) -> None:
    """A line of JSON, and the frames as little-endian float32.

    Not an .npz: a zip archive of three small arrays takes ten times as long to open, and notices only some damage.
    """
    about = {
        "shape": features.frames.shape,
        "measures": features.measures,
        "audio_id": features.audio_id,
        "fingerprint": features.fingerprint.hex(),
    }
    frames = np.ascontiguousarray(features.frames, dtype="<f4").tobytes()
    digests.write_bytes(entry, json.dumps(about).encode() + b"\n" + frames)


def _read(entry: Path) -> Features | None:
    """An entry's features, or None where there is no entry or it is damaged."""
    try:
        content = digests.read_bytes(entry)
    except digests.DamagedError:
        return None
    except UserError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    line, _, frames = content.partition(b"\n")
    about = json.loads(line)
    return Features(
        np.frombuffer(frames, dtype="<f4").astype(np.float32).reshape(about["shape"]),
        about["measures"],
        about["audio_id"],
        bytes.fromhex(about["fingerprint"]),
    )
