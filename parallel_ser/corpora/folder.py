"""What corpora that write their labels into file names share: finding the files and reading the names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import NamedTuple

from parallel_ser.corpora.base import Corpus, NoCorpusError, Problem, Utterance
from parallel_ser.corpora.labels import present
from parallel_ser.corpora.words import listed
from parallel_ser.errors import UserError

SUFFIXES = (
    (".wav", ".flac"),
    (".mp3", ".ogg", ".opus", ".aiff", ".aif"),
    (".m4a", ".mp4", ".aac", ".webm", ".wma", ".mkv", ".mov", ".avi", ".flv", ".3gp", ".amr", ".spx"),
)
"""The recordings; copies that some releases have beside them, and some alone; what ffmpeg reads, videos among it."""


@dataclass(frozen=True)
class Named:
    """What a file's name says; ``misplaced`` is a clause for the user when its folder says something else."""

    utterance: Utterance
    misplaced: str = ""


class Asked(NamedTuple):
    """Recordings, and of each word that names none what is wrong with it."""

    files: list[Path]
    problems: dict[Path, str]


class UnparsableNameError(ValueError):
    """A file name that does not follow the corpus's scheme."""


Parse = Callable[[Path], Named | str]
"""From a path to what its name says; where it is no speech audio, what it is instead, in the plural (``songs``).
It raises ``UnparsableNameError``."""


def existing_folder(root: Path, corpus: str, expected: str) -> Path:
    """``root`` with ``~`` expanded, or a ``NoCorpusError`` that says what the corpus's folder looks like."""
    root = root.expanduser()
    if not root.is_dir():
        trouble = "is not a folder" if root.exists() else "does not exist"
        raise NoCorpusError(f"{corpus}: {root} {trouble}; expected the corpus's folder with {expected}.")
    return root


def audio_files(root: Path) -> list[Path]:
    """Every .wav and .flac (any case) below ``root``, in an order that does not depend on the file system.

    Where there is none, every .mp3, .ogg, .opus and .aiff; where there is none either, what ffmpeg reads.
    Hidden files and folders, macOS's ``._*`` copies and ``__MACOSX`` are passed over; links to folders are followed.

    Raises:
        UserError: a folder cannot be read.
    """
    return _recordings(root)[0]


def _recordings(root: Path) -> tuple[list[Path], Counter[str]]:
    """The files that ``audio_files`` lists, and of which other suffixes there are how many."""
    found = list(_walk(root, sum(SUFFIXES, ())))
    for suffixes in SUFFIXES:
        if read := [path for path in found if path.suffix.lower() in suffixes]:
            others = Counter(path.suffix.lower() for path in found if path.suffix.lower() not in suffixes)
            return sorted(read, key=lambda path: _order(path.relative_to(root))), others
    return [], Counter()


def every_recording(root: Path) -> list[Path]:
    """Every recording below ``root``, whatever its coding, in the same order; ``audio_files`` takes some for copies.

    Raises:
        UserError: a folder cannot be read, or there is no recording in it.
    """
    found = sorted(_walk(root, sum(SUFFIXES, ())), key=lambda path: _order(path.relative_to(root)))
    if not found:
        raise UserError(f"the folder {root} holds no recordings.")
    return found


def asked_for(path: Path) -> list[Path]:
    """The recordings that a word of the command line names: a file, all below a folder, or those that a pattern fits.

    A pattern is what a shell would be given, in quotes: ``'rec/*.wav'``, ``'rec/**/*.wav'``. A name that is there is
    no pattern.

    Raises:
        UserError: a folder holds no recordings, or nothing fits the pattern.
    """
    if path.is_dir():
        return every_recording(path)
    if path.exists() or not has_magic(str(path)):
        return [path]
    fitting = [Path(name) for name in glob(os.path.expanduser(path), recursive=True)]
    files = [one for one in fitting if one.is_file()] or [one for each in fitting for one in every_recording(each)]
    if not files:
        raise UserError(f"no file fits the pattern {path}; ** stands for any number of folders.")
    return sorted(files, key=_order)


def all_asked_for(words: Iterable[str | Path]) -> Asked:
    """The recordings that words of the command line name, each once; a word that names none takes no other's.

    Raises:
        UserError: no word names any.
    """
    asked = Asked([], {})
    for word in words:
        try:
            asked.files.extend(asked_for(Path(word)))
        except UserError as error:
            asked.problems[Path(word)] = str(error)
    if not asked.files:
        raise UserError(" ".join(asked.problems.values()))
    return Asked(list(dict.fromkeys(asked.files)), asked.problems)


