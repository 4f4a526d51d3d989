"""A trained run at work: evaluating its folds, another corpus, or single files. One process, no strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from parallel_ser.audio.extract import Extractor, Features
from parallel_ser.classical.recogniser import Recogniser
from parallel_ser.classical.sample import Sample
from parallel_ser.config import Config
from parallel_ser.corpora.audit import Audit
from parallel_ser.corpora.base import Utterance
from parallel_ser.corpora.settings import CorpusSettings, SplitSettings
from parallel_ser.decision import calibration
from parallel_ser.errors import UserError
from parallel_ser.system.digests import read_json
from parallel_ser.training import model_file, run_folder, transfer
from parallel_ser.training.data import Dataset, Views, count_bands, of_features, prepare
from parallel_ser.training.predictions import Predictions
from parallel_ser.training.sample import classical_notes, sample_of


class Run(ABC):
    """A run's settings and the model of each of its folds; neural and classical alike.

    Attributes:
        folder: of the run.
        config: its settings.
        folds: those that have a model.
        classes: in the order of the probabilities' columns.
        mode: whose statistics standardise the features.
        notes: what must be said beside each figure of it.
    """

    classes: tuple[str, ...]
    mode: str
    notes: tuple[str, ...]

    def __init__(self, folder: Path, config: Config, folds: Sequence[int]):
        self.folder, self.config, self.folds = folder, config, tuple(folds)
        self._calibration = {fold: _calibration(run_folder.fold_folder(folder, fold)) for fold in folds}

    @staticmethod
    def open(folder: Path) -> Run:
        """The run in a folder.

        Raises:
            UserError: no run, no model in it yet, or a damaged one.
        """
        config = run_folder.settings(folder)
        folds = run_folder.folds(folder)
        if not folds:
            raise UserError(f"{folder} holds no trained model yet: train it to the end of an epoch first.")
        classical = (run_folder.fold_folder(folder, folds[0]) / "model.skops").exists()
        return (ClassicalRun if classical else NeuralRun)(folder, config, folds)

    @abstractmethod
    def _rows(self, data: Dataset, places: dict[int, Sequence[int]]) -> dict[int, np.ndarray]:
        """Of each fold's model the probabilities ``(utterances, classes)`` of the utterances at the fold's places."""

    def rows(self, data: Dataset, places: dict[int, Sequence[int]], calibrated: bool = True) -> dict[int, np.ndarray]:
        """``_rows``, by the folds' calibration where they have one."""
        found = self._rows(data, places)
        return {fold: self._calibration[fold](rows) if calibrated else rows for fold, rows in found.items()}

    def probabilities(self, data: Dataset) -> np.ndarray:
        """Class probabilities ``(utterances, classes)`` of all utterances: the mean over the folds' models."""
        every = range(len(data.utterances))
        return np.mean(list(self.rows(data, dict.fromkeys(self.folds, every)).values()), axis=0)

    def test_own(self, config: Config) -> tuple[list[Predictions], list[Audit], tuple[str, ...]]:
        """Each fold's model on its test side: predictions, audits, notes. In ``config`` the corpus may have moved."""
        data, folds, audits = prepare(config)
        tested = {
            fold.index: (fold, audit) for fold, audit in zip(folds, audits, strict=True) if fold.index in self.folds
        }
        rows = self.rows(data, {index: fold.test for index, (fold, _) in tested.items()})
        parts = [data.said(fold.test, index, rows[index]) for index, (fold, _) in tested.items()]
        return parts, [audit for _, audit in tested.values()], (*self.notes, *data.notes)

    def test_other(
        self, config: Config, other: CorpusSettings
    ) -> tuple[list[Predictions], list[Audit], tuple[str, ...]]:
        """All of another corpus, by the folds' models together; emotions that they do not know are left out."""
        split = SplitSettings(protocol="cross-corpus", test=other, seed=config.split.seed)
        data, folds, audits = prepare(config.model_copy(update={"split": split}))
        test = folds[0].test
        alone = data.take(test)
        return [data.said(test, 0, self.probabilities(alone))], audits, (*self.notes, *data.notes)

    def tested(self) -> dict[int, Predictions]:
        """What training wrote of each fold's test side, uncalibrated.

        Raises:
            UserError: a fold is not finished.
        """
        paths = {fold: run_folder.fold_folder(self.folder, fold) / "predictions.csv" for fold in self.folds}
        for fold, path in paths.items():
            if not path.exists():
                raise UserError(f"fold {fold} of {self.folder} is not finished: train it to its end first.")
        return {fold: Predictions.from_csv(path) for fold, path in paths.items()}

    def selection(self) -> dict[int, Predictions]:
        """Each fold's model on utterances of speakers that it neither learned from nor is tested on, uncalibrated.

        Read from ``selection.csv``; a network's is made on its selection side where it is not there yet.
        """
        paths = {fold: run_folder.fold_folder(self.folder, fold) / "selection.csv" for fold in self.folds}
        missing = [fold for fold, path in paths.items() if not path.exists()]
        if missing:
            data, folds, _ = prepare(self.config)
            sides = {fold.index: fold.select for fold in folds if fold.index in missing}
            for index, rows in self.rows(data, dict(sides), calibrated=False).items():
                data.said(sides[index], index, rows).to_csv(paths[index])
        return {fold: Predictions.from_csv(path) for fold, path in paths.items()}


