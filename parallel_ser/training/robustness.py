"""A run on its test sides with the sound altered: which answers change, and how much of the UAR is lost.

The bounds are those of audEERING's published suite of tests for speech emotion recognition.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from parallel_ser.audio.augment import filtered, narrowed
from parallel_ser.audio.cache import FeatureCache
from parallel_ser.audio.extract import read
from parallel_ser.config import Config
from parallel_ser.errors import UserError
from parallel_ser.report.terminal import Rounds
from parallel_ser.training.copies import with_tta_copies
from parallel_ser.training.data import Dataset, of_attempts, prepare
from parallel_ser.training.encoder_view import extractor_of
from parallel_ser.training.inference import Places, Run, where
from parallel_ser.training.metrics import confusion_matrix, uar

FILE = "robustness.json"
UNCHANGED, LOSS, SEX = 0.95, 0.05, 0.075
"""The least share of answers that stay, the most UAR that is lost, and the most that a sex is from the whole."""


@dataclass(frozen=True)
class Alteration:
    """A change of the sound.

    Attributes:
        name: in tables.
        make: of a signal (samples,), its rate and a generator.
        light: whether answers should stay as they are; of others the UAR should.
    """

    name: str
    make: Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
    light: bool


def _gain(decibels: float) -> Callable[..., np.ndarray]:
    return lambda signal, rate, rng: signal * 10 ** (decibels / 20)


def _filtered(hertz: float, kind: str) -> Callable[..., np.ndarray]:
    return lambda signal, rate, rng: filtered(signal, rate, hertz, kind)


def _noisy(signal: np.ndarray, rate: int, rng: np.random.Generator, snr: float = 20.0) -> np.ndarray:
    noise = rng.standard_normal(len(signal))  # at this very ratio; augment.add_noise has it in the mean
    level = np.sqrt(np.mean(signal.astype(np.float64) ** 2) / np.mean(noise**2)) * 10 ** (-snr / 20)
    return signal + level * noise


def _mp3(signal: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    file = BytesIO()
    soundfile.write(file, signal, rate, format="MP3")
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0])


ALTERATIONS = (
    Alteration("as it is", lambda signal, rate, rng: signal, True),
    Alteration("6 dB louder", _gain(6.0), True),
    Alteration("6 dB quieter", _gain(-6.0), True),
    Alteration("20 ms cut off at each end", lambda signal, rate, rng: signal[rate // 50 : -(rate // 50)], True),
    Alteration("100 ms of zeros behind", lambda signal, rate, rng: np.append(signal, np.zeros(rate // 10)), True),
    Alteration("high-pass filter at 50 Hz", _filtered(50.0, "highpass"), True),
    Alteration("low-pass filter at 7.5 kHz", _filtered(7500.0, "lowpass"), True),
    Alteration("white noise at 20 dB", _noisy, False),
    Alteration("sampled at 8 kHz", lambda signal, rate, rng: narrowed(signal, rate, 8000), False),
    Alteration("MP3", _mp3, False),
)


def measure(run: Run, config: Config, told: Rounds, alterations: Sequence[Alteration] = ALTERATIONS) -> dict[str, Any]:
    """What becomes of a run's answers on its test sides under each alteration.

    Args:
        run: finished.
        config: of the run; the corpus may have moved.
        told: called with the alteration, and how many are done.
        alterations: the first leaves the sound as it is.

    Returns:
        ``rows``: of each alteration ``name``, ``light``, ``unchanged`` (share of answers), ``uar``, ``lost`` and
        whether it is ``kept`` to the bounds; ``short``: sentences on what is not.

    Raises:
        UserError: the corpus is not where it was, or holds other recordings.
    """
    data, folds, _ = prepare(where(run.config, config))
    run.require_unseen(data, folds)
    places = {fold.index: fold.test for fold in folds if fold.index in run.folds}
    tested = [(fold, place) for fold, own in places.items() for place in own]
    truth = np.array([run.classes.index(data.utterances[place].emotion) for _, place in tested])
    rows: list[dict[str, Any]] = []
    first = np.zeros(0)
    for number, alteration in enumerate(alterations):
        told(alteration.name, number, len(alterations))
        said = _answers(run, data, places, alteration)
        nothing = len(run.classes)  # a column of its own: what is not heard any more is not recognised
        hit = uar(confusion_matrix(truth, np.where(said < 0, nothing, said), nothing + 1))
        if not number:
            first = said
        unchanged, lost = float(np.mean(said == first)), (rows[0]["uar"] if rows else float(hit)) - float(hit)
        kept = unchanged >= UNCHANGED if alteration.light else lost <= LOSS
        rows.append(
            {
                "name": alteration.name,
                "light": alteration.light,
                "unchanged": unchanged,
                "uar": float(hit),
                "lost": lost,
                "kept": kept,
                "unheard": int(np.sum(said < 0)),
            }
        )
    told("alterations", len(alterations), len(alterations))
    return {"n": len(tested), "rows": rows, "short": [_short(row) for row in rows if not row["kept"]]}


def _short(row: Mapping[str, Any]) -> str:
    if row["light"]:
        return f"{row['name']}: {row['unchanged']:.1%} of the answers stay, under {UNCHANGED:.0%}"
    return f"{row['name']}: {row['lost']:.3f} of UAR is lost, over {LOSS:g}"


def _answers(run: Run, data: Dataset, places: Places, alteration: Alteration) -> np.ndarray:
    """The class that each tested utterance is taken for, fold after fold; -1 where it could not be heard any more."""
    with tempfile.TemporaryDirectory(prefix="parallel-ser-") as scratch, ExitStack() as before:
        folder = Path(scratch)
        files = {place: _altered(run, data, place, alteration, folder) for own in places.values() for place in own}

        def load(one: Run) -> tuple[Dataset, Places]:
            before.enter_context(one.caching_in(folder / "cache"))  # views of files look there, too
            own, extractor = one.config, extractor_of(one.config.audio, one.config.features)
            found = FeatureCache(folder / "cache", extractor).attempt(list(files.values()), own.run.jobs or -1)
            utterances = [replace(data.utterances[place], path=path) for place, path in files.items()]
            heard, _ = of_attempts(utterances, data.classes, extractor, found)
            heard = with_tta_copies(heard, own)
            kept = {one.path: number for number, one in enumerate(heard.utterances)}
            there = {
                fold: tuple(kept[files[place]] for place in side if files[place] in kept)
                for fold, side in places.items()
            }
            return heard, there

        answers = run.answers(load)
    rows = [answers[fold].get(files[place]) for fold, own in places.items() for place in own]
    return np.array([-1 if row is None else int(np.argmax(row)) for row in rows])


def _altered(run: Run, data: Dataset, place: int, alteration: Alteration, folder: Path) -> Path:
    """A file with the altered sound, of the same name in a folder of its own."""
    audio = run.config.audio
    path = data.utterances[place].path
    signal, _ = read(path, audio)
    changed = alteration.make(signal, audio.sample_rate, np.random.default_rng(place))
    target = folder / str(place) / f"{path.stem}.wav"
    target.parent.mkdir()
    try:
        soundfile.write(target, changed.astype(np.float32), audio.sample_rate, subtype="FLOAT")
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}.") from error
    return target
