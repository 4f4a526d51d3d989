"""CREMA-D: 91 actors, 12 sentences, 6 emotions (Cao et al. 2014, IEEE Trans. Affective Computing 5(4))."""

from __future__ import annotations

import re
from pathlib import Path

from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.folder import Named, UnparsableNameError, read_names

CLASSES = ("anger", "disgust", "fear", "happy", "neutral", "sad")

# The release names one take 1040_ITH_SAD_X.
_NAME = re.compile(r"(10\d\d)_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)", re.IGNORECASE)
_EMOTIONS = dict(zip(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"), CLASSES, strict=True))
_INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}
_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
_ACTORS = range(1001, 1092)
# As VideoDemographics.csv of the release says; the other 48 are male.
_FEMALE = frozenset(
    (
        1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1012, 1013, 1018, 1020, 1021, 1024, 1025, 1028, 1029, 1030,
        1037, 1043, 1046, 1047, 1049, 1052, 1053, 1054, 1055, 1056, 1058, 1060, 1061, 1063, 1072, 1073, 1074, 1075,
        1076, 1078, 1079, 1082, 1084, 1089, 1091,
    )
)  # fmt: skip


def read(root: Path) -> Corpus:
    """Read ``AudioWAV/1001_DFA_ANG_XX.wav``: actor, sentence, emotion, intensity (in ``fields``).

    Raises:
        UserError: no such folder, or no CREMA-D recording in it.
    """
    speakers = (f"crema_d-{actor}" for actor in _ACTORS)
    return read_names(root, "crema_d", CLASSES, _parse, "AudioWAV/1001_DFA_ANG_XX.wav", speakers)


def _parse(path: Path) -> Named:
    match = _NAME.fullmatch(path.stem)
    if match is None or match[2].upper() not in _SENTENCES or int(match[1]) not in _ACTORS:
        raise UnparsableNameError("expected actor_sentence_emotion_intensity such as 1001_DFA_ANG_XX")
    actor, sentence, emotion, intensity = match[0].upper().split("_")
    utterance = Utterance(
        path=path,
        corpus="crema_d",
        speaker=f"crema_d-{actor}",
        sex="female" if int(actor) in _FEMALE else "male",
        emotion=_EMOTIONS[emotion],
        text=_SENTENCES[sentence],
        fields={"intensity": _INTENSITIES[intensity]},
    )
    return Named(utterance)