class NeuralRun(Run):
    """A run of ``parallel-ser train``."""

    def __init__(self, folder: Path, config: Config, folds: Sequence[int]):
        super().__init__(folder, config, folds)
        rows = Extractor(config.audio, config.features).names
        views = Views(config.train.views, config.train.warp, count_bands(rows))
        bf16 = config.train.precision == "bf16"
        self.models = {
            index: model_file.load(run_folder.fold_folder(folder, index) / "model.pt", config.model, views, bf16)
            for index in folds
        }
        self.classes = next(iter(self.models.values())).classes
        self.mode = config.train.normalise
        self.notes = run_folder.normalisation_notes(self.mode) + transfer.notes(folder, folds)

    def _rows(self, data: Dataset, places: dict[int, Sequence[int]]) -> dict[int, np.ndarray]:
        return {
            fold: self.models[fold].probabilities([data.frames[index] for index in own], data.speakers(own))
            for fold, own in places.items()
        }


class ClassicalRun(Run):
    """A run of ``parallel-ser baseline``."""

    def __init__(self, folder: Path, config: Config, folds: Sequence[int]):
        super().__init__(folder, config, folds)
        self.models = {index: Recogniser.load(run_folder.fold_folder(folder, index) / "model.skops") for index in folds}
        self.classes = next(iter(self.models.values())).classes
        self.mode = config.classical.normalise
        self.notes = classical_notes(config.classical)

    def _rows(self, data: Dataset, places: dict[int, Sequence[int]]) -> dict[int, np.ndarray]:
        from threadpoolctl import threadpool_limits

        sample, names = sample_of(data, self.config)
        with threadpool_limits(1):  # as in the search: sums in the same order, so the same answer to the bit
            return {fold: self._of(fold, sample.take(own), names) for fold, own in places.items()}

    def _of(self, fold: int, sample: Sample, names: dict[str, list[str]]) -> np.ndarray:
        model = self.models[fold]
        if model.inputs != names:
            raise UserError(
                f"fold {fold} of {self.folder} was fitted on other values than this version makes; train it again."
            )
        return model.predict_proba(sample)


def _calibration(folder: Path) -> calibration.Calibrator:
    """Of a fold; the probabilities as they are where ``parallel-ser calibrate`` has not made one."""
    path = folder / "calibration.json"
    return calibration.from_state(read_json(path) if path.exists() else {"method": "none"})


def extract_each(files: Sequence[Path], config: Config, classes: tuple[str, ...]) -> tuple[Dataset, list[str]]:
    """Recordings of one speaker as far as they have features, and what is wrong with each of the others."""
    extractor = Extractor(config.audio, config.features)
    good: list[tuple[Utterance, Features]] = []
    problems = []
    for path, made in zip(files, extractor.files(files), strict=True):
        if isinstance(made, UserError):
            problems.append(str(made))
        else:
            good.append((Utterance(path, "", "one speaker", "unknown", ""), made))
    return of_features([one for one, _ in good], classes, extractor, [one for _, one in good]), problems
