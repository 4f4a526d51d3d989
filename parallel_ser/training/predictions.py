"""What a model said of each test utterance, with all that a result is computed from."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from parallel_ser.errors import UserError
from parallel_ser.system.csv_text import csv_text
from parallel_ser.system.files import plain, write_atomic
from parallel_ser.system.terminal import text_of

_COLUMNS = ("path", "speaker", "sex", "fold", "truth", "predicted", "confidence")
_PREFIX = "p."
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row an utterance; the classes travel with the probabilities, so no other order can be zipped to them.

    Attributes:
        paths: the recordings; no path occurs twice in one fold.
        speakers: of each utterance.
        sexes: of each utterance's speaker.
        folds: in which each utterance was tested, ``(utterances,)``, int.
        truth: the emotion each utterance is labelled with, one of ``classes``.
        classes: the emotions in the order of the columns of ``probabilities``.
        probabilities: ``(utterances, classes)``, float64, each row sums to 1 (to 1e-4).

    Raises:
        ValueError: the parts do not fit together.
        UserError: an utterance's numbers are not probabilities, its truth is not a class, or it occurs twice.

    >>> said = Predictions(("a.wav",), ("s1",), ("female",), [0], ("sad",), ("joy", "sad"), [[0.2, 0.8]])
    >>> said.predicted
    ('sad',)
    """

    paths: tuple[str, ...]
    speakers: tuple[str, ...]
    sexes: tuple[str, ...]
    folds: np.ndarray
    truth: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        for name in ("paths", "speakers", "sexes", "truth", "classes"):
            object.__setattr__(self, name, tuple(str(value) for value in getattr(self, name)))
        for name, kind in (("folds", np.int64), ("probabilities", np.float64)):
            array = np.array(getattr(self, name), dtype=kind)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

        count, width = len(self.paths), len(self.classes)
        if len(set(self.classes)) != width or not width:
            raise ValueError(f"classes must be distinct and at least one, got {self.classes}")
        for name in ("speakers", "sexes", "folds", "truth", "probabilities"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{count} paths but {len(getattr(self, name))} {name}")
        if self.folds.ndim != 1 or self.probabilities.shape != (count, width):
            raise ValueError(f"probabilities must be {(count, width)}, got {self.probabilities.shape}")
        problem = _first_problem(self.paths, self.folds, self.truth, self.classes, self.probabilities)
        if problem is not None:
            row, clause = problem
            raise UserError(f"prediction for {self.paths[row]}: {clause}.")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def truth_indices(self) -> np.ndarray:
        """The column of each utterance's truth, ``(utterances,)``."""
        column = {name: index for index, name in enumerate(self.classes)}
        return np.array([column[name] for name in self.truth], dtype=np.int64)

    @property
    def predicted_indices(self) -> np.ndarray:
        """The column of each utterance's highest probability, the first one in a tie, ``(utterances,)``."""
        return self.probabilities.argmax(axis=1)

    @property
    def predicted(self) -> tuple[str, ...]:
        """The emotion of the highest probability, the first in the order of ``classes`` in a tie."""
        return tuple(self.classes[index] for index in self.predicted_indices)

    def take(self, rows: Sequence[int]) -> Predictions:
        """The utterances at ``rows``, in that order."""
        names = ("paths", "speakers", "sexes", "truth")
        own = {name: tuple(getattr(self, name)[row] for row in rows) for name in names}
        places = list(rows)
        return replace(self, folds=self.folds[places], probabilities=self.probabilities[places], **own)

    def with_probabilities(self, probabilities: np.ndarray) -> Predictions:
        """The same utterances with other probabilities ``(utterances, classes)``."""
        return replace(self, probabilities=probabilities)

    def with_classes(self, classes: tuple[str, ...]) -> Predictions:
        """The same with the columns in another order of the same classes."""
        columns = [self.classes.index(name) for name in classes]
        return replace(self, classes=classes, probabilities=self.probabilities[:, columns])

    def merged(self, names: Mapping[str, str]) -> Predictions:
        """The same with several classes as one, whose probability is the sum of theirs.

        Args:
            names: what each class goes under; a merged one has the place of its first.
        """
        classes = tuple(dict.fromkeys(names[name] for name in self.classes))
        sums = np.zeros((len(self), len(classes)))
        for name, column in zip(self.classes, self.probabilities.T, strict=True):
            sums[:, classes.index(names[name])] += column
        return replace(self, truth=tuple(names[name] for name in self.truth), classes=classes, probabilities=sums)

    def to_csv(self, path: Path) -> None:
        """Write one line an utterance, the probabilities to the last bit; whole or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        titles = [*_COLUMNS, *(_PREFIX + name for name in self.classes)]
        about = zip(self.paths, self.speakers, self.sexes, self.folds.tolist(), self.truth, self.predicted, strict=True)
        rows = ([*one, max(values), *values] for one, values in zip(about, self.probabilities.tolist(), strict=True))
        # File names need not be UTF-8; this encoding brings the same bytes back.
        data = csv_text([titles, *rows]).encode("utf-8", "surrogateescape")
        write_atomic(path, lambda file: file.write(data))

    @classmethod
    def from_csv(cls, path: Path) -> Predictions:
        """Read what ``to_csv`` wrote.

        Raises:
            UserError: the file is missing or broken, naming it and the line.
        """
        rows, lines = _read(path)
        header = rows.pop(0) if rows else []
        classes = tuple(name.removeprefix(_PREFIX) for name in header[len(_COLUMNS) :])
        expected = [*_COLUMNS, *(_PREFIX + name for name in classes)]
        if header != expected or not classes or len(set(classes)) != len(classes):
            raise UserError(
                f"{path}, line 1: the columns must be {', '.join(_COLUMNS)}, then one {_PREFIX}CLASS for each class."
            )
        numbers = [_numbers(path, line, row, len(header)) for line, row in zip(lines[1:], rows, strict=True)]
        folds = np.array([fold for fold, _ in numbers], dtype=np.int64)
        probabilities = np.array([values for _, values in numbers]).reshape(len(rows), len(classes))
        paths, speakers, sexes, _, truth, predicted = ([text_of(row[i]) for row in rows] for i in range(6))
        problem = _first_problem(paths, folds, truth, classes, probabilities) or _contradiction(
            predicted, classes, probabilities
        )
        if problem is not None:
            row_index, clause = problem
            raise UserError(f"{path}, line {lines[1 + row_index]}: {clause}.")
        return cls(tuple(paths), tuple(speakers), tuple(sexes), folds, tuple(truth), classes, probabilities)


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Join the predictions of several folds, in their order.

    Raises:
        ValueError: no parts, or their classes differ in name or order.
        UserError: two parts predict the same recording in the same fold.
    """
    if not parts:
        raise ValueError("no predictions to concatenate")
    classes = parts[0].classes
    for part in parts:
        if part.classes != classes:
            raise ValueError(f"cannot join predictions over {classes} with predictions over {part.classes}")

    def joined(name: str) -> tuple[str, ...]:
        return tuple(chain.from_iterable(getattr(part, name) for part in parts))

    return Predictions(
        paths=joined("paths"),
        speakers=joined("speakers"),
        sexes=joined("sexes"),
        folds=np.concatenate([part.folds for part in parts]),
        truth=joined("truth"),
        classes=classes,
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )


def _first_problem(
    paths: Sequence[str], folds: np.ndarray, truth: Sequence[str], classes: Sequence[str], probabilities: np.ndarray
) -> tuple[int, str] | None:
    """The first row that cannot be right and a clause that says why."""
    seen: set[tuple[str, int]] = set()
    for row, (path, fold, label, values) in enumerate(zip(paths, folds.tolist(), truth, probabilities, strict=True)):
        if not np.isfinite(values).all():
            return row, "a probability is not a finite number; training that diverged needs a lower learning rate"
        if (values < 0).any() or abs(values.sum() - 1.0) > _SUM_TOLERANCE:
            return row, f"the probabilities must be at least 0 and sum to 1, they sum to {values.sum():.6g}"
        if label not in classes:
            return row, f"the true emotion {label!r} is not one of the classes {', '.join(classes)}"
        if (path, fold) in seen:
            return row, f"{path} occurs twice in fold {fold}; each recording is tested once"
        seen.add((path, fold))
    return None


def _contradiction(
    predicted: Sequence[str], classes: Sequence[str], probabilities: np.ndarray
) -> tuple[int, str] | None:
    """The first row whose ``predicted`` is not where its probability is highest: columns in another order."""
    for row, (name, values) in enumerate(zip(predicted, probabilities, strict=True)):
        best = classes[int(values.argmax())]
        # Numbers rounded by a spreadsheet may tie; that is no contradiction.
        if name not in classes or values[classes.index(name)] < values.max() - 1e-6:
            return row, f"predicted says {name!r} but the highest probability is that of {best!r}"
    return None


def _read(path: Path) -> tuple[list[list[str]], list[int]]:
    """The rows of a CSV file that are not blank, and the line on which each ends."""
    rows, lines = [], []
    try:
        with plain(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not a CSV file ({error}).") from error
    except OSError as error:
        raise UserError(f"cannot read the predictions in {path}: {error.strerror or error}.") from error
    return rows, lines


def _numbers(path: Path, line: int, row: list[str], width: int) -> tuple[int, list[float]]:
    """A row's fold and probabilities."""
    if len(row) != width:
        raise UserError(f"{path}, line {line}: {len(row)} fields where the header has {width}.")
    try:
        return int(row[3]), [float(value) for value in row[len(_COLUMNS) :]]
    except ValueError as error:
        raise UserError(f"{path}, line {line}: not a number ({error}).") from error
