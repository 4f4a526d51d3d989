"""An utterance as one vector: how its contours go together, at once and some time apart.

A contour is a row of the frame features or its slope (``.delta``). Of an utterance's contours:

    mfcc3.log_std          logarithm of the deviation over the frames
    mfcc3~pitch.delta      the logarithm of the correlation matrix, as vectors of covariance matrices are compared on a
                           plane (log-Euclidean, Arsigny et al. 2006); the diagonal left out
    mfcc3~pitch.80ms       mean product of a row with another that much later, both of mean 0 and deviation 1

No value sees a contour's mean, which is where speakers and microphones differ most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parallel_ser.audio.functionals import rows_measured, slopes

LAGS = (80, 160, 320)
"""Milliseconds."""
SHRINKAGE = 0.1
"""Of the correlation matrix towards the identity, so that few frames have a logarithm too."""
_LEAST = 1e-6  # deviation of a contour that varies


class Correlations:
    """Vectors of utterances whose frames have the rows ``rows``, ``hop`` seconds apart; log-mel bands, which go with
    their neighbours, are left out where there are other rows.

    Attributes:
        names: of the values.

    >>> Correlations(["pitch", "loudness"], hop=0.01).names[3:5]
    ['loudness.delta.log_std', 'pitch~loudness']
    """

    def __init__(self, rows: Sequence[str], hop: float):
        measured = rows_measured(rows)
        chosen = [name for name in measured if not name.startswith("logmel")] or measured
        self._places = [list(rows).index(name) for name in chosen]
        self._lags = [max(1, round(lag / 1000 / hop)) for lag in LAGS]
        contours = [*chosen, *(f"{name}.delta" for name in chosen)]
        self._pairs = np.triu_indices(len(contours), 1)
        self.names: list[str] = [f"{name}.log_std" for name in contours]
        self.names += [f"{contours[one]}~{contours[other]}" for one, other in zip(*self._pairs, strict=True)]
        self.names += [f"{one}~{other}.{lag}ms" for lag in LAGS for one in chosen for other in chosen]

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """The vector (values,), float32, of an utterance's ``frames`` (rows, frames) as extracted.

        A contour that does not vary correlates with none, and of an utterance no longer than a lag nothing does.
        """
        rows = frames[self._places].astype(np.float64)
        values, deviations = _standardised(np.concatenate([rows, slopes(rows)]))
        together = (1.0 - SHRINKAGE) * values @ values.T / values.shape[1]
        np.fill_diagonal(together, 1.0)
        weights, directions = np.linalg.eigh(together)
        logarithm = (directions * np.log(weights)) @ directions.T
        rows = values[: len(rows)]
        apart = [rows[:, :-lag] @ rows[:, lag:].T / max(1, rows.shape[1] - lag) for lag in self._lags]
        parts = [np.log(deviations), logarithm[self._pairs], *(one.ravel() for one in apart)]
        return np.concatenate(parts).astype(np.float32)


def _standardised(contours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Contours (contours, frames) of mean 0 and deviation 1, and their deviations; 0 and ``_LEAST`` of a constant."""
    centred = contours - contours.mean(axis=1, keepdims=True)
    deviations = np.maximum(centred.std(axis=1), _LEAST)
    return np.where(deviations[:, None] > _LEAST, centred / deviations[:, None], 0.0), deviations
