"""What a classical run by speaker is worth where there are few recordings of a tested speaker.

``python benchmarks/few_recordings.py RUN…`` deals each test speaker's recordings out at random into groups of 5, 10, 20
and 30 and answers each group as if nothing else of the speaker were known: standardised by the group, and fitted again
to it where the run has self-training. It prints the UAR of all answers, the mean of three deals.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from parallel_ser.classical.recogniser import Recogniser
from parallel_ser.training.copies import with_tta_copies
from parallel_ser.training.data import prepare
from parallel_ser.training.inference import Run
from parallel_ser.training.sample import sample_of

GROUPS, DEALS = (5, 10, 20, 30), 3


def groups(speakers: np.ndarray, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Places of each speaker's recordings in groups of ``size`` at the least, each recording in one."""
    for speaker in np.unique(speakers):
        own = generator.permutation(np.flatnonzero(speakers == speaker))
        yield from np.array_split(own, max(1, len(own) // size))


def main() -> None:
    for folder in map(Path, sys.argv[1:]):
        config = Run.open(folder).config
        data, folds, _ = prepare(config, lambda *_: None)
        answered = with_tta_copies(data, config).answered(config.train.tta_copies)
        samples = [sample_of(one, config, lambda *_: None)[0] for one in answered]
        labels = np.array([data.classes.index(utterance.emotion) for utterance in data.utterances])
        models = [Recogniser.load(folder / f"fold-{fold.index}" / "model.skops") for fold in folds]
        values = {}
        for size in (*GROUPS, len(labels)):
            generator = np.random.default_rng(size)
            every = []
            for _ in range(DEALS if size in GROUPS else 1):
                answers = np.full(len(labels), -1)
                for fold, model in zip(folds, models, strict=True):
                    test = np.array(fold.test)
                    for group in groups(samples[0].speakers[test], size, generator):
                        theirs = [one.take(test[group]) for one in samples]
                        answers[test[group]] = model.predict_proba(*theirs).argmax(1)
                tested = answers >= 0
                every.append(balanced_accuracy_score(labels[tested], answers[tested]))
            values["all" if size not in GROUPS else size] = np.mean(every)
        print(folder.name, "  ".join(f"{name}: {value:.3f}" for name, value in values.items()), flush=True)


if __name__ == "__main__":
    main()
