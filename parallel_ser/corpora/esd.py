"""ESD: 10 Mandarin and 10 English speakers, 350 sentences each, 5 emotions (Zhou et al. 2022, Speech Comm. 137)."""

from __future__ import annotations

import re
from pathlib import Path

from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.folder import Named, UnparsableNameError, read_names

CLASSES = ("neutral", "angry", "happy", "sad", "surprise")
"""In the order of the numbers of their recordings."""

_NAME = re.compile(r"(00(?:0[1-9]|1\d|20))_(\d{6})")
_FEMALE = frozenset({1, 2, 3, 7, 9, 15, 16, 17, 18, 19})
_SENTENCES = 350
_SPLITS = {"train": "train", "evaluation": "dev", "test": "test"}


def read(root: Path) -> Corpus:
    """Read ``0011/Angry/0011_000351.wav``, also from ``0011/Angry/train`` and the like.

    Each speaker says the sentences of their language in each emotion, one emotion after the other: the number tells
    both. An emotion's folder of another name makes a ``misplaced`` problem. ``text`` is the language and the sentence's
    number. ``fields``: language (Mandarin, English) and, where the folder tells, split (train, dev, test), which has
    every speaker on every side.

    Raises:
        UserError: no such folder, or no ESD recording in it.
    """
    speakers = (f"esd-{number:04d}" for number in range(1, 21))
    return read_names(root, "esd", CLASSES, _parse, "0011/Angry/0011_000351.wav", speakers)


def _parse(path: Path) -> Named:
    match = _NAME.fullmatch(path.stem)
    place, sentence = divmod(int(match[2]) - 1, _SENTENCES) if match else (-1, 0)
    if match is None or not 0 <= place < len(CLASSES):
        raise UnparsableNameError("expected speaker and number, up to 1750, such as 0011_000351")
    speaker, emotion = int(match[1]), CLASSES[place]
    split = _SPLITS.get(path.parent.name.lower(), "")
    folder = (path.parent.parent if split else path.parent).name.lower()
    misplaced = ""
    if folder in CLASSES and folder != emotion:
        misplaced = f"numbered as {emotion} in the folder {folder}"
    language = "Mandarin" if speaker <= 10 else "English"
    utterance = Utterance(
        path=path,
        corpus="esd",
        speaker=f"esd-{speaker:04d}",
        sex="female" if speaker in _FEMALE else "male",
        emotion=emotion,
        text=f"{language} {sentence + 1}",
        fields={"language": language, **({"split": split} if split else {})},
    )
    return Named(utterance, misplaced)
