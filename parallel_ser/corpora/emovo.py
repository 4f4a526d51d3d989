"""EMOVO: 6 Italian actors, 14 sentences, 7 emotions (Costantini et al. 2014, LREC)."""

from __future__ import annotations

import re
from pathlib import Path

from parallel_ser.corpora.base import Corpus, Sex, Utterance
from parallel_ser.corpora.folder import Named, UnparsableNameError, read_names

CLASSES = ("disgust", "joy", "neutral", "fear", "anger", "surprise", "sadness")

_NAME = re.compile(r"(dis|gio|neu|pau|rab|sor|tri)-([fm][123])-(b[123]|l[1-4]|n[1-5]|d[12])", re.IGNORECASE)
_EMOTIONS = dict(zip(("dis", "gio", "neu", "pau", "rab", "sor", "tri"), CLASSES, strict=True))
_FOLDER = re.compile(r"[fm][123]", re.IGNORECASE)


def read(root: Path) -> Corpus:
    """Read ``f1/dis-f1-b1.wav``: emotion, speaker, sentence; ``text`` is the sentence's code.

    Raises:
        UserError: no such folder, or no EMOVO recording in it.
    """
    speakers = (f"emovo-{sex}{number}" for sex in "fm" for number in (1, 2, 3))
    return read_names(root, "emovo", CLASSES, _parse, "f1/dis-f1-b1.wav", speakers)


def _parse(path: Path) -> Named:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise UnparsableNameError("expected emotion, speaker and sentence such as dis-f1-b1")
    emotion, speaker, sentence = match[0].lower().split("-")
    folder = path.parent.name.lower()
    misplaced = f"named as {speaker} in the folder {folder}" if _FOLDER.fullmatch(folder) and folder != speaker else ""
    sex: Sex = "female" if speaker[0] == "f" else "male"
    return Named(Utterance(path, "emovo", f"emovo-{speaker}", sex, _EMOTIONS[emotion], sentence), misplaced)
