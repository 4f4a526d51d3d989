"""MELD: utterances of the series Friends, 7 emotions (Poria et al. 2019, ACL, doi 10.18653/v1/P19-1050)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from parallel_ser.corpora.base import Corpus, NoCorpusError, Problem, Sex, Utterance
from parallel_ser.corpora.folder import audio_files, existing_folder
from parallel_ser.corpora.labels import present
from parallel_ser.corpora.table import Row, rows
from parallel_ser.errors import UserError

CLASSES = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
SPLITS = ("train", "dev", "test")

_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_CLIP = re.compile(r"dia(\d+)_utt(\d+)", re.IGNORECASE)
_SEXES: dict[str, Sex] = {
    "Rachel": "female", "Monica": "female", "Phoebe": "female", "Ross": "male", "Joey": "male", "Chandler": "male",
}  # fmt: skip
_EXPECTED = "train_sent_emo.csv and train_splits/dia0_utt0.mp4 (or .wav)"


def read(root: Path) -> Corpus:
    """Read the clips that ``train_sent_emo.csv``, ``dev_sent_emo.csv`` and ``test_sent_emo.csv`` list.

    A clip lies below a folder whose name has its split's (``train_splits``, ``dev_splits_complete``,
    ``output_repeated_splits_test``); sound that was taken out of the videos is read before them. A speaker is a name in
    the table: ``Woman`` is whoever is called so. ``fields``: split (train, dev, test; the main six are on all of
    them), dialogue and the table's other columns. A clip that is listed and not here is a ``missing`` problem.

    Raises:
        UserError: no such folder, no list in it, or none of the listed clips.
    """
    root = existing_folder(root, "meld", _EXPECTED)
    lists = {split: list for split in SPLITS if (list := next(iter(sorted(root.rglob(f"{split}_sent_emo.csv"))), None))}
    if not lists:
        raise NoCorpusError(f"meld: no train_sent_emo.csv in {root}; expected {_EXPECTED}.")
    clips = dict(_clips(root))
    items = [_item(root, split, row, clips) for split, file in lists.items() for row in rows(file, "meld", _COLUMNS)]
    utterances = tuple(item for item in items if isinstance(item, Utterance))
    problems = tuple(item for item in items if isinstance(item, Problem))
    if not utterances:
        raise UserError(f"meld: none of the listed clips is in {root}; expected {_EXPECTED}.")
    return Corpus("meld", utterances, present(CLASSES, (one.emotion for one in utterances)), problems)


def _clips(root: Path) -> Iterator[tuple[tuple[str, int, int], Path]]:
    """The clips below ``root`` by split, dialogue and utterance."""
    for path in audio_files(root):
        match = _CLIP.fullmatch(path.stem)
        folders = [part.lower() for part in path.relative_to(root).parts[-2::-1]]
        split = next((split for folder in folders for split in SPLITS if split in folder), None)
        if match and split:
            yield (split, int(match[1]), int(match[2])), path


def _item(root: Path, split: str, row: Row, clips: dict[tuple[str, int, int], Path]) -> Utterance | Problem:
    cells = dict(row.cells)
    text, speaker, emotion, dialogue, number = (cells.pop(name) for name in _COLUMNS)
    if not (dialogue.isdecimal() and number.isdecimal()) or emotion not in CLASSES:
        raise UserError(
            f"{row.where}: dialogue '{dialogue}', utterance '{number}' or emotion '{emotion}' is none of MELD's."
        )
    path = clips.get((split, int(dialogue), int(number)))
    if path is None:
        name = f"dia{dialogue}_utt{number}"
        return Problem(root / f"{split}_splits" / name, "missing", f"listed in {split}_sent_emo.csv, but not here")
    others = {name.lower(): cell for name, cell in cells.items() if name != "Sr No."}
    return Utterance(
        path=path,
        corpus="meld",
        speaker=f"meld-{speaker}",
        sex=_SEXES.get(speaker, "unknown"),
        emotion=emotion,
        text=text,
        fields={"split": split, "dialogue": f"{split} {dialogue}", **others},
    )
