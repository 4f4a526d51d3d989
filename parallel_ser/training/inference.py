"""A trained run at work: evaluating its folds, another corpus, or single files. One process, no strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

import numpy as np

from parallel_ser.audio.altered import AlteredExtractor
from parallel_ser.audio.extract import Features
from parallel_ser.audio.spread import spread
from parallel_ser.classical.recogniser import Recogniser
from parallel_ser.classical.sample import Sample
from parallel_ser.config import Config
from parallel_ser.corpora.audit import Audit
from parallel_ser.corpora.base import Utterance
from parallel_ser.corpora.protocols import Fold
from parallel_ser.corpora.settings import CorpusSettings, SplitSettings
from parallel_ser.decision import calibration
from parallel_ser.errors import UserError
from parallel_ser.report.terminal import progress
from parallel_ser.system.digests import file_digest, read_json, shaped
from parallel_ser.training import model_file, run_folder, transfer
from parallel_ser.training.batches import Views
from parallel_ser.training.copies import with_answered, with_tta_copies
from parallel_ser.training.data import Dataset, count_bands, of_attempts, prepare
from parallel_ser.training.encoder_view import AnyFeatures, encoder_digest, extractor_of
from parallel_ser.training.predictions import Predictions
from parallel_ser.training.sample import altering, classical_notes, of_files, sample_of

Places = Mapping[int, Sequence[int]]
"""Of each fold the places of the utterances that its model is asked about."""
Load = Callable[["Run"], tuple[Dataset, Places]]
"""What a run is asked, as its own settings make it: utterances with features, and their places."""
Answers = dict[int, dict[Path, np.ndarray]]
"""Of each fold's model the probabilities ``(classes,)`` of each recording."""


