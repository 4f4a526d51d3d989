"""Fetching a corpus from its authors' archive: licence, resumable download, checks, and unpacking that cannot do harm.

    licence accepted ─▶ NAME.part ─▶ size and MD5 ─▶ hidden folder ─▶ names and readability ─▶ rename to the target

Whatever fails, the target holds the whole corpus or does not exist, and what is good of the archive is kept.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

from parallel_ser.corpora import licences
from parallel_ser.corpora.download import Progress, download, require_space
from parallel_ser.corpora.unpack import CorruptArchiveError, unpack
from parallel_ser.errors import UserError


@dataclass(frozen=True)
class Source:
    """Where a corpus comes from; a new one is one entry here.

    Attributes:
        licence: its terms.
        url: of a zip archive.
        file_name: of the archive.
        incomplete: says in one clause what a folder lacks to be the whole corpus, or None.
        bytes, md5: of the archive, where they are known.
    """

    licence: licences.Licence
    url: str
    file_name: str
    incomplete: Callable[[Path], str | None]
    bytes: int | None = None
    md5: str | None = None


def fetch(
    name: Literal["ravdess", "tess"],
    target: Path,
    accept_licence: bool,
    base_url: str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Fetch a corpus into the folder ``target`` and return it; does nothing where it is already there, whole.

    Args:
        name: the corpus.
        target: becomes the corpus's folder; the archive lies beside it, as ``NAME.part``, until it is unpacked.
        accept_licence: the user has read the licence and accepts it.
        base_url: a mirror that serves the archive under its file name.
        progress: called with the bytes there are and, where known, the bytes there will be.
        say: called with what the user should read: the licence, or that nothing was to be done.

    Raises:
        UserError: licence not accepted, target in use, no connection, another file than the released one, an archive
            that is corrupted or would write outside the target, no space. The message says what is kept.
    """
    source = sources()[name]
    if base_url is not None:
        source = replace(source, url=f"{base_url.rstrip('/')}/{source.file_name}")
    return fetch_source(source, target, accept_licence, progress, say)


def fetch_source(
    source: Source,
    target: Path,
    accept_licence: bool,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    tries: int = 5,
    backoff: float = 1.0,
) -> Path:
    """``fetch`` for any source; ``tries`` connections at most, ``backoff`` × 1, 2, 4 … seconds between them."""
    title = source.licence.corpus
    target = target.resolve()
    say = say or (lambda text: None)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        lack = source.incomplete(target) if target.is_dir() else "it is a file"
        if lack is None:
            say(f"{title} is already complete in {target}; nothing to fetch.")
            return target
        raise UserError(f"{target} exists and is not the whole of {title} ({lack}); remove it or name another target.")
    if not accept_licence:
        say(source.licence.text())
        raise UserError(
            f"{title} is licensed under {source.licence.name}; read {source.licence.url} and repeat the command with "
            "--accept-licence to accept it."
        )
    part = target.parent / f"{source.file_name}.part"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        download(source.url, part, source.bytes, progress, tries, backoff)
        _check_md5(source, part)
        _install(source, part, target)
    except OSError as error:
        kept = f"; {part} is kept, and the same command goes on from there" if part.is_file() else ""
        raise UserError(f"cannot write {error.filename or target}: {error.strerror or error}{kept}.") from error
    return target


def _check_md5(source: Source, part: Path) -> None:
    if source.md5 is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with part.open("rb") as file:
        while block := file.read(1 << 18):
            digest.update(block)
    if digest.hexdigest() != source.md5:
        part.unlink()
        raise UserError(
            f"what {source.url} sent is not the released file (MD5 {digest.hexdigest()} instead of {source.md5}); it "
            "was removed, and the same command fetches it afresh."
        )


# --- unpack and verify ------------------------------------------------------------------------------------------------


def _install(source: Source, part: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as hidden:
        folder = Path(hidden) / "corpus"
        folder.mkdir()
        try:
            unpack(part, folder, lambda size: require_space(target.parent, size, "unpack"))
        except CorruptArchiveError as error:
            part.unlink()
            raise UserError(
                f"the archive from {source.url} cannot be unpacked ({error}); it was removed, and the same command "
                "fetches it afresh."
            ) from error
        if lack := source.incomplete(folder):
            part.unlink()
            raise UserError(
                f"the archive from {source.url} is not the whole of {source.licence.corpus} ({lack}); it was removed; "
                "fetch the corpus by hand if this repeats, some servers leave files out of a large archive."
            )
        if target.exists():
            target.rmdir()
        folder.rename(target)
    part.unlink()


# --- the corpora ------------------------------------------------------------------------------------------------------


def sources() -> Mapping[str, Source]:
    """The corpora that can be fetched, by name."""
    return {
        "ravdess": Source(
            licence=licences.RAVDESS,
            url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
            file_name="Audio_Speech_Actors_01-24.zip",
            incomplete=_ravdess_lacks,
            bytes=208_468_073,
            md5="bc696df654c87fed845eb13823edef8a",
        ),
        "tess": Source(  # the archive is put together on request: no size, no checksum
            licence=licences.TESS,
            url="https://borealisdata.ca/api/access/dataset/:persistentId/?persistentId=doi:10.5683/SP2/E8H2MF",
            file_name="TESS.zip",
            incomplete=_tess_lacks,
        ),
    }


def _ravdess_lacks(folder: Path) -> str | None:
    kinds = [
        ("01", "01"),
        *product(("02", "03", "04", "05", "06", "07", "08"), ("01", "02")),
    ]  # neutral is never strong
    takes = product(kinds, ("01", "02"), ("01", "02"), range(1, 25))
    return _lacks(folder, {f"03-01-{e}-{i}-{text}-{take}-{actor:02d}" for (e, i), text, take, actor in takes})


def _tess_lacks(folder: Path) -> str | None:
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    parsed = (re.fullmatch(r"[^_]+_([a-z]+)_[a-z]+", stem) for stem in _recordings(folder))
    words = sorted({match[1] for match in parsed if match})
    if len(words) != 200:
        return f"it has {len(words)} of 200 words"
    return _lacks(folder, {f"{s}_{w}_{e}" for s, w, e in product(("OAF", "YAF"), words, emotions)})


def _recordings(folder: Path) -> dict[str, Path]:
    found = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".wav", ".flac")}
    if "OA_bite_neutral" in found:  # as TESS released it
        found["OAF_bite_neutral"] = found.pop("OA_bite_neutral")
    return found


def _lacks(folder: Path, expected: set[str]) -> str | None:
    import soundfile

    found = _recordings(folder)
    if missing := sorted(expected - found.keys()):
        have = len(expected) - len(missing)
        return f"it has {have:,} of {len(expected):,} recordings, {missing[0]} is missing"
    for name in sorted(expected):
        try:
            frames = soundfile.info(found[name]).frames
        except soundfile.LibsndfileError:
            frames = 0
        if not frames:
            return f"{found[name].name} cannot be read"
    return None
