"""From raw views to what a classifier is given: speaker normalisation and encoding. Nothing here sees a label."""

from __future__ import annotations

import numpy as np

from parallel_ser.classical.gmm import Encoder
from parallel_ser.classical.sample import Frames, Sample, View
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

    def fit(self, sample: Sample) -> Front:
        """Learn from training utterances."""
        self.standardisers_ = {
            name: Standardiser(self.mode, self.count, self.seed).fit(view, sample.speakers)
            for name, view in sample.views.items()
        }
        self.centres_ = {}
        if self.encoders:
            frames = self.standardisers_[CEPSTRA].training(sample.views[CEPSTRA], sample.speakers)
            assert isinstance(frames, Frames)
            for name, encoder in self.encoders.items():
                vectors = encoder.fit(frames)(frames)
                self.centres_[name] = Standardiser(self.mode, self.count, self.seed, scale=False).fit(
                    vectors, sample.speakers
                )
        return self

    def training(self, sample: Sample) -> Sample:
        """Training utterances made ready."""
        return self._ready(sample, training=True)

    def __call__(self, sample: Sample) -> Sample:
        """Tested utterances made ready."""
        return self._ready(sample, training=False)

    def _ready(self, sample: Sample, training: bool) -> Sample:
        def by(standardiser: Standardiser, view: View) -> View:
            return standardiser.training(view, sample.speakers) if training else standardiser(view, sample.speakers)

        views = {name: by(one, sample.views[name]) for name, one in self.standardisers_.items()}
        for name, encoder in self.encoders.items():
            frames = views[CEPSTRA]
            assert isinstance(frames, Frames)
            vectors = by(self.centres_[name], encoder(frames))
            assert isinstance(vectors, np.ndarray)
            views[name] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return Sample(views, sample.speakers)