class Run(ABC):
    """A run's settings and the model of each of its folds; neural, classical and fused alike.

    Attributes:
        folder: of the run.
        config: its settings; of a fusion those of its first run.
        folds: those that have a model.
        classes: in the order of the probabilities' columns.
        by_speaker: whether features are standardised by all utterances at hand of the same speaker.
        notes: what must be said beside each figure of it.
        seen: of each fold what its model was trained and selected on, where its file says so.
        learned_all: whether a fold's model has learned from the selection side, too.
        reads_files: whether it measures recordings' files, beside the features that it is given.
    """

    seen: Mapping[int, transfer.Sides] = {}
    classes: tuple[str, ...]
    by_speaker: bool
    notes: tuple[str, ...]
    learned_all = False
    reads_files = False

    def __init__(self, folder: Path, config: Config, folds: Sequence[int]):
        self.folder, self.config, self.folds = folder, config, tuple(folds)

    @cached_property
    def calibration(self) -> Mapping[int, calibration.Calibrator]:
        """Of each fold; the probabilities as they are where ``parallel-ser calibrate`` has not made one.

        Raises:
            UserError: one is damaged, or some folds have lost theirs.
        """
        paths = {fold: run_folder.fold_folder(self.folder, fold) / "calibration.json" for fold in self.folds}
        missing = [path for path in paths.values() if not path.exists()]
        if missing and (len(missing) < len(paths) or (self.folder / "calibration/calibration.json").exists()):
            raise UserError(f"{missing[0]} is missing, and {self.folder} was calibrated: calibrate it again.")
        found = {}
        for fold, path in paths.items():
            state = {"method": "none"} if missing else read_json(path)
            with shaped(path):
                found[fold] = calibration.from_state(state)
        return found

    @staticmethod
    def open(folder: Path) -> Run:
        """The run in a folder.

        Raises:
            UserError: no run, no model in it yet, or a damaged one.
        """
        if run_folder.is_fusion(folder):
            from parallel_ser.training.fused import FusedRun

            return FusedRun(folder)
        config = run_folder.settings(folder)
        folds = run_folder.folds(folder)
        if not folds:
            raise UserError(f"{folder} holds no trained model yet: train it to the end of an epoch first.")
        run_folder.require_models(folder)
        classical = (run_folder.fold_folder(folder, folds[0]) / "model.skops").exists()
        return (ClassicalRun if classical else NeuralRun)(folder, config, folds)

    @contextmanager
    def caching_in(self, folder: Path) -> Iterator[None]:
        """Features that the run makes meanwhile are kept there, not in its own cache."""
        before = self.config
        self.config = before.model_copy(update={"run": before.run.model_copy(update={"cache": folder})})
        try:
            yield
        finally:
            self.config = before

    @property
    def settings_file(self) -> Path:
        """Where ``config`` is from."""
        return self.folder / "config.yaml"

    @abstractmethod
    def raw_answers(self, load: Load) -> Answers:
        """What the folds' models say of what ``load`` gives, uncalibrated; all models of a fusion are asked alike."""

    def require_unseen(self, data: Dataset, folds: Sequence[Fold]) -> None:
        """Refuse models that have seen what their folds test, where a model's file says what it has seen.

        Raises:
            UserError: a file is the model of another fold, or of another run.
        """
        for fold in folds:
            if fold.index in self.seen and (seen := transfer.seen_of(self.seen[fold.index], data, fold)):
                home = run_folder.fold_folder(self.folder, fold.index)
                raise UserError(f"{home / 'model.pt'} is not the model of its fold: {seen}; put that fold's own back.")

    def answers(self, load: Load) -> Answers:
        """``raw_answers``, by the folds' calibration where they have one."""
        calibrators = self.calibration  # which may be damaged: that is said before the work
        return {fold: _calibrated(said, calibrators[fold]) for fold, said in self.raw_answers(load).items()}

    def probabilities(self, load: Load) -> dict[Path, np.ndarray]:
        """Class probabilities ``(classes,)`` of each recording: the mean over the folds' models."""
        parts = list(self.answers(load).values())
        return {path: np.mean([part[path] for part in parts], axis=0) for path in parts[0]}

    def recognise(
        self, files: Sequence[Path], text: str = "", jobs: int = 1
    ) -> tuple[Dataset, dict[Path, np.ndarray], dict[Path, str]]:
        """Recordings of one speaker: those that have features, their probabilities, what is wrong with the others.

        ``text`` is what is said in them, for networks that read it; ``jobs`` are processes that make features of many
        files, -1 one a core.
        """
        found: list[Dataset] = []
        problems: dict[Path, str] = {}

        def extracted(run: Run) -> tuple[Dataset, Places]:
            own = [one for one in files if one not in problems]
            data, wrong = _extract_each(own, run.config, run.classes, text, jobs)
            problems.update(wrong)
            found.append(data)
            return data, dict.fromkeys(run.folds, range(len(data.utterances)))

        rows = self.probabilities(extracted)
        return found[0], rows, problems

    def test_own(self, config: Config) -> tuple[list[Predictions], list[Audit], tuple[str, ...]]:
        """Each fold's model on its test side: predictions, audits, notes. In ``config`` the corpus may have moved."""
        asked: list[tuple[Dataset, list[Fold], list[Audit]]] = []

        def tested(run: Run) -> tuple[Dataset, Places]:
            moved = where(run.config, config)
            data, folds, audits = _prepared(moved)
            run.require_unseen(data, folds)
            asked.append((data, folds, audits))
            tests = {fold.index: fold.test for fold in folds if fold.index in run.folds}
            return with_answered_copies(moved, data, tests)

        answers = self.answers(tested)
        data, folds, audits = asked[0]
        pairs = [(fold, audit) for fold, audit in zip(folds, audits, strict=True) if fold.index in self.folds]
        parts = [self._said(data, fold.test, fold.index, answers[fold.index]) for fold, _ in pairs]
        return parts, [audit for _, audit in pairs], (*self.notes, *data.notes)

    def test_other(
        self, config: Config, other: CorpusSettings
    ) -> tuple[list[Predictions], list[Audit], tuple[str, ...]]:
        """All of another corpus, by the folds' models together; emotions that they do not know are left out."""
        split = SplitSettings(protocol="cross-corpus", test=other, seed=config.split.seed)
        asked: list[tuple[Dataset, list[Fold], list[Audit]]] = []

        def tested(run: Run) -> tuple[Dataset, Places]:
            moved = where(run.config, config).model_copy(update={"split": split})
            data, folds, audits = _prepared(moved)
            asked.append((data, folds, audits))
            return with_answered_copies(moved, data, dict.fromkeys(run.folds, folds[0].test))

        rows = self.probabilities(tested)
        data, folds, audits = asked[0]
        return [self._said(data, folds[0].test, 0, rows)], audits, (*self.notes, *data.notes)

    def _said(self, data: Dataset, places: Sequence[int], fold: int, answers: Mapping[Path, np.ndarray]) -> Predictions:
        """Of the utterances at ``places``, with the columns in the order of the corpus's classes."""
        if set(data.classes) != set(self.classes):
            raise UserError(
                f"{self.folder} tells {', '.join(self.classes)} apart, but its corpus holds {', '.join(data.classes)}: "
                "give the folder of the corpus that it was trained on."
            )
        columns = [self.classes.index(name) for name in data.classes]
        rows = np.stack([answers[data.utterances[place].path] for place in places])[:, columns]
        return data.said(places, fold, rows)

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

        Read from ``selection.csv``; a network's is made on its selection side where it is not there yet. Classical
        systems have learned from that side in the end, and keep what they said before.

        Raises:
            UserError: a file is damaged, or missing where it cannot be made again.
        """
        paths = {fold: run_folder.fold_folder(self.folder, fold) / "selection.csv" for fold in self.folds}
        missing = [fold for fold, path in paths.items() if not path.exists()]
        if missing and self.learned_all:
            raise UserError(f"{paths[missing[0]]} is missing, and cannot be made again: put it back, or train anew.")
        if missing:
            data, folds, _ = _prepared(self.config)
            self.require_unseen(data, folds)
            sides = {fold.index: fold.select for fold in folds if fold.index in missing}
            for index, said in self.raw_answers(lambda run: with_answered_copies(run.config, data, sides)).items():
                self._said(data, sides[index], index, said).to_csv(paths[index])
        return {fold: Predictions.from_csv(path) for fold, path in paths.items()}


def _prepared(config: Config) -> tuple[Dataset, list[Fold], list[Audit]]:
    """What a run is asked with; another corpus's features may take minutes, so how far they are is shown."""
    with progress("features") as advance:
        return prepare(config, advance)


