"""RAVDESS, speech part: 24 actors, 8 emotions, 2 statements (Livingstone & Russo 2018, PLoS ONE 13(5): e0196391)."""

from __future__ import annotations

import re
from pathlib import Path

from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.folder import Named, UnparsableNameError, read_names

CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

_NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
_FOLDER = re.compile(r"Actor_(\d+)", re.IGNORECASE)
_INTENSITIES = ("normal", "strong")
_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
_AUDIO_ONLY, _SPEECH = "03", "01"
_SPEAKERS = tuple(f"ravdess-{actor:02d}" for actor in range(1, 25))


def read(root: Path) -> Corpus:
    """Read ``Actor_XX/03-01-EE-II-SS-RR-AA.wav``; songs and the sound of videos are left out and counted.

    The name says who speaks: an actor's folder of another number makes a ``misplaced`` problem. The archive that holds
    everything twice (again below ``audio_speech_actors_01-24/``) is read once, its copies are ``duplicate`` problems.
    ``fields``: intensity (normal, strong) and repetition (1, 2).

    Raises:
        UserError: no such folder, or no RAVDESS speech in it.
    """
    return read_names(root, "ravdess", CLASSES, _parse, "Actor_01/03-01-01-01-01-01-01.wav", _SPEAKERS)


def _parse(path: Path) -> Named | str:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise UnparsableNameError("expected seven numbers such as 03-01-05-01-02-01-12")
    modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
    if (modality, channel) != (_AUDIO_ONLY, _SPEECH):
        what = "songs" if channel != _SPEECH else "utterances"
        return what if modality == _AUDIO_ONLY else f"{what} of videos"
    folder = _FOLDER.fullmatch(path.parent.name)
    misplaced = ""
    if folder is not None and int(folder[1]) != int(actor):
        misplaced = f"named as actor {actor} in the folder {path.parent.name}"
    fields = {"intensity": _INTENSITIES[int(intensity) - 1], "repetition": str(int(repetition))}
    utterance = Utterance(
        path=path,
        corpus="ravdess",
        speaker=f"ravdess-{actor}",
        sex="male" if int(actor) % 2 else "female",
        emotion=CLASSES[int(emotion) - 1],
        text=_STATEMENTS[int(statement) - 1],
        fields=fields,
    )
    return Named(utterance, misplaced)
