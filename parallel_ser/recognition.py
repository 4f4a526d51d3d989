"""Runs and classical systems from Python: ``load``, ``train`` and ``Classifier``, see docs/python.md."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from sklearn.base import BaseEstimator, ClassifierMixin

from parallel_ser.audio.extract import Extractor
from parallel_ser.classical.recogniser import Recogniser
from parallel_ser.classical.search import Problem, search
from parallel_ser.config import load as load_settings
from parallel_ser.corpora.base import Utterance
from parallel_ser.corpora.nested import inner_folds
from parallel_ser.decision.confidence import decide
from parallel_ser.errors import UserError
from parallel_ser.system.cores import usable_cores
from parallel_ser.training import conditions
from parallel_ser.training.baseline import BASE
from parallel_ser.training.data import of_features
from parallel_ser.training.inference import Run
from parallel_ser.training.sample import require_views, sample_of

if TYPE_CHECKING:
    from parallel_ser.analysis.analyse import Analysis

Recording = str | os.PathLike[str] | np.ndarray
"""A file, or a signal ``(samples,)`` or ``(samples, channels)`` between -1 and 1."""


@dataclass(frozen=True)
class Answer:
    """What was heard in a recording.

    Attributes:
        name: of the file; ``array 0`` … of signals.
        emotion: the one with the highest probability; empty where nothing could be heard.
        confidence: its probability.
        probabilities: of every emotion, the highest first.
        notes: how the recording differs from those that were trained on.
        problem: why there is no answer, a sentence; empty where there is one.
    """

    name: str
    emotion: str = ""
    confidence: float = 0.0
    probabilities: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""


class Trained:
    """A trained run: of a network, a classical system or a fusion.

    Attributes:
        folder: of the run.
        classes_: its emotions, in the order of ``predict_proba``.
        notes: what must be said beside what it says.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self._run = Run.open(self.folder)
        self.classes_ = self._run.classes
        self.notes = self._run.notes
        self._usual = conditions.read(self._run.settings_file.parent)

    def predict(self, recordings: Sequence[Recording], rate: int | None = None) -> list[Answer]:
        """What is heard in each recording, calibrated as the run is.

        A run that standardises by speaker takes them as one speaker's.

        Args:
            recordings: files or signals.
            rate: samples a second of the signals.

        Raises:
            UserError: signals come without a rate.
        """
        with _files(recordings, rate) as files:
            data, rows, problems = self._run.recognise(list(files.values()))
            measures = dict(zip([one.path for one in data.utterances], data.measures, strict=True))
            return [self._answer(name, path, rows, measures, problems) for name, path in files.items()]

    def _answer(
        self,
        name: str,
        path: Path,
        rows: Mapping[Path, np.ndarray],
        measures: Mapping[Path, dict[str, float]],
        problems: Mapping[Path, str],
    ) -> Answer:
        if path not in rows:
            return Answer(name, problem=problems.get(path, "one of the fused systems could not hear it"))
        (decision,) = decide(rows[path][None], self.classes_)
        notes = tuple(conditions.notes(self._usual, measures[path]))
        return Answer(name, decision.emotion, decision.confidence, dict(decision.ranked), notes)

    def predict_proba(self, recordings: Sequence[Recording], rate: int | None = None) -> np.ndarray:
        """Probabilities ``(recordings, classes)``.

        Raises:
            UserError: a recording has no answer, or signals come without a rate.
        """
        with _files(recordings, rate) as files:
            _, rows, problems = self._run.recognise(list(files.values()))
            for problem in problems.values():
                raise UserError(problem)
            return np.stack([rows[path] for path in files.values()])

    def analyze(self, path: str | os.PathLike[str], **settings: Any) -> Analysis:
        """A recording of any length as segments, shares and measures; see ``analysis.analyse``.

        Args:
            path: of the recording.
            settings: fields of ``analysis.settings.AnalysisSettings``, such as ``speakers=2``.

        Raises:
            UserError: it cannot be read, or what the settings ask for is not there.
        """
        from parallel_ser.analysis.analyse import analyse
        from parallel_ser.analysis.settings import AnalysisSettings

        return analyse(self._run, Path(path), AnalysisSettings(**settings))


def load(folder: str | os.PathLike[str]) -> Trained:
    """The run in a folder.

    Raises:
        UserError: there is none, it has no model yet, or a damaged one.
    """
    return Trained(folder)