def with_answered_copies(config: Config, data: Dataset, places: Places) -> tuple[Dataset, Places]:
    """The utterances at ``places`` alone, with the copies that their answers are the mean of, and their places there.

    Without ``train.tta_copies`` all utterances stay where they are.
    """
    if not config.train.tta_copies:
        return data, places
    chosen = sorted({place for own in places.values() for place in own})
    there = {place: number for number, place in enumerate(chosen)}
    with progress("features of copies") as advance:
        alone = with_tta_copies(data.take(chosen), config, advance)
    return alone, {fold: [there[place] for place in own] for fold, own in places.items()}


class NeuralRun(Run):
    """A run of ``parallel-ser train``."""

    def __init__(self, folder: Path, config: Config, folds: Sequence[int]):
        super().__init__(folder, config, folds)
        extractor = extractor_of(config.audio, config.features)
        views = Views(config.train.views, config.train.warp, count_bands(extractor.names))
        self.models = {
            index: model_file.load(run_folder.fold_folder(folder, index) / "model.pt", config, views) for index in folds
        }
        encoder = encoder_digest(extractor)
        for index, model in self.models.items():
            if model.encoder != encoder:
                raise UserError(
                    f"fold {index} of {folder} was trained on features of an encoder whose weights have the digest "
                    f"{model.encoder[:12]}, and features.encoder.weights={config.features.encoder.weights} are others."
                )
        self.classes = next(iter(self.models.values())).classes
        self.seen = {index: model.seen for index, model in self.models.items()}
        self.by_speaker = config.train.normalise == "speaker"
        self.notes = run_folder.normalisation_notes(config.train.normalise) + transfer.notes(folder, folds)

    def raw_answers(self, load: Load) -> Answers:
        """See ``Run``."""
        data, places = load(self)
        found: Answers = {}
        for fold, own in places.items():
            found[fold] = _by_path(data, own, self.models[fold].probabilities(data.take(own))) if own else {}
        return found


