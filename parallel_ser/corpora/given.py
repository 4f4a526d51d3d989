"""Splits that a corpus brings along: each utterance's side from a field of its own or from a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.settings import SplitSettings
from parallel_ser.corpora.table import Finder, rows
from parallel_ser.corpora.words import listed
from parallel_ser.errors import UserError
from parallel_ser.system.terminal import text_of

SIDES: Mapping[str, str] = {
    word: side
    for side, words in {
        "train": "train training",
        "select": "select selection dev devel development valid validation val",
        "test": "test testing",
    }.items()
    for word in words.split()
}
"""What splits call their sides."""

Sides = tuple[list[int], list[int], list[int]]
"""Indices that train, select and test."""


def given(corpus: Corpus, settings: SplitSettings) -> dict[int, Sides]:
    """The sides of each fold as the corpus or the file has them.

    Either the words of ``SIDES``, in one fold, or whole numbers: the fold that tests an utterance, which the others
    train on. An utterance with nothing there is on no side. No selection side is an empty one.

    Raises:
        UserError: no utterance has the field, a word is unknown, a side is missing, or a speaker is on two sides and
            ``settings.speakers_may_cross`` does not take that.
    """
    words = (
        _of_file(corpus, settings) if settings.file else [u.fields.get(settings.column, "") for u in corpus.utterances]
    )
    source = f"{settings.file}" if settings.file else f"split.column={settings.column}"
    if not any(words):
        fields = ", ".join(sorted({field for one in corpus.utterances for field in one.fields})) or "none"
        raise UserError(
            f"split.protocol=given: no utterance of {corpus.name} has the field {settings.column}; its fields are "
            f"{fields}; name one with split.column, or give a CSV file with split.file."
        )
    numbered = all(word.isdecimal() and len(word) < 9 for word in words if word)
    splits = _numbered(words) if numbered else {0: _named(words, source)}
    for index, sides in splits.items():
        for name, side in (("training", sides[0]), ("test", sides[2])):
            if not side:
                raise UserError(f"{source} puts no utterance of {corpus.name} on the {name} side of fold {index}.")
        if not settings.speakers_may_cross:
            _require_apart(corpus.utterances, sides, source)
    return splits


def _numbered(words: Sequence[str]) -> dict[int, Sides]:
    numbers = {index: int(word) for index, word in enumerate(words) if word}
    return {
        fold: (
            [index for index, number in numbers.items() if number != fold],
            [],
            [index for index, number in numbers.items() if number == fold],
        )
        for fold in sorted(set(numbers.values()))
    }


def _named(words: Sequence[str], source: str) -> Sides:
    unknown = sorted({word for word in words if word and word.casefold() not in SIDES})
    if unknown:
        raise UserError(f"{source} has '{unknown[0]}', which is neither a fold's number nor one of {', '.join(SIDES)}.")
    sides = {side: [i for i, word in enumerate(words) if SIDES.get(word.casefold()) == side] for side in SIDES.values()}
    return sides["train"], sides["select"], sides["test"]


def _of_file(corpus: Corpus, settings: SplitSettings) -> list[str]:
    """What the file says of each utterance, by its path or its speaker."""
    assert settings.file is not None
    file, column = settings.file.expanduser(), settings.column
    sides: dict[str | Path, str] = {}
    finder, speakers = Finder(file.parent), {one.speaker for one in corpus.utterances}
    for row in rows(file, "split.file", (column,)):
        path, speaker = (text_of(row.cells.get(name, "")) for name in ("path", "speaker"))
        key: str | Path | None = None
        if path:
            found = finder(path)
            key = found and found.resolve()
            trouble = f"there is no file {path}"
        else:
            key = next((name for name in (speaker, f"{corpus.name}-{speaker}") if name in speakers), None)
            trouble = f"{corpus.name} has no speaker '{speaker}'; needed is a path or a speaker"
        if key is None:
            raise UserError(f"{row.where}: {trouble}.")
        if sides.setdefault(key, row.cells[column]) != row.cells[column]:
            raise UserError(f"{row.where} puts {path or speaker} on another side than a line before it.")
    paths = [one.path.resolve() for one in corpus.utterances]
    files = {key for key in sides if isinstance(key, Path)}
    if files and not files & {*paths}:
        raise UserError(
            f"none of the files that {file} lists, such as {min(files)}, is a recording of {corpus.name}; list those "
            "that corpus.root has."
        )
    return [sides.get(path, sides.get(one.speaker, "")) for path, one in zip(paths, corpus.utterances, strict=True)]


def _require_apart(utterances: Sequence[Utterance], sides: Iterable[Sequence[int]], source: str) -> None:
    names = [{utterances[index].speaker for index in side} for side in sides]
    for one, other, between in (
        (0, 2, "training and test"),
        (0, 1, "training and selection"),
        (1, 2, "selection and test"),
    ):
        if crossing := sorted(names[one] & names[other]):
            raise UserError(
                f"{source} has {len(crossing)} speaker{'s' * (len(crossing) > 1)} on the sides of {between}: "
                f"{listed(crossing)}; use split.protocol=speaker, or split.speakers_may_cross=true, which every result "
                "then says."
            )
