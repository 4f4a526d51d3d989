"""A small problem with every view: 6 speakers, 3 emotions, known up to noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parallel_ser.classical import search as searching
from parallel_ser.classical.front import CEPSTRA
from parallel_ser.classical.sample import Frames, Sample
from parallel_ser.classical.search import Found, Problem
from parallel_ser.classical.settings import ClassicalSettings

CLASSES = ("joy", "anger", "sadness")
VALUES = 12
SMALL: dict[str, Any] = {"search": {"cost": (1.0,), "width": (1.0,), "keep": (0,)}, "mixture": {"sizes": (4,)}}


@dataclass(frozen=True)
class Small:
    """The problem, cut into outer folds of two speakers and inner folds of one."""

    sample: Sample
    labels: np.ndarray
    problems: tuple[Problem, ...]

    def search(
        self,
        folder: Path,
        settings: ClassicalSettings,
        jobs: int = 1,
        labels: np.ndarray | None = None,
        copies: Sequence[Sample] = (),
        tta_copies: Sequence[Sample] = (),
    ) -> list[Found]:
        inputs = {"functionals": [f"value{place}" for place in range(VALUES)]}
        own = {name: inputs[name] for name in settings.views if name in inputs and settings.system != "gmm"}
        given = self.labels if labels is None else labels
        more = {"copies": copies, "tta_copies": tta_copies}
        return searching.search(self.sample, given, CLASSES, self.problems, settings, own, folder, jobs, **more)

    def changed(self, places: Sequence[int] = ()) -> Sample:
        """The sample with other vectors and frames at these places."""
        vectors, frames = self.sample.views["functionals"], self.sample.views[CEPSTRA]
        assert isinstance(vectors, np.ndarray)
        assert isinstance(frames, Frames)
        other = np.array(vectors)
        other[list(places)] += 3.0
        rows = [one + 2.0 if place in places else one for place, one in enumerate(frames)]
        return Sample({"functionals": other, CEPSTRA: Frames.join(rows)}, self.sample.speakers)


def make() -> Small:
    rng = np.random.default_rng(0)
    speakers, labels = np.repeat(np.arange(6), 9), np.tile([0, 1, 2], 18)
    of_speakers, of_classes = rng.normal(size=(6, VALUES)), rng.normal(size=(3, VALUES))
    vectors = rng.normal(size=(54, VALUES)) + of_speakers[speakers] + 1.2 * of_classes[labels]
    frames = [
        (vectors[place, :4] + rng.normal(size=(int(rng.integers(8, 20)), 4))).astype(np.float32) for place in range(54)
    ]
    names = np.array([f"speaker-{number}" for number in speakers])
    problems = []
    for index in (0, 1):
        test = np.flatnonzero(speakers // 2 == index)
        training = np.setdiff1d(np.arange(54), test)
        inner = [
            (np.flatnonzero(speakers[training] != one), np.flatnonzero(speakers[training] == one))
            for one in np.unique(speakers[training])
        ]
        pairs = tuple((tuple(learned.tolist()), tuple(out.tolist())) for learned, out in inner)
        problems.append(Problem(index, tuple(training.tolist()), pairs, tuple(test.tolist())))
    views = {"functionals": vectors, CEPSTRA: Frames.join(frames)}
    return Small(Sample(views, names), labels, tuple(problems))


def one_candidate(**changes: Any) -> ClassicalSettings:
    """Settings with one candidate, changed by groups."""
    merged = {**SMALL, **changes}
    for group in ("search", "mixture"):
        merged[group] = {**SMALL[group], **changes.get(group, {})}
    return ClassicalSettings.model_validate(merged)
