#!/usr/bin/env bash
# The robustness figures of docs/results.md: benchmarks/robustness.sh ROOT OUT, ROOT being RAVDESS's folder. About ten minutes on an
# idle core. The second configuration was written down before the first was measured: a level of its own for each utterance, nothing above the
# band of a telephone, and each utterance standardised by itself, so that neither gain, band nor filter reaches the network.
set -euo pipefail
root=$1 out=$2
common=(--config configs/ravdess.yaml "corpus.root=$root" strategy.name=single strategy.microbatches=2 train.threads=1
    "split.only=[0]" train.epochs=14 train.views=1 --quiet)
parallel-ser train "${common[@]}" train.normalise=train "run.folder=$out/plain"
parallel-ser train "${common[@]}" train.normalise=utterance audio.level=rms features.f_max=3800 "run.folder=$out/robust"
for run in plain robust; do
    parallel-ser evaluate "$out/$run" --robustness
done
