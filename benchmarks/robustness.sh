#!/usr/bin/env bash
# The robustness figures of docs/results.md: benchmarks/robustness.sh ROOT OUT, ROOT being RAVDESS's folder. About a quarter of an hour on
# an idle core. Each configuration was written down before it was measured: a level of its own for each utterance, nothing above the
# band of a telephone, and each utterance standardised by itself, so that neither gain, band nor filter reaches the network; and altered
# copies to train on.
set -euo pipefail
root=$1 out=$2
common=(--config configs/ravdess.yaml "corpus.root=$root" strategy.name=single strategy.microbatches=2 train.threads=1
    "split.only=[0]" train.epochs=14 train.views=1 --quiet)
copies=(train.copies=4 train.noise=10 train.gain=8 train.band=3400)
parallel-ser train "${common[@]}" train.normalise=train "run.folder=$out/plain"
parallel-ser train "${common[@]}" train.normalise=utterance audio.level=rms features.f_max=3800 "run.folder=$out/robust"
parallel-ser train "${common[@]}" train.normalise=train "${copies[@]}" "run.folder=$out/copies"
parallel-ser train "${common[@]}" train.normalise=utterance audio.level=rms features.f_max=3800 "${copies[@]}" "run.folder=$out/both"
for run in plain robust copies both; do
    parallel-ser evaluate "$out/$run" --robustness
done
