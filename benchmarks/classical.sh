#!/usr/bin/env bash
# The classical figures of docs/results.md: benchmarks/classical.sh ROOT OUT [MODE…], ROOT being RAVDESS's folder.
# MODE is speaker, train or enrol (all three without one). Needs the package opensmile for the rows that have its sets.
# What is there already is not run again.
set -euo pipefail
root=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- speaker train enrol
mkdir -p "$out"

run() { # NAME SYSTEM VIEWS MODE
  [ -e "$out/$4-$1/metrics.json" ] || parallel-ser baseline "$2" --config configs/classical.yaml "corpus.root=$root" \
    "classical.views=[$3]" "classical.normalise=$4" "run.folder=$out/$4-$1" >"$out/$4-$1.log"
}

for mode in "$@"; do
  run elm elm functionals "$mode"
  run gmm gmm functionals "$mode"
  run supervector elm supervector "$mode"
  run own elm functionals,supervector "$mode"
  run all elm functionals,supervector,compare "$mode"
  run compare elm compare "$mode"
  run svm svm functionals "$mode"
done
