"""A manifest of RAVDESS and TESS, and the folds that test one TESS speaker having trained on all others.

``python benchmarks/tess.py RAVDESS TESS OUT.csv`` prints the settings to give to ``parallel-ser baseline``.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from parallel_ser.config import load
from parallel_ser.corpora import protocols, registry


def main() -> None:
    ravdess, tess, out = (Path(one).resolve() for one in sys.argv[1:4])
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "speaker", "emotion", "sex", "text", "corpus"])
        for name, root in (("ravdess", ravdess), ("tess", tess)):
            asked = load(None, [f"corpus.name={name}", f"corpus.root={root}", "corpus.labels=seven"]).corpus
            for one in registry.load(asked).utterances:
                writer.writerow([one.path, one.speaker, one.emotion, one.sex, one.text, one.corpus])
    settings = ["corpus.name=manifest", f"corpus.root={out}", "split.protocol=speaker", "split.folds=0"]
    config = load(None, settings)
    corpus = registry.load(config.corpus)
    only = [
        fold.index
        for fold in protocols.folds(corpus, config.split)
        if "tess" in corpus.utterances[fold.test[0]].speaker
    ]
    print(" ".join([*settings, f"split.only={only}".replace(" ", "")]))


if __name__ == "__main__":
    main()
