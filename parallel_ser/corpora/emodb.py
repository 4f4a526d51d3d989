"""Emo-DB, the Berlin database: 10 speakers, 10 German sentences, 7 emotions (Burkhardt et al. 2005, Interspeech)."""

from __future__ import annotations

import re
from pathlib import Path

from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.folder import Named, UnparsableNameError, read_names

CLASSES = ("anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral")

_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z])", re.IGNORECASE)
_LETTERS = dict(zip("WLEAFTN", CLASSES, strict=True))  # Wut, Langeweile, Ekel, Angst, Freude, Trauer, Neutral
_FEMALE = frozenset({"08", "09", "13", "14", "16"})
_MALE = frozenset({"03", "10", "11", "12", "15"})
_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


def read(root: Path) -> Corpus:
    """Read ``wav/03a01Fa.wav``: speaker, sentence, emotion's letter, take. ``fields``: version (the take).

    Raises:
        UserError: no such folder, or no Emo-DB recording in it.
    """
    speakers = (f"emodb-{speaker}" for speaker in sorted(_FEMALE | _MALE))
    return read_names(root, "emodb", CLASSES, _parse, "wav/03a01Fa.wav", speakers)


def _parse(path: Path) -> Named:
    match = _NAME.fullmatch(path.stem)
    if match is None or match[1] not in _FEMALE | _MALE or match[2].lower() not in _SENTENCES:
        raise UnparsableNameError("expected speaker, sentence, emotion and take such as 03a01Fa")
    speaker, sentence, letter, version = match.groups()
    utterance = Utterance(
        path=path,
        corpus="emodb",
        speaker=f"emodb-{speaker}",
        sex="female" if speaker in _FEMALE else "male",
        emotion=_LETTERS[letter.upper()],
        text=_SENTENCES[sentence.lower()],
        fields={"version": version.lower()},
    )
    return Named(utterance)
