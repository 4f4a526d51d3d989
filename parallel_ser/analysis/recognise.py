"""A run's answers for segments of a recording, with what was wrong with each and how unlike training it is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from parallel_ser.audio.load import resampled
from parallel_ser.corpora.base import Utterance
from parallel_ser.errors import UserError
from parallel_ser.system.digests import DamagedError
from parallel_ser.training import calibrate, conditions, novelty
from parallel_ser.training.copies import with_answered
from parallel_ser.training.data import Dataset, of_attempts
from parallel_ser.training.encoder_view import AnyFeatures, extractor_of
from parallel_ser.training.inference import Places, Run
from parallel_ser.training.metrics import confusion_matrix
from parallel_ser.training.predictions import concatenate
from parallel_ser.training.sample import altering


@dataclass(frozen=True)
class Answer:
    """Of one segment.

    Attributes:
        probabilities: ``(classes,)``; None where it has no features.
        novelty: distance from training, 1 being where 99 of 100 training utterances are nearer; None of an older run.
        problem: why it has no features.
    """

    probabilities: np.ndarray | None
    novelty: float | None
    problem: str = ""


class Recogniser:
    """A run that answers for signals."""

    def __init__(self, run: Run):
        self.run = run
        self.usual = conditions.read(run.settings_file.parent)
        self._novelty = novelty.read(run.settings_file.parent)
        self._extractors: dict[str, AnyFeatures] = {}

    def __call__(self, signals: Sequence[np.ndarray], rate: int, speakers: Sequence[str]) -> list[Answer]:
        """Answers for signals (samples,) at ``rate`` Hz, each of one of the ``speakers``."""
        with tempfile.TemporaryDirectory(prefix="parallel-ser-") as scratch:
            return self._answers(signals, rate, speakers, Path(scratch))

    def _answers(
        self, signals: Sequence[np.ndarray], rate: int, speakers: Sequence[str], scratch: Path
    ) -> list[Answer]:
        names = [scratch / f"{place}.wav" for place in range(len(signals))]
        told = [Utterance(name, "", who, "unknown", "") for name, who in zip(names, speakers, strict=True)]
        problems: dict[Path, str] = {}
        distances: dict[Path, float] = {}

        def load(run: Run) -> tuple[Dataset, Places]:
            extractor = self._extractor(run)
            there = [resampled(one, rate, run.config.audio.sample_rate) for one in signals]
            data, wrong = of_attempts(told, run.classes, extractor, extractor.signals(there))
            by_name = dict(zip(names, there, strict=True))
            heard = [by_name[one.path] for one in data.utterances]
            data = with_answered(data, run.config, lambda copy: altering(extractor, run.config, copy).signals(heard))
            problems.update({path: str(error) for path, error in wrong.items()})
            if run.reads_files:
                caching.enter_context(run.caching_in(scratch / "cache"))
                for one, signal in zip(data.utterances, heard, strict=True):
                    soundfile.write(one.path, signal, run.config.audio.sample_rate, subtype="FLOAT")
            if self._novelty is not None and not distances and data.frames:
                rows = novelty.describe(data.frames, data.rows)
                distances.update(zip([one.path for one in data.utterances], self._novelty(rows).tolist(), strict=True))
            return data, dict.fromkeys(run.folds, range(len(data.utterances)))

        with ExitStack() as caching:
            found = self.run.probabilities(load) if signals else {}
        return [Answer(found.get(name), distances.get(name), problems.get(name, "")) for name in names]

    def _extractor(self, run: Run) -> AnyFeatures:
        key = run.config.audio.model_dump_json() + run.config.features.model_dump_json()
        if key not in self._extractors:
            self._extractors[key] = extractor_of(run.config.audio, run.config.features)
        return self._extractors[key]


def sample_rate(run: Run) -> int:
    """At which a recording is read: the run's, but at least the 16 kHz of voice activity."""
    return max(16000, run.config.audio.sample_rate)


def confusions(run: Run) -> np.ndarray | None:
    """Counts of a run's test, calibrated as its answers are, truth by predicted in the order of its classes.

    None where a fold is not finished, or the run was tested on other emotions.
    """
    try:
        tested = run.tested()
    except UserError:
        return None
    sides = []
    for fold, said in tested.items():
        if set(said.classes) != set(run.classes):
            return None
        sides.append(said.with_probabilities(run.calibration[fold](said.probabilities)).with_classes(run.classes))
    whole = concatenate(sides)
    return confusion_matrix(whole.truth_indices, whole.predicted_indices, len(run.classes))


@dataclass(frozen=True)
class Threshold:
    """From which confidence a run answers.

    Attributes:
        confidence: 0 answers everything.
        error: the share of wrong answers that it promises; None where nothing is promised.
    """

    confidence: float
    error: float | None


def threshold(run: Run, error: float | None) -> Threshold:
    """The threshold for an error, or without one that of the smallest error promised by ``calibrate``.

    Raises:
        UserError: ``error`` is given and not promised.
    """
    if error is not None:
        return Threshold(calibrate.thresholds(run, error), error)
    for least in sorted(calibrate.promised(run, run.folds[0])):
        try:
            return Threshold(calibrate.thresholds(run, least), least)
        except DamagedError:
            raise
        except UserError:
            continue  # another fold could not promise it
    return Threshold(0.0, None)
