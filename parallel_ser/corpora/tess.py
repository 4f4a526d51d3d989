"""TESS: two actresses, 200 words, 7 emotions (Pichora-Fuller & Dupuis 2020, doi 10.5683/SP2/E8H2MF)."""

from __future__ import annotations

import re
from pathlib import Path

from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.folder import Named, UnparsableNameError, read_names
from parallel_ser.corpora.labels import canonical

CLASSES = ("angry", "disgust", "fear", "happy", "pleasant_surprise", "sad", "neutral")

_NAME = re.compile(r"(OAF?|YAF?)_([a-z' -]+)_([a-z_]+)", re.IGNORECASE)
_FOLDER = re.compile(r"(OAF|YAF)_([a-z_]+)", re.IGNORECASE)
_CLASS_OF = {canonical(name): name for name in CLASSES}


def read(root: Path) -> Corpus:
    """Read ``OAF_angry/OAF_back_angry.wav`` and the like, also from the nested copy in some releases.

    One file of the release is really named ``OA_bite_neutral``: it is OAF's. A name that tells of another speaker or
    emotion than its folder makes a ``misplaced`` problem, and the name is believed: files get moved more often than
    renamed. Folder spellings differ between releases (``OAF_Fear``, ``YAF_pleasant_surprised``); all are known.

    Raises:
        UserError: no such folder, or no TESS recording in it.
    """
    return read_names(root, "tess", CLASSES, _parse, "OAF_angry/OAF_back_angry.wav", ("tess-OAF", "tess-YAF"))


def _parse(path: Path) -> Named:
    match = _NAME.fullmatch(path.stem)
    emotion = _CLASS_OF.get(canonical(match[3])) if match else None
    if match is None or emotion is None:
        raise UnparsableNameError("expected speaker_word_emotion such as OAF_back_angry")
    speaker = match[1].upper()[:2] + "F"
    folder = _FOLDER.fullmatch(path.parent.name)
    misplaced = ""
    if folder is not None and (folder[1].upper(), _CLASS_OF.get(canonical(folder[2]))) != (speaker, emotion):
        misplaced = f"named as {speaker}, {emotion} in the folder {path.parent.name}"
    utterance = Utterance(path, "tess", f"tess-{speaker}", "female", emotion, text=match[2].lower())
    return Named(utterance, misplaced)
