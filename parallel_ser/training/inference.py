"""A trained run at work: evaluating its folds, another corpus, or single files. One process, no strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parallel_ser.audio.extract import Extractor, Features
from parallel_ser.config import Config
from parallel_ser.corpora.audit import Audit
from parallel_ser.corpora.settings import CorpusSettings, SplitSettings
from parallel_ser.errors import UserError
from parallel_ser.training import model_file, run_folder
from parallel_ser.training.data import Views, count_bands, prepare
from parallel_ser.training.model_file import Model
from parallel_ser.training.predictions import Predictions
from parallel_ser.training.trainer import predictions_of


@dataclass(frozen=True)
class Run:
    """A run's settings and the model of each of its folds."""

    folder: Path
    config: Config
    models: dict[int, Model]

    @classmethod
    def open(cls, folder: Path) -> Run:
        """The run in a folder.

        Raises:
            UserError: no run, no model in it yet, or a damaged one.
        """
        config = run_folder.settings(folder)
        rows = Extractor(config.audio, config.features).names
        views = Views(config.train.views, config.train.warp, count_bands(rows))
        bf16 = config.train.precision == "bf16"
        models = {
            index: model_file.load(run_folder.fold_folder(folder, index) / "model.pt", config.model, views, bf16)
            for index in run_folder.folds(folder)
        }
        if not models:
            raise UserError(f"{folder} holds no trained model yet: train it to the end of an epoch first.")
        return cls(folder, config, models)

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the probabilities' columns."""
        return next(iter(self.models.values())).classes

    def probabilities(self, frames: list[np.ndarray], speakers: list[str]) -> np.ndarray:
        """Class probabilities ``(utterances, classes)``: the mean over the folds' models."""
        rows = [model.probabilities(frames, speakers) for model in self.models.values()]
        return np.mean(rows, axis=0)

    def test_own(self, config: Config) -> tuple[list[Predictions], list[Audit], tuple[str, ...]]:
        """Each fold's model on its test side: predictions, audits, notes. In ``config`` the corpus may have moved."""
        data, folds, audits = prepare(config)
        parts, kept = [], []
        for fold, audit in zip(folds, audits):
            if fold.index in self.models:
                frames = [data.frames[index] for index in fold.test]
                rows = self.models[fold.index].probabilities(frames, data.speakers(fold.test))
                parts.append(predictions_of(data, fold, rows))
                kept.append(audit)
        return parts, kept, data.notes

    def test_other(
        self, config: Config, other: CorpusSettings
    ) -> tuple[list[Predictions], list[Audit], tuple[str, ...]]:
        """All of another corpus, by the folds' models together; emotions that they do not know are left out."""
        split = SplitSettings(protocol="cross-corpus", test=other, seed=config.split.seed)
        data, folds, audits = prepare(config.model_copy(update={"split": split}))
        frames = [data.frames[index] for index in folds[0].test]
        rows = self.probabilities(frames, data.speakers(folds[0].test))
        return [predictions_of(data, folds[0], rows)], audits, data.notes


def extract_each(files: Sequence[Path], config: Config) -> tuple[list[tuple[Path, Features]], list[str]]:
    """Features of the files that have any, and what is wrong with each of the others."""
    extractor = Extractor(config.audio, config.features)
    good, problems = [], []
    for path in files:
        try:
            good.append((path, extractor.file(path)))
        except UserError as error:
            problems.append(str(error))
    return good, problems
