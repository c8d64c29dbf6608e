#!/usr/bin/env bash
# The fair family on the toy world: every pretext, five seeds, the evaluation named beforehand for it, and the references.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -d data/toy ] || .venv/bin/ssv toy
ssv() { .venv/bin/ssv "$@" logger=none outputs=outputs/fair; }
run() { echo "outputs/fair/$1-r3d_tiny-toy-fair-s$2"; }
small="backbone=r3d_tiny backbone.time_local=true backbone.spatial_stride=4 backbone.last_stage=3 backbone.padding=reflect"
for seed in ${SEEDS:-0 1 2 3 4}; do
  for pretext in speed_prediction order_verification random_walk colorization cycle_consistency; do
    ssv pretrain +experiment="fair_$pretext" seed="$seed"
  done
  for pretext in speed_prediction order_verification; do
    ssv evaluate +experiment=demo_linear_probe weights="$(run $pretext "$seed")"
    ssv evaluate +experiment=demo_fine_tune weights="$(run $pretext "$seed")"
  done
  for pretext in random_walk colorization cycle_consistency; do
    ssv evaluate +experiment=fair_label_propagation weights="$(run $pretext "$seed")"
  done
  ssv evaluate +experiment=demo_linear_probe weights=random backbone=r3d_tiny seed="$seed"
  ssv evaluate +experiment=demo_fine_tune weights=random backbone=r3d_tiny seed="$seed"
  # shellcheck disable=SC2086
  ssv evaluate +experiment=fair_label_propagation weights=random $small seed="$seed"
  # shellcheck disable=SC2086
  ssv evaluate +experiment=fair_label_propagation weights=random $small backbone.input=grey seed="$seed"
done
ssv evaluate +experiment=fair_label_propagation weights=random backbone=pixels backbone.stride=4 evaluation.stage=0
ssv evaluate +experiment=fair_label_propagation weights=random backbone=pixels backbone.stride=4 backbone.input=grey evaluation.stage=0
.venv/bin/ssv compare outputs=outputs/fair
