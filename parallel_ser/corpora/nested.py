"""Folds inside a training side, for searching settings without a look at the test side."""

from __future__ import annotations

from collections.abc import Sequence

from parallel_ser.corpora import protocols
from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.protocols import Fold
from parallel_ser.corpora.settings import SplitSettings
from parallel_ser.errors import UserError


def inner_folds(
    utterances: Sequence[Utterance], training: Sequence[int], protocol: str, folds: int, seed: int
) -> list[Fold]:
    """Folds of the utterances at ``training`` by the unit that the protocol holds out.

    ``Fold.test`` is what is held out and ``Fold.train`` with ``Fold.select`` what is learned from; the indices count
    through ``training``. Where there are fewer units than folds, there is one fold a unit; where the unit cannot be
    held out (one speaker, a class lost), the next way is taken: by speaker, by text, at random, as for the selection
    split.

    Raises:
        UserError: no way leaves every class to learn from.
    """
    inside = tuple(utterances[index] for index in training)
    classes = tuple(sorted({one.emotion for one in inside}))
    corpus = Corpus("training side", inside, classes)
    problem: UserError | None = None
    for way in protocols.ways_inside(protocol):
        units = {
            "speaker": len({one.speaker for one in inside}),
            "session": len({protocols.session_of(one) for one in inside}),
            "text": len({one.text for one in inside}),
        }
        count = min([folds, *(units[unit] for unit in way.split("+")[:1] if unit in units)])
        if count < 2:
            continue
        try:
            return protocols.folds(corpus, SplitSettings(protocol=way, folds=count, seed=seed, selection=0.05))
        except UserError as error:
            problem = error
    # what a way was refused for names settings of its own, which are not the user's
    raise UserError(
        f"a training side of {len(inside)} utterances is too small to hold some of every emotion out of it, which the "
        "search of settings needs; use a larger corpus."
    ) from problem
