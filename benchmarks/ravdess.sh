#!/usr/bin/env bash
# The RAVDESS figures of docs/results.md: benchmarks/ravdess.sh ROOT OUT. About an hour and a quarter on two idle cores.
# The two single-process runs go side by side with one thread each; the pipeline has both cores to itself.
set -euo pipefail
root=$1 out=$2
common=(--config configs/ravdess.yaml "corpus.root=$root" train.threads=1)
single=(strategy.name=single strategy.microbatches=2)
parallel-ser train "${common[@]}" "${single[@]}" "run.folder=$out/single-spk" >"$out-single-spk.log" &
one=$!
parallel-ser train "${common[@]}" "${single[@]}" train.normalise=train "run.folder=$out/single-raw" >"$out-single-raw.log" &
two=$!
wait $one
wait $two
torchrun --nproc_per_node=2 launch/train.py "${common[@]}" "run.folder=$out/pipeline-spk" >"$out-pipeline-spk.log"
python benchmarks/runs_table.py "$out"/*
