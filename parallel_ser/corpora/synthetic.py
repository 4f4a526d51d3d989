"""The built-in corpus: speech-like utterances of seven emotions, rendered by numpy, the same for the same seed.

It exists to try the whole product without a corpus at hand. It says nothing about people: its emotions are a table,
after the directions that Banse & Scherer (1996) and Juslin & Laukka (2003) report. What makes it hard is what makes
speech hard: neighbouring emotions overlap, speakers express them to different degrees and each in their own way, no
two takes are equal, and microphones, noise and silence vary without regard to emotion.
"""

from __future__ import annotations

import hashlib
import json
import wave
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from parallel_ser.corpora import voice as renderer
from parallel_ser.corpora.base import Corpus, Sex, Utterance
from parallel_ser.corpora.settings import SyntheticSettings
from parallel_ser.corpora.voice import RATE, Voice
from parallel_ser.system.files import cache_folder, write_atomic, write_text
from parallel_ser.system.leftovers import begun, workers

CLASSES = ("joy", "anger", "sadness", "surprise", "fear", "disgust", "neutral")

# What an emotion of full strength changes in a voice, in the units of ``Voice``.
#         pitch  span slope final  tempo level tension breath rough tremor artic tract
_EFFECTS = {
    "joy":      Voice(4.0,  1.6,  0.0,  1.0,  0.12,  1.5,  0.4, -1.0, 0.0, 0.0,  0.15,  6.0),
    "anger":    Voice(3.0,  1.0, -1.0, -1.5,  0.12,  3.0,  1.4, -5.0, 0.8, 0.0,  0.20,  0.0),
    "sadness":  Voice(-1.5, -1.0, -1.0, -1.0, -0.20, -2.0, -1.1,  6.0, 0.2, 0.1, -0.30, -1.0),
    "surprise": Voice(6.0,  2.0,  3.0,  6.0,  0.00,  1.0, -0.1,  1.0, 0.0, 0.0,  0.15,  0.0),
    "fear":     Voice(6.0, -0.8,  1.0,  1.0,  0.20,  0.0,  0.3,  8.0, 0.6, 0.6, -0.15,  2.0),
    "disgust":  Voice(-2.0, 0.3, -3.0, -2.5, -0.15,  1.0,  0.9,  1.0, 1.5, 0.0,  0.10, -7.0),
    "neutral":  Voice(0.0,  0.0,  0.0,  0.0,  0.00,  0.0,  0.0,  0.0, 0.0, 0.0,  0.00,  0.0),
}  # fmt: skip
# Standard deviations: between speakers, between the ways in which speakers express one emotion, between takes.
_SPEAKERS = Voice(1.6, 0.4, 0.8, 0.5, 0.10, 2.0, 0.35, 2.5, 0.2, 0.03, 0.06, 3.5)
_HABITS = Voice(1.4, 0.5, 1.0, 1.2, 0.08, 1.5, 0.30, 2.0, 0.3, 0.08, 0.08, 1.5)
_TAKES = Voice(0.7, 0.3, 0.7, 0.7, 0.07, 1.0, 0.15, 1.0, 0.1, 0.04, 0.05, 0.7)
_FEMALE = Voice(12.0, 2.2, -3.0, -0.5, 0.0, -32.0, -0.1, -23.0, 0.6, 0.08, 1.0, 16.0)
_MALE = Voice(3.0, 2.0, -3.0, -0.5, 0.0, -32.0, 0.1, -26.0, 0.7, 0.08, 1.0, 0.0)
_INDEX = "utterances.json"


def make(settings: SyntheticSettings, folder: Path | None = None, jobs: int | None = None) -> Corpus:
    """The corpus of these settings, rendered on ``jobs`` processes (all cores) unless the cache has it.

    ``folder`` is the cache's root. An entry's index is written last and names every file with its size, so an entry
    that is half written or damaged is rendered anew; files are replaced whole and are the same to the bit, so any
    number of processes may make one entry at once.

    Raises:
        UserError: the cache cannot be written.
    """
    entry = (folder or cache_folder() / "synthetic") / _key(settings)
    rows = _read_index(entry)
    if rows is None:
        rows = _render_all(settings, entry, jobs)
        write_text(entry / _INDEX, json.dumps(rows, indent=0))
    return Corpus("synthetic", tuple(_utterance(entry, row) for row in rows), CLASSES)


def sex_of(speaker: int) -> Sex:
    """Every other speaker is a woman, so any number of speakers is balanced."""
    return "male" if speaker % 2 else "female"


