"""From utterances with features to the raw views of a classical system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from parallel_ser.audio.altered import AlterationSettings, AlteredExtractor, Copy, SignalExtractor
from parallel_ser.audio.cache import FeatureCache
from parallel_ser.audio.correlations import Correlations
from parallel_ser.audio.extract import Features
from parallel_ser.audio.frames import row_names
from parallel_ser.audio.functionals import Functionals, slopes
from parallel_ser.audio.image import ImageExtractor
from parallel_ser.audio.smile import NOTICE, SmileExtractor
from parallel_ser.classical.front import CEPSTRA, ENCODED
from parallel_ser.classical.gmm import Encoder
from parallel_ser.classical.sample import Frames, Sample, View
from parallel_ser.classical.settings import ClassicalSettings
from parallel_ser.config import Config
from parallel_ser.errors import UserError
from parallel_ser.report.terminal import Advance
from parallel_ser.training import encoder_view
from parallel_ser.training.encoder_view import EncoderExtractor
from parallel_ser.training.run_folder import normalisation_notes

if TYPE_CHECKING:
    from parallel_ser.training.data import Dataset


OF_CONTOURS = ("functionals", "correlations")
"""The vector views that are made of the run's features, utterance by utterance."""
OF_FEATURES = (*OF_CONTOURS, *ENCODED)
"""All views that are made of the run's features; the others measure the files anew."""


def sample_of(data: Dataset, config: Config, progress: Advance | None = None) -> tuple[Sample, dict[str, list[str]]]:
    """The views that ``config.classical`` needs of every utterance, and the names of the vector views' values.

    Raises:
        UserError: the features lack what a view is made of, or openSMILE is asked for and missing.
    """
    settings = config.classical
    wanted = (CEPSTRA,) if settings.system == "gmm" else settings.views
    views: dict[str, View] = {}
    names: dict[str, list[str]] = {}
    for name in wanted:
        if name in (CEPSTRA, *ENCODED):
            views.setdefault(CEPSTRA, cepstra(data, config))
        else:
            views[name], names[name] = table(data, config, name, progress)
    return Sample(views, np.array([one.speaker for one in data.utterances])), names


def table(data: Dataset, config: Config, view: str, progress: Advance | None = None) -> tuple[np.ndarray, list[str]]:
    """A vector view: (utterances, values) float64, and the values' names."""
    if view in OF_CONTOURS:
        _require_contours(config)
        contours = _of_contours(view, data.rows, config)
        with threadpool_limits(1):  # sums in the same order, so the same values to the bit
            if isinstance(contours, Functionals):
                rows = [contours(frames, one) for frames, one in zip(data.frames, data.measures, strict=True)]
            else:
                rows = [contours(frames) for frames in data.frames]
        return np.stack(rows).astype(np.float64), contours.names
    extractor, paths = extractor_of(view, config), [one.path for one in data.utterances]
    features = FeatureCache(config.run.cache, extractor).fill(paths, config.run.jobs or -1, progress)
    if data.copy is not None:
        copies = copies_of(paths, extractor, config, data.copy, progress)
        features = [copy or recording for copy, recording in zip(copies, features, strict=True)]
    return np.stack([one.frames[:, 0] for one in features]).astype(np.float64), extractor.names


def _of_contours(view: str, rows: Sequence[str], config: Config) -> Functionals | Correlations:
    """What makes a view of ``OF_CONTOURS``."""
    if view == "correlations":
        return Correlations(rows, config.features.hop)
    return Functionals(rows, config.functionals, config.features.hop)


def altering(extractor: SignalExtractor, config: Config, copy: Copy) -> AlteredExtractor:
    """Makes what the extractor does, of a copy of each recording, altered as ``config.train`` says."""
    train = config.train
    settings = AlterationSettings(noise=train.noise, gain=train.gain, speed=train.speed, band=train.band)
    return AlteredExtractor(extractor, settings, copy)


def copies_of(
    paths: Sequence[Path],
    extractor: SignalExtractor,
    config: Config,
    copy: Copy,
    progress: Advance | None = None,
) -> list[Features | None]:
    """What the extractor makes of a copy of each recording; nothing where it cannot be measured, for it is silent now,
    say: it is the recording itself then."""
    cache = FeatureCache(config.run.cache, altering(extractor, config, copy))
    return [one if isinstance(one, Features) else None for one in cache.attempt(paths, config.run.jobs or -1, progress)]


def extractor_of(view: str, config: Config) -> SmileExtractor | ImageExtractor | EncoderExtractor:
    """What measures the files for a view that is not made of the run's features.

    Raises:
        UserError: the package that it needs is missing, or its weights.
    """
    if view == "encoder":
        return EncoderExtractor(config.audio, config.classical.encoder)
    if view == "image":
        return ImageExtractor(config.audio, config.classical.image)
    assert view in ("egemaps", "compare")
    return SmileExtractor(config.audio, view)  # type: ignore[arg-type]


