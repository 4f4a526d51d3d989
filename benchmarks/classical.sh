#!/usr/bin/env bash
# The classical figures of docs/results.md: benchmarks/classical.sh ROOT OUT [MODE…], ROOT being RAVDESS's folder.
# MODE is speaker, self (speaker with self-training), train or enrol (all four without one). Needs the package opensmile for
# the rows that have its sets. What is there already is not run again. `copies` learns from copies as other
# voices, with one width and one selection: its kernels have 25 times as many values; `tta-…` answers over such copies too.
set -euo pipefail
root=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- speaker self train enrol
mkdir -p "$out"

run() { # NAME SYSTEM VIEWS [SETTING…], in $mode
  local name=$1 system=$2 views=$3 settings=("classical.normalise=$mode")
  shift 3
  [ "$mode" != self ] || settings=(classical.normalise=speaker classical.self_training=0.3)
  [ -e "$out/$mode-$name/metrics.json" ] || parallel-ser baseline "$system" --config configs/classical.yaml \
    "corpus.root=$root" "classical.views=[$views]" "${settings[@]}" "$@" "run.folder=$out/$mode-$name" >"$out/$mode-$name.log"
}
copies=(train.copies=4 train.speed=0.15 classical.search.width=[2] classical.search.keep=[2000])
machines=(elm=functionals supervector=supervector own=functionals,supervector all=functionals,supervector,compare
  compare=compare correlations=functionals,supervector,correlations)

for mode in "$@"; do
  for machine in "${machines[@]}"; do
    run "${machine%%=*}" elm "${machine#*=}"
    [ "$mode" = self ] || run "tta-${machine%%=*}" elm "${machine#*=}" "${copies[@]}" train.tta_copies=4
  done
  run copies elm functionals,supervector,correlations "${copies[@]}"
  [ "$mode" != self ] || continue
  run gmm gmm functionals
  run svm svm functionals
done
