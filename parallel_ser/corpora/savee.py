"""SAVEE: four men, 480 English sentences, 7 emotions (Haq & Jackson 2010, in Machine Audition, IGI Global)."""

from __future__ import annotations

import re
from pathlib import Path

from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.folder import Named, UnparsableNameError, read_names

CLASSES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")

_NAME = re.compile(r"(?:(DC|JE|JK|KL)_)?(sa|su|[adfhn])(\d\d)", re.IGNORECASE)
_EMOTIONS = dict(zip(("a", "d", "f", "h", "n", "sa", "su"), CLASSES, strict=True))
_SPEAKERS = ("DC", "JE", "JK", "KL")


def read(root: Path) -> Corpus:
    """Read ``DC/sa01.wav``, or ``DC_sa01.wav`` as copies without folders have it: emotion and number (in ``fields``).

    ``text`` is empty: the names do not say which neutral takes repeat the sentences of other emotions.

    Raises:
        UserError: no such folder, or no SAVEE recording in it.
    """
    speakers = (f"savee-{speaker}" for speaker in _SPEAKERS)
    return read_names(root, "savee", CLASSES, _parse, "DC/a01.wav", speakers)


def _parse(path: Path) -> Named:
    match = _NAME.fullmatch(path.stem)
    folder = path.parent.name.upper()
    speaker = ((match and match[1]) or folder).upper()
    if match is None or speaker not in _SPEAKERS:
        raise UnparsableNameError("expected emotion and number in a speaker's folder, such as DC/a01")
    misplaced = f"named as {speaker} in the folder {folder}" if folder in _SPEAKERS and folder != speaker else ""
    emotion = _EMOTIONS[match[2].lower()]
    fields = {"number": str(int(match[3]))}
    return Named(Utterance(path, "savee", f"savee-{speaker}", "male", emotion, fields=fields), misplaced)
