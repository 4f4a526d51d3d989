"""What a network reads of an utterance beside its features: the words that are said, and a speaker embedding."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parallel_ser.corpora.base import Utterance
from parallel_ser.errors import UserError
from parallel_ser.models.multiscale import WORDS, XVECTOR
from parallel_ser.models.registry import Beside
from parallel_ser.models.settings import ModelSettings
from parallel_ser.system.files import plain

SCRIPTED = frozenset({"crema-d", "emodb", "emovo", "esd", "ravdess", "savee", "synthetic", "tess"})
"""Corpora whose speakers read the same sentences in every emotion, or a sentence for each."""
NATURAL = 3.0
"""Recordings of a text at the least, in the mean, where the texts are a script's."""
UNKNOWN = 1
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words_of(text: str) -> list[str]:
    """The words in lower case, without what stands between them.

    >>> words_of("Well -- I don't KNOW.")
    ['well', 'i', "don't", 'know']
    """
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def require_transcripts(model: ModelSettings, utterances: Sequence[Utterance]) -> None:
    """Refuse texts that a network must not read: none, or those of a script, which are the corpus's design.

    Raises:
        UserError: what is read is a script, or some utterances have no text.
    """
    if not model.beside.vocabulary:
        return
    how = f"model.name={model.name} reads the words that are said"
    alone = ", or take a model that hears alone, such as model.name=cnn"
    if scripted := sorted({one.corpus for one in utterances} & SCRIPTED):
        raise UserError(
            f"{how}, and the sentences of {scripted[0]} are its script: they say nothing of how people speak. Use a "
            f"corpus of spontaneous speech{alone}."
        )
    missing = [one for one in utterances if not words_of(one.text)]
    if missing:
        raise UserError(
            f"{how}, and {len(missing)} of {len(utterances)} utterances have none, such as {missing[0].path}: fill the "
            f"column text of a manifest, by a speech recogniser for instance{alone}."
        )
    texts = len({one.text for one in utterances})
    if len(utterances) >= NATURAL * texts:
        raise UserError(
            f"{how}, and {len(utterances)} utterances share {texts} texts: that is a script, not how people speak. Use "
            f"transcripts of spontaneous speech{alone}."
        )


@dataclass(frozen=True)
class Extras:
    """Reads what stands beside the features, by the words that one training side has.

    Attributes:
        beside: what the network reads.
        words: that it knows, the most frequent first; the place of a word is its id less 2.
    """

    beside: Beside
    words: tuple[str, ...] = ()

    @staticmethod
    def fit(model: ModelSettings, utterances: Sequence[Utterance]) -> Extras:
        """With the words of these utterances, the most frequent as far as the vocabulary reaches."""
        beside = model.beside
        if not beside.vocabulary:
            return Extras(beside)
        counts = Counter(word for one in utterances for word in words_of(one.text))
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return Extras(beside, tuple(ordered[: beside.vocabulary]))

    def __call__(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Of each utterance, by name: ``text`` ``(utterances, 128)`` int64, ``xvector`` ``(utterances, 512)``.

        Ids of words are 0 behind the last, 1 for a word that is not known; what is said after the 128th is left out.

        Raises:
            UserError: an utterance has no text, or no embedding.
        """
        found: dict[str, Tensor] = {}
        if self.beside.vocabulary:
            found["text"] = self._ids(utterances)
        if self.beside.xvectors:
            found["xvector"] = _xvectors(Path(self.beside.xvectors), utterances)
        return found

    def _ids(self, utterances: Sequence[Utterance]) -> Tensor:
        places = {word: number for number, word in enumerate(self.words, UNKNOWN + 1)}
        ids = torch.zeros(len(utterances), WORDS, dtype=torch.int64)
        for row, one in enumerate(utterances):
            said = [places.get(word, UNKNOWN) for word in words_of(one.text)[:WORDS]]
            if not said:
                raise UserError(
                    f"{one.path}: the run reads the words that are said, and none are given: --text 'what is said'."
                )
            ids[row, : len(said)] = torch.tensor(said)
        return ids

    def initial(self, table: Tensor) -> dict[str, Tensor]:
        """The vectors of the known words, as far as ``word_vectors`` has them, in a ``table`` of other numbers.

        Raises:
            UserError: the file cannot be read, is no such file, or has none of the words.
        """
        if not self.beside.word_vectors:
            return {}
        path, filled = Path(self.beside.word_vectors), table.detach().clone()
        places = {word: number for number, word in enumerate(self.words, UNKNOWN + 1)}
        found = 0
        for word, vector in _word_vectors(path, filled.shape[1], places.keys()):
            filled[places[word]] = torch.from_numpy(vector).to(filled.dtype)
            found += 1
        if not found:
            raise UserError(f"model.options.word_vectors={path} has none of the {len(places)} words that are said.")
        return {self.beside.table: filled}

    @property
    def state(self) -> dict[str, Any]:
        """What is kept with a model."""
        return {"words": list(self.words)} if self.words else {}

    @staticmethod
    def from_state(model: ModelSettings, state: Mapping[str, Any]) -> Extras:
        """As ``state`` was given."""
        return Extras(model.beside, tuple(state.get("words", ())))


def _word_vectors(path: Path, width: int, wanted: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The wanted words of a file of GloVe's form: a line a word, then its values, with spaces between."""
    try:
        with plain(path).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                word, _, values = line.rstrip("\n").partition(" ")
                if word not in wanted:
                    continue
                vector = np.array(values.split(), dtype=np.float32)
                if vector.shape != (width,) or not np.isfinite(vector).all():
                    raise UserError(
                        f"line {number} of model.options.word_vectors={path} has {vector.size} values for "
                        f"{word!r}: model.options.word_width={width} must be as many."
                    )
                yield word, vector
    except OSError as error:
        raise UserError(f"model.options.word_vectors={path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # no numbers, or no text
        raise UserError(
            f"model.options.word_vectors={path} is not of GloVe's form: a line a word, then its values."
        ) from error


def _xvectors(path: Path, utterances: Sequence[Utterance]) -> Tensor:
    """Speaker embeddings ``(utterances, 512)`` of an ``.npz`` with an array for each recording, by its file's stem."""
    try:
        with np.load(plain(path), allow_pickle=False) as every:
            missing = [one for one in utterances if one.path.stem not in every]
            if missing:
                raise UserError(
                    f"model.options.xvectors={path} has no array {missing[0].path.stem}, for {missing[0].path}."
                )
            rows = [np.asarray(every[one.path.stem], dtype=np.float32) for one in utterances]
    except OSError as error:
        raise UserError(f"model.options.xvectors={path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"model.options.xvectors={path} is no .npz of numbers, as numpy.savez writes it.") from error
    for one, row in zip(utterances, rows, strict=True):
        if row.shape != (XVECTOR,) or not np.isfinite(row).all():
            raise UserError(
                f"model.options.xvectors={path}: {one.path.stem} has shape {row.shape}; {XVECTOR} numbers are expected."
            )
    return torch.from_numpy(np.stack(rows))
