"""From raw views to what a classifier is given: speaker normalisation and encoding. Nothing here sees a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from parallel_ser.classical.gmm import Encoder, mixture_of, mixture_state
from parallel_ser.classical.sample import Frames, Sample, View
from parallel_ser.classical.settings import ClassicalSettings
from parallel_ser.classical.standardise import Mode, Standardiser

CEPSTRA = "cepstra"
"""The view of frames that mixtures are fitted to."""

ENCODED = ("supervector", "fisher")


class Front:
    """Views standardised by the speaker mode, and frames encoded by a background model.

    Vectors are standardised; frames are, and where an encoder is given, its vectors are centred by the same rule and
    brought to unit length. Of vectors, ``none`` and ``train`` come to the same, for a kernel system scales them anyway.

    Args:
        mode, count, seed: of ``Standardiser``.
        encoders: by the name of the view that they make out of the frames.
    """

    def __init__(self, mode: Mode, count: int, seed: int, encoders: dict[str, Encoder]):
        self.mode, self.count, self.seed, self.encoders = mode, count, seed, encoders

    def fit(self, sample: Sample) -> Sample:
        """Learn from training utterances; returns them made ready to be learned from."""
        speakers = sample.speakers
        self.standardisers_, self.centres_ = {}, {}
        views: dict[str, View] = {}
        for name, view in sample.views.items():
            self.standardisers_[name] = self._standardiser().fit(view, speakers)
            views[name] = self.standardisers_[name].training(view, speakers)
        for name, encoder in self.encoders.items():
            frames = _frames(views)
            vectors = encoder.fit(frames)(frames)
            self.centres_[name] = self._standardiser(scale=False).fit(vectors, speakers)
            views[name] = _of_unit_length(self.centres_[name].training(vectors, speakers))
        return Sample(views, speakers)

    def _standardiser(self, scale: bool = True) -> Standardiser:
        return Standardiser(self.mode, self.count, self.seed, scale)

    def state(self) -> dict[str, Any]:
        """What was learned, as arrays by name."""
        return {
            "standardisers": {name: one.state() for name, one in self.standardisers_.items()},
            "centres": {name: one.state() for name, one in self.centres_.items()},
            "mixtures": {name: mixture_state(one.mixture_) for name, one in self.encoders.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> Front:
        """As if fitted to what gave ``state``."""
        self.standardisers_ = {name: self._standardiser().restore(one) for name, one in state["standardisers"].items()}
        self.centres_ = {name: self._standardiser(scale=False).restore(one) for name, one in state["centres"].items()}
        for name, one in self.encoders.items():
            one.mixture_ = mixture_of(state["mixtures"][name])
        return self

    def __call__(self, sample: Sample, training: bool = False) -> Sample:
        """Utterances made ready: tested ones, or ``training`` ones, such as copies of those that were learned from."""

        def standardised(by: Standardiser, view: View) -> View:
            return (by.training if training else by)(view, sample.speakers)

        views = {name: standardised(one, sample.views[name]) for name, one in self.standardisers_.items()}
        for name, encoder in self.encoders.items():
            views[name] = _of_unit_length(standardised(self.centres_[name], encoder(_frames(views))))
        return Sample(views, sample.speakers)


def _frames(views: Mapping[str, View]) -> Frames:
    frames = views[CEPSTRA]
    assert isinstance(frames, Frames)
    return frames


def _of_unit_length(vectors: View) -> np.ndarray:
    assert isinstance(vectors, np.ndarray)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def front_of(settings: ClassicalSettings) -> Front:
    """The front of the settings' views, or of the frames of a mixture system; not yet fitted."""
    mixture = settings.mixture
    kinds = [name for name in ENCODED if name in settings.views] if settings.system != "gmm" else []
    if settings.system == "gmm" and mixture.adapt == "map":
        kinds = ["supervector"]  # for its background model
    encoders: dict[str, Encoder] = {
        kind: Encoder(kind, mixture.sizes, mixture.covariances, mixture.choose, mixture.relevance, settings.seed)  # type: ignore[arg-type]
        for kind in kinds
    }
    return Front(settings.normalise, settings.enrol, settings.seed, encoders)
