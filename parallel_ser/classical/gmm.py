"""Gaussian mixtures of frames: by likelihood, and as coordinates of an utterance.

A universal background model is a mixture over all training frames, whatever their emotion. Its means are adapted to an
emotion's or an utterance's frames by relevance MAP (Reynolds, Quatieri & Dunn 2000, eq. 11 to 14): with n_c the frames
that component c answers for, and E_c their mean, the new mean is α E_c + (1 - α) μ_c with α = n_c / (n_c + relevance).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from parallel_ser.classical.sample import Frames
from parallel_ser.errors import UserError

Covariance = Literal["diag", "full"]

_MOST_FRAMES = 60_000
"""Frames that a mixture is fitted to, evenly drawn; more change little and cost in proportion."""
_HELD_OUT = 0.2  # of the frames, for the likelihood that picks a size
_STRETCH = 200  # frames held out together


def fit_mixture(rows: np.ndarray, components: int, covariance: str, seed: int) -> Any:
    """scikit-learn's mixture, fitted by EM to frames (frames, values).

    Raises:
        UserError: fewer frames than components.
    """
    if len(rows) < max(components, 2):
        raise UserError(
            f"a mixture of {components} cannot be fitted to {len(rows)} frames; use smaller classical.mixture.sizes "
            "or a larger corpus."
        )
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        components,
        covariance_type=covariance,
        init_params="k-means++",
        max_iter=30,
        tol=1e-3,
        reg_covar=1e-3,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # thirty rounds are meant to be enough, not the last
        return mixture.fit(rows)


_LEARNED = ("weights_", "means_", "covariances_", "precisions_cholesky_")


def mixture_state(mixture: Any) -> dict[str, np.ndarray]:
    """What a mixture has learned, by name."""
    return {name: getattr(mixture, name) for name in _LEARNED}


def mixture_of(state: Mapping[str, np.ndarray]) -> Any:
    """scikit-learn's mixture of a ``mixture_state``."""
    from sklearn.mixture import GaussianMixture

    covariance = "diag" if state["covariances_"].ndim == 2 else "full"
    mixture = GaussianMixture(len(state["weights_"]), covariance_type=covariance)
    for name in _LEARNED:
        setattr(mixture, name, state[name])
    return mixture


def draw(frames: Frames, seed: int, most: int = _MOST_FRAMES) -> np.ndarray:
    """Up to ``most`` of the frames, (frames, values) float64, drawn without regard to utterances."""
    rows = np.concatenate(list(frames)).astype(np.float64)
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))]


def choose_mixture(
    rows: np.ndarray,
    sizes: tuple[int, ...],
    covariances: tuple[Covariance, ...],
    by: Literal["bic", "likelihood"],
    seed: int,
) -> Any:
    """The mixture of the best size and covariance: the lowest BIC, or the highest likelihood of held-out frames."""
    choices = [(size, kind) for size in sizes for kind in covariances]
    if by == "bic" or len(choices) == 1:
        mixtures = [fit_mixture(rows, size, kind, seed) for size, kind in choices]
        return min(mixtures, key=lambda mixture: mixture.bic(rows)) if len(mixtures) > 1 else mixtures[0]
    # a stretch at a time is held out, for neighbouring frames are alike
    blocks = np.arange(len(rows)) // min(_STRETCH, max(1, len(rows) // 10))
    held = np.random.default_rng(seed).permutation(blocks[-1] + 1)[blocks] < _HELD_OUT * (blocks[-1] + 1)
    scores = [fit_mixture(rows[~held], size, kind, seed).score(rows[held]) for size, kind in choices]
    size, kind = choices[int(np.argmax(scores))]
    return fit_mixture(rows, size, kind, seed)


def adapted_means(mixture: Any, rows: np.ndarray, relevance: float) -> tuple[np.ndarray, np.ndarray]:
    """Means (components, values) adapted to frames, and how many frames each component answers for."""
    posterior = mixture.predict_proba(rows)
    answers = posterior.sum(axis=0)
    share = (answers / (answers + relevance))[:, None]
    means = posterior.T @ rows / np.maximum(answers, 1e-10)[:, None]
    return share * means + (1.0 - share) * mixture.means_, answers


class Encoder:
    """Utterances as vectors by a background model.

    ``supervector``: √w (m - μ) / σ of the means adapted to the utterance, m (Campbell et al. 2006). ``fisher``: the
    gradient of the likelihood by means and deviations, power- and length-normalised (Perronnin et al. 2010, eq. 16 to
    19; diagonal covariances alone).

    Args:
        kind: see above.
        sizes, covariances, by: what ``choose_mixture`` chooses from.
        relevance: frames at which a mean has moved half way.
    """

    def __init__(
        self,
        kind: Literal["supervector", "fisher"] = "supervector",
        sizes: tuple[int, ...] = (64,),
        covariances: tuple[Covariance, ...] = ("diag",),
        by: Literal["bic", "likelihood"] = "likelihood",
        relevance: float = 8.0,
        seed: int = 0,
    ):
        self.kind, self.sizes, self.covariances, self.by = kind, tuple(sizes), tuple(covariances), by
        self.relevance, self.seed = relevance, seed

    def fit(self, frames: Frames) -> Encoder:
        """Fit the background model to training utterances; no label is seen."""
        rows = draw(frames, self.seed)
        self.mixture_ = choose_mixture(rows, self.sizes, self.covariances, self.by, self.seed)
        return self

    def __call__(self, frames: Frames) -> np.ndarray:
        """Vectors (utterances, values)."""
        return np.stack([self._vector(one.astype(np.float64)) for one in frames])

    @staticmethod
    def count(kind: str, components: int, values: int) -> int:
        """Values of a vector, of frames of ``values`` each: means, of ``fisher`` deviations too."""
        return components * values * (2 if kind == "fisher" else 1)

    def _vector(self, rows: np.ndarray) -> np.ndarray:
        mixture = self.mixture_
        deviation = np.sqrt(_variances(mixture))
        weight = np.sqrt(mixture.weights_)[:, None]
        if self.kind == "supervector":
            means, _ = adapted_means(mixture, rows, self.relevance)
            return (weight * (means - mixture.means_) / deviation).ravel()
        posterior = mixture.predict_proba(rows)
        answers = posterior.sum(axis=0)[:, None]
        first, second = posterior.T @ rows, posterior.T @ rows**2
        by_mean = (first - answers * mixture.means_) / deviation
        by_deviation = (second - 2.0 * first * mixture.means_ + answers * mixture.means_**2) / deviation**2 - answers
        parts = [by_mean / weight, by_deviation / (weight * np.sqrt(2.0))]
        vector = np.concatenate([part.ravel() for part in parts]) / len(rows)
        return np.sign(vector) * np.sqrt(np.abs(vector))


def _variances(mixture: Any) -> np.ndarray:
    """Variances (components, values) of a mixture of either covariance."""
    if mixture.covariance_type == "diag":
        return np.asarray(mixture.covariances_)
    return np.stack([np.diag(one) for one in mixture.covariances_])
