#!/usr/bin/env bash
# The classical figures of docs/results.md: benchmarks/classical.sh ROOT OUT [MODE…], ROOT being RAVDESS's folder.
# MODE is speaker, self (speaker with self-training), train or enrol (all four without one). Needs the package opensmile for
# the rows that have its sets. What is there already is not run again.
set -euo pipefail
root=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- speaker self train enrol
mkdir -p "$out"

run() { # NAME SYSTEM VIEWS, in $mode
  local settings=("classical.normalise=$mode")
  [ "$mode" != self ] || settings=(classical.normalise=speaker classical.self_training=0.3)
  [ -e "$out/$mode-$1/metrics.json" ] || parallel-ser baseline "$2" --config configs/classical.yaml "corpus.root=$root" \
    "classical.views=[$3]" "${settings[@]}" "run.folder=$out/$mode-$1" >"$out/$mode-$1.log"
}

for mode in "$@"; do
  run elm elm functionals
  run supervector elm supervector
  run own elm functionals,supervector
  run all elm functionals,supervector,compare
  run compare elm compare
  [ "$mode" != self ] || continue
  run gmm gmm functionals
  run svm svm functionals
done