def require_views(config: Config) -> None:
    """Refuse, before there are features, views that cannot be made.

    Raises:
        UserError: see ``extractor_of``.
    """
    for view in of_files(config.classical):
        extractor_of(view, config)


def of_files(settings: ClassicalSettings) -> list[str]:
    """The views of a classical system that measure the files anew.

    >>> of_files(ClassicalSettings(views=("functionals", "compare")))
    ['compare']
    """
    return [view for view in settings.views if view not in OF_FEATURES and settings.system != "gmm"]


def require_vectors(config: Config) -> None:
    """Refuse vectors that cannot be made, or are not as many values as the network reads.

    Raises:
        UserError: so it is.
    """
    expected, keep, classical = config.model.beside.vectors, config.model.beside.keep, config.classical
    if not expected:
        return
    views, mixture = classical.views, classical.mixture
    if config.train.normalise not in ("train", "speaker"):
        raise UserError(
            "model.options.vectors are standardised by the training side or by speaker: use train.normalise=train or "
            f"speaker, not {config.train.normalise}."
        )
    if others := [view for view in views if view not in OF_FEATURES]:
        raise UserError(
            f"model.options.vectors are made of features.streams, and classical.views={others[0]} is not: use "
            f"{', '.join(OF_CONTOURS)}, supervector or fisher."
        )
    if config.model.weights:
        raise UserError(
            "model.options.vectors are made by what each training side has, so those of another run mean something "
            "else: leave model.weights out, or the vectors."
        )
    counts = []
    if of_contours := [view for view in views if view in OF_CONTOURS]:
        _require_contours(config)
        rows = encoder_view.extractor_of(config.audio, config.features).names
        counts += [len(_of_contours(view, rows, config).names) for view in of_contours]
    if encoded := [view for view in views if view in ENCODED]:
        if len(mixture.sizes) > 1:
            raise UserError(
                "model.options.vectors needs one size of the mixture, and classical.mixture.sizes has several: use "
                f"classical.mixture.sizes=[{mixture.sizes[0]}]."
            )
        if "fisher" in encoded and "full" in mixture.covariances:
            raise UserError(
                "classical.views=fisher needs diagonal covariances: use classical.mixture.covariances=[diag]."
            )
        values = 3 * len(cepstral_rows(config))
        counts += [Encoder.count(view, mixture.sizes[0], values) for view in encoded]
    count = sum(min(keep or one, one) for one in counts)
    if count != expected:
        at_most = f", {keep} of each at the most" if keep else ""
        raise UserError(
            f"model.options.vectors={expected}, and the views [{', '.join(views)}] of classical.views have {count} "
            f"values together{at_most}: say model.options.vectors={count}."
        )


def _require_contours(config: Config) -> None:
    if {"waveform", "encoder"} & {*config.features.streams}:
        raise UserError(
            f"features.streams=[{config.features.streams[0]}] has no contours to describe: give others, "
            "such as logmel, pitch and loudness."
        )


def cepstral_rows(config: Config) -> list[str]:
    """Names of the rows of ``classical.mixture.streams``.

    Raises:
        UserError: a stream is not among the features.
    """
    wanted = config.classical.mixture.streams
    if missing := [stream for stream in wanted if stream not in config.features.streams]:
        raise UserError(
            f"classical.mixture.streams has {missing[0]}, which is not among features.streams: add it there, or leave "
            "it out here."
        )
    return [name for stream in wanted for name in row_names(stream, config.features, config.audio.sample_rate)]


def cepstra(data: Dataset, config: Config) -> Frames:
    """The rows of ``classical.mixture.streams`` with their Δ and ΔΔ, of every frame.

    Raises:
        UserError: a stream is not among the features.
    """
    places = [data.rows.index(name) for name in cepstral_rows(config)]
    return Frames.join([_with_slopes(frames[places]) for frames in data.frames])


def _with_slopes(rows: np.ndarray) -> np.ndarray:
    """Rows (values, frames) to (frames, 3 · values), float32."""
    first = slopes(rows.astype(np.float64))
    return np.concatenate([rows, first, slopes(first)]).T.astype(np.float32)


SELF_TRAINED = (
    "the machine was fitted again for each tested speaker with what it took the speaker's unlabelled utterances for "
    "(self-training)"
)


def classical_notes(settings: ClassicalSettings) -> tuple[str, ...]:
    """What must be said beside each figure of a classical system."""
    notes = normalisation_notes(settings.normalise, settings.enrol)
    return (*notes, *(SELF_TRAINED,) * (settings.self_training > 0), *licence_notes(settings.views))


def licence_notes(views: Sequence[str]) -> tuple[str, ...]:
    """What must be said of the licences of what was used."""
    return (NOTICE,) if {"egemaps", "compare"} & set(views) else ()
