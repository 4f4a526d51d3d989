"""Classical runs on the tiny built-in corpus, as a user starts them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from parallel_ser.training.predictions import Predictions

CORPUS = ("corpus.synthetic.speakers=6", "corpus.synthetic.sentences=2", "corpus.synthetic.takes=1")
FOLDS = (0, 1)
GIVEN = (*CORPUS, "split.folds=6", "split.only=[0,1]", "run.jobs=1")
FEW = ("classical.search.folds=2", "classical.search.cost=[1.0,3.0]", "classical.search.width=[1.0]")
SVM = ("svm", *GIVEN, *FEW, "classical.search.keep=[200]", "classical.calibrate=none")
GMM = ("gmm", *GIVEN, *FEW, "classical.mixture.sizes=[4]", "classical.normalise=enrol", "classical.enrol=5")


def copied(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder))


def of_fold(run: Path, fold: int, name: str = "predictions.csv") -> Predictions:
    return Predictions.from_csv(run / f"fold-{fold}" / name)


def cooled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at a temperature."""
    powers = np.maximum(probabilities, np.finfo(float).eps) ** (1 / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def best_temperature(predictions: Predictions) -> float:
    """By the likelihood of the truth, found without a look at ours."""
    rows = np.arange(len(predictions))

    def loss(logarithm: float) -> float:
        likely = cooled(predictions.probabilities, np.exp(logarithm))[rows, predictions.truth_indices]
        return float(-np.log(likely).sum())

    found: Any = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(found.x))