def missing_speakers(name: str, known: Iterable[str], utterances: Iterable[Utterance]) -> tuple[str, ...]:
    """A note on those of a corpus's speakers of whom no utterance is here; none where all are.

    >>> missing_speakers("tess", ["tess-OAF", "tess-YAF"], [Utterance(Path("a"), "tess", "tess-YAF", "female", "joy")])
    ('1 of the 2 speakers of tess is here: OAF is missing',)
    """
    every = list(known)
    here = {utterance.speaker for utterance in utterances}
    missing = [speaker.removeprefix(f"{name}-") for speaker in every if speaker not in here]
    if not missing:
        return ()
    present = len(every) - len(missing)
    return (
        f"{present} of the {len(every)} speakers of {name} {'is' if present == 1 else 'are'} here: "
        f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} missing",
    )


def read_names(
    root: Path, name: str, classes: Sequence[str], parse: Parse, expected: str, speakers: Iterable[str] = ()
) -> Corpus:
    """Read a corpus whose file names tell all.

    Files that are no speech audio, copies in other codings and speakers that are not here are counted in the notes.

    A file name of one speaker that occurs twice (the nested copies in some releases) is read once: from where it is not
    misplaced, then from the shallower folder; the others become ``duplicate`` problems.

    Args:
        root: the corpus's folder.
        name: of the corpus.
        classes: its emotions in canonical order.
        parse: from a path to what its name says.
        expected: an example of a file in its folder, for messages.
        speakers: all whom the release has.

    Raises:
        NoCorpusError: no such folder, or no file in it whose name can be read.
        UserError: a folder cannot be read.
    """
    root = existing_folder(root, name, f"files such as {expected}")
    problems: list[Problem] = []
    found: dict[str, list[tuple[Path, Named]]] = {}
    files, others = _recordings(root)
    aside: Counter[str] = Counter()
    for path in files:
        try:
            named = parse(path)
        except UnparsableNameError as error:
            problems.append(Problem(path, "unparsable name", str(error)))
            continue
        if isinstance(named, str):
            aside[named] += 1
        else:
            found.setdefault(f"{named.utterance.speaker} {path.stem.casefold()}", []).append((path, named))
    if not found:
        held = f"none of its {len(files)} audio files is" if files else "it holds no .wav, .flac, .mp3 or .ogg file"
        held = f"it holds {_counts(aside)} alone, and no file" if aside else held
        raise NoCorpusError(
            f"{name}: nothing to read in {root}: {held}{' named' if files else '; expected files'} like {expected}."
        )

    utterances: list[Utterance] = []
    for same in found.values():
        same.sort(key=lambda item: (bool(item[1].misplaced), len(item[0].parts), _order(item[0])))
        kept, named = same[0]
        utterances.append(named.utterance)
        for path, copy in same:
            if copy.misplaced:
                problems.append(Problem(path, "misplaced", copy.misplaced))
            elif path != kept:
                problems.append(Problem(path, "duplicate", f"same name as {kept.relative_to(root)}, which is read"))
    utterances.sort(key=lambda utterance: _order(utterance.path.relative_to(root)))
    problems.sort(key=lambda problem: _order(problem.path.relative_to(root)))
    aside.update({f"{suffix} files": number for suffix, number in others.items()})
    notes = (f"left out of {name}: {_counts(aside)}",) if aside else ()
    return Corpus(
        name,
        tuple(utterances),
        present(classes, (u.emotion for u in utterances)),
        tuple(problems),
        (*notes, *missing_speakers(name, speakers, utterances)),
    )


def _counts(numbers: Counter[str]) -> str:
    return ", ".join(f"{kind} ({number:,})" for kind, number in sorted(numbers.items()))


def _walk(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read the folder {error.filename}: {error.strerror}; check its permissions.")

    entered: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        subfolders[:] = sorted(sub for sub in subfolders if not sub.startswith(".") and sub != "__MACOSX")
        if real in entered:  # a link that leads back into the tree
            subfolders.clear()
            continue
        entered.add(real)
        for file in names:
            if not file.startswith(".") and file.lower().endswith(suffixes):
                yield Path(folder, file)


def _order(path: Path) -> tuple[str, str]:
    text = path.as_posix()
    return text.casefold(), text