def train(
    settings: Mapping[str, Any] | Iterable[str] = (),
    config: str | os.PathLike[str] | None = None,
    nproc: int = 1,
    system: str = "",
) -> Trained:
    """Train as ``parallel-ser train`` does, or with a ``system`` as ``parallel-ser baseline``, in processes of its own.

    Args:
        settings: by their dotted names, such as ``{"train.epochs": 3}``, or as typed: ``["train.epochs=3"]``.
        config: a YAML file with settings.
        nproc: processes.
        system: ``svm``, ``elm``, ``logistic``, ``gmm`` or ``hybrid``.

    Raises:
        UserError: with what the command says.
    """
    named = [f"{key}={_typed(value)}" for key, value in settings.items()] if isinstance(settings, Mapping) else settings
    given = [*(["--config", os.fspath(config)] if config else []), *named]
    command = ["baseline", system, *given] if system else ["train", "--nproc", str(nproc), "--quiet", *given]
    done = subprocess.run([sys.executable, "-m", "parallel_ser", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise UserError(said[-1] if said else f"training ended with exit status {done.returncode}")
    return Trained(_told(done.stdout))


def _told(text: str) -> str:
    """The folder that a command tells last."""
    return text.strip().splitlines()[-1].removeprefix("Run folder: ")


def _typed(value: Any) -> str:
    """A value as it is typed behind ``=``."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_typed, value))}]"
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


class Classifier(ClassifierMixin, BaseEstimator):
    """A classical system with scikit-learn's manners, on recordings.

    Args:
        system: ``svm``, ``elm``, ``logistic`` or ``gmm``.
        settings: as typed, such as ``("classical.search.folds=3",)``.
        rate: samples a second of signals; files need none.
        jobs: processes of the search; all cores without.

    Attributes:
        classes_: emotions, sorted.
    """

    def __init__(
        self, system: str = "svm", settings: Sequence[str] = (), rate: int | None = None, jobs: int | None = None
    ):
        self.system, self.settings, self.rate, self.jobs = system, settings, rate, jobs

    def fit(self, X: Sequence[Recording], y: Sequence[str], groups: Sequence[str] | None = None) -> Classifier:
        """Learn; the settings are searched by speakers that are held out.

        Args:
            X: recordings.
            y: the emotion of each.
            groups: the speaker of each. Without, the settings are searched on other utterances of the same speakers.

        Raises:
            UserError: a recording has no features, or there are too few.
        """
        config = load_settings(None, [f"classical.system={self.system}", *self.settings], BASE)
        require_views(config)
        if config.train.copies or config.train.tta_copies:
            raise UserError("a Classifier makes no altered copies: leave out train.copies and train.tta_copies.")
        self.config_ = config
        speakers = [str(one) for one in groups] if groups is not None else ["one speaker"] * len(X)
        self.classes_ = np.array(sorted({str(one) for one in y}))
        labels = np.searchsorted(self.classes_, np.array([str(one) for one in y]))
        with _files(X, self.rate) as files, tempfile.TemporaryDirectory(prefix="parallel-ser-") as scratch:
            utterances = [
                Utterance(path, "", speaker, "unknown", str(emotion))
                for path, speaker, emotion in zip(files.values(), speakers, y, strict=True)
            ]
            sample, names = self._sample(utterances)
            every = tuple(range(len(utterances)))
            protocol, asked = "speaker" if groups is not None else "random", config.classical
            inner = inner_folds(utterances, every, protocol, asked.search.folds, asked.seed)
            pairs = tuple((one.train + one.select, one.test) for one in inner)
            problem = Problem(0, every, pairs, every[:1])  # what is tested is not looked at
            jobs = self.jobs or usable_cores()
            classes = tuple(map(str, self.classes_))
            (found,) = search(sample, labels, classes, [problem], asked, names, Path(scratch), jobs)
            self.recogniser_ = Recogniser.load(found.model)
            self.best_ = dict(found.best)
        return self

    def _sample(self, utterances: Sequence[Utterance]) -> Any:
        extractor = Extractor(self.config_.audio, self.config_.features)
        made = []
        for one in extractor.files([one.path for one in utterances]):
            if isinstance(one, UserError):
                raise one
            made.append(one)
        classes = tuple(sorted({one.emotion for one in utterances}))
        return sample_of(of_features(utterances, classes, extractor, made), self.config_)

    def predict_proba(self, X: Sequence[Recording], groups: Sequence[str] | None = None) -> np.ndarray:
        """Probabilities ``(recordings, classes)``.

        Args:
            X: recordings.
            groups: the speaker of each, for systems that standardise by speaker.

        Raises:
            UserError: a recording has no features.
        """
        speakers = [str(one) for one in groups] if groups is not None else ["one speaker"] * len(X)
        with _files(X, self.rate) as files:
            told = [Utterance(path, "", who, "unknown", "") for path, who in zip(files.values(), speakers, strict=True)]
            sample, _ = self._sample(told)
            return self.recogniser_.predict_proba(sample)

    def predict(self, X: Sequence[Recording], groups: Sequence[str] | None = None) -> np.ndarray:
        """The emotion of each recording."""
        return self.classes_[self.predict_proba(X, groups).argmax(1)]


@contextmanager
def _files(recordings: Sequence[Recording], rate: int | None) -> Iterator[dict[str, Path]]:
    """The recordings as files by name; signals are written for as long as they are needed."""
    if isinstance(recordings, (str, os.PathLike)):
        recordings = [recordings]
    found: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(prefix="parallel-ser-") as scratch:
        for number, one in enumerate(recordings):
            if not isinstance(one, np.ndarray):
                found[os.fspath(one)] = Path(one)
                continue
            if rate is None:
                raise UserError("signals need their rate, in samples a second: rate=16000.")
            name = f"array {number}"
            found[name] = Path(scratch) / f"{name}.wav"
            soundfile.write(found[name], one, rate, subtype="FLOAT")
        yield found