class ClassicalRun(Run):
    """A run of ``parallel-ser baseline``."""

    learned_all = True

    def __init__(self, folder: Path, config: Config, folds: Sequence[int]):
        super().__init__(folder, config, folds)
        self.models = {index: _recogniser(run_folder.fold_folder(folder, index)) for index in folds}
        self.classes = next(iter(self.models.values())).classes
        self.by_speaker = config.classical.normalise in ("speaker", "enrol")
        self.reads_files = bool(of_files(config.classical))
        self.notes = classical_notes(config.classical)

    def raw_answers(self, load: Load) -> Answers:
        """See ``Run``."""
        from threadpoolctl import threadpool_limits

        data, places = load(self)
        if not data.utterances:
            return {fold: {} for fold in places}
        made = [sample_of(one, self.config) for one in data.answered(self.config.train.tta_copies)]
        samples, names = [sample for sample, _ in made], made[0][1]
        with threadpool_limits(1):  # as in the search: sums in the same order, so the same answer to the bit
            return {
                fold: _by_path(data, own, self._of(fold, [one.take(own) for one in samples], names))
                for fold, own in places.items()
            }

    def _of(self, fold: int, samples: Sequence[Sample], names: dict[str, list[str]]) -> np.ndarray:
        model = self.models[fold]
        if model.inputs != names:
            raise UserError(
                f"fold {fold} of {self.folder} was fitted on other values than this version makes; train it again."
            )
        return model.predict_proba(*samples)


def _recogniser(home: Path) -> Recogniser:
    """Of a fold, beside which stands which file is its own: another fold's has learned from what this one tests."""
    path, beside = home / "model.skops", home / run_folder.MODEL
    model = Recogniser.load(path)
    if beside.exists() and read_json(beside).get("model") != file_digest(path):
        raise UserError(f"{path} is not the model of its fold: put that fold's own back.")
    return model


def _calibrated(said: dict[Path, np.ndarray], calibrator: calibration.Calibrator) -> dict[Path, np.ndarray]:
    return dict(zip(said, calibrator(np.stack(list(said.values()))), strict=True)) if said else {}


def _by_path(data: Dataset, places: Sequence[int], rows: np.ndarray) -> dict[Path, np.ndarray]:
    return {data.utterances[place].path: row for place, row in zip(places, rows, strict=True)}


def where(config: Config, places: Config) -> Config:
    """A run's settings with the corpora and the cache where ``places`` has them."""
    test = config.split.test and config.split.test.model_copy(
        update={"root": places.split.test.root if places.split.test else config.split.test.root}
    )
    run = config.run.model_copy(update={"cache": places.run.cache, "jobs": places.run.jobs})
    corpus = config.corpus.model_copy(update={"root": places.corpus.root, "also": places.corpus.also})
    split = config.split.model_copy(update={"test": test, "file": places.split.file})
    return config.model_copy(update={"corpus": corpus, "split": split, "run": run})


def _extract_each(
    files: Sequence[Path], config: Config, classes: tuple[str, ...], text: str, jobs: int
) -> tuple[Dataset, dict[Path, str]]:
    """Recordings of one speaker as far as they have features, and what is wrong with each of the others."""
    extractor = extractor_of(config.audio, config.features)
    told = [Utterance(path, "", "one speaker", "unknown", "", text) for path in files]

    def attempts(extractor: AnyFeatures | AlteredExtractor, paths: Sequence[Path]) -> Iterator[Features | UserError]:
        return chain.from_iterable(spread(partial(_attempts, extractor), paths, jobs))

    data, wrong = of_attempts(told, classes, extractor, attempts(extractor, files))
    paths = [one.path for one in data.utterances]
    data = with_answered(data, config, lambda copy: attempts(altering(extractor, config, copy), paths))
    return data, {path: str(error) for path, error in wrong.items()}


def _attempts(extractor: AnyFeatures | AlteredExtractor, files: Sequence[Path]) -> list[Features | UserError]:
    return list(extractor.files(files))