def habitual_voice(seed: int, speaker: int) -> Voice:
    """How a speaker talks when nothing moves them; takes vary about it."""
    centre = _FEMALE if sex_of(speaker) == "female" else _MALE
    return _vary(centre, _SPEAKERS, _generator(seed, "speaker", speaker))


def sentence(number: int) -> str:
    """Three words of pronounceable nonsense, five or six syllables in all, the same for every seed."""
    rng = _generator("sentence", number)
    consonants, vowels = list("mnlwyhsfzptkbd"), list("aeiou")
    words = rng.permutation([1, 2, 2 + number % 2])
    return " ".join("".join(rng.choice(consonants) + rng.choice(vowels) for _ in range(word)) for word in words)


def _voice(seed: int, speaker: int, emotion: str, rng: np.random.Generator) -> Voice:
    """The speaker's voice in one take of an emotion."""
    calm = habitual_voice(seed, speaker)
    if emotion == "neutral":
        return _vary(calm, _TAKES, rng)
    expressive = _generator(seed, "expressiveness", speaker).uniform(0.9, 1.4)
    habit = _generator(seed, "habit", speaker, emotion)
    strength = expressive * habit.uniform(0.6, 1.4) * rng.uniform(0.8, 1.2)
    own = np.array(_vary(_EFFECTS[emotion], _HABITS, habit))
    return _vary(Voice(*(np.array(calm) + strength * own)), _TAKES, rng)


def _vary(centre: Voice, deviation: Voice, rng: np.random.Generator) -> Voice:
    steps = np.clip(rng.standard_normal(len(centre)), -2, 2)
    return Voice(*(np.array(centre) + np.array(deviation) * steps).tolist())


def _generator(*key: int | str) -> np.random.Generator:
    """Random numbers that depend on the key alone, so neither order nor the number of workers matters."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(key).encode()).digest(), "big"))


def _render(entry: Path, seed: int, speaker: int, emotion: str, number: int, take: int) -> dict[str, Any]:
    """Write one utterance and return its row of the index."""
    rng = _generator(seed, speaker, emotion, number, take)
    voice = _voice(seed, speaker, emotion, rng)
    text = sentence(number)
    snr = round(rng.uniform(5.0, 40.0), 1)
    level = voice.level + rng.normal(0.0, 4.0)  # the distance to the microphone
    silences = (rng.uniform(0.1, 0.35), rng.uniform(0.1, 0.35))
    signal = renderer.in_room(renderer.say(text, voice, rng), level, snr, silences, rng)
    samples = np.round(signal * 32767).astype("<i2")
    name = f"{speaker:02d}/{emotion}-{number:02d}-{take:02d}.wav"

    def write(file: BinaryIO) -> None:
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(RATE)
            sound.writeframes(samples.tobytes())

    write_atomic(entry / name, write)
    return {
        "file": name,
        "bytes": (entry / name).stat().st_size,
        "speaker": speaker,
        "emotion": emotion,
        "text": text,
        "duration": len(samples) / RATE,
        "take": take,
        "snr": snr,
    }


def _render_all(settings: SyntheticSettings, entry: Path, jobs: int | None) -> list[dict[str, Any]]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    everything = product(range(settings.speakers), CLASSES, range(settings.sentences), range(settings.takes))
    try:
        with workers():
            work = (delayed(_render)(entry, settings.seed, *one) for one in everything)
            return list(begun(Parallel(n_jobs=jobs or -1, batch_size=16, return_as="generator"), work))
    finally:
        # kept for feature extraction these small workers would import torch, and loky take that for a memory leak
        get_reusable_executor().shutdown(wait=True)


def _key(settings: SyntheticSettings) -> str:
    """A hash of all that makes the bytes: the settings, this module, the renderer and numpy."""
    sources = b"".join(Path(file).read_bytes() for file in (__file__, renderer.__file__))
    text = f"{settings.model_dump_json()} {np.__version__} ".encode()
    return hashlib.sha256(text + sources).hexdigest()[:16]


def _read_index(entry: Path) -> list[dict[str, Any]] | None:
    """The rows of an entry that is whole, else None."""
    try:
        rows = json.loads((entry / _INDEX).read_text("utf-8"))
        whole = all((entry / row["file"]).stat().st_size == row["bytes"] for row in rows)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return rows if whole else None


def _utterance(entry: Path, row: dict[str, Any]) -> Utterance:
    return Utterance(
        path=entry / row["file"],
        corpus="synthetic",
        speaker=f"synthetic-{row['speaker']:02d}",
        sex=sex_of(row["speaker"]),
        emotion=row["emotion"],
        text=row["text"],
        duration=row["duration"],
        fields=MappingProxyType({"take": str(row["take"]), "snr": str(row["snr"])}),
    )
