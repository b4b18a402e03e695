#!/usr/bin/env bash
# The seeds' 50k against 200k: stamps an epoch. Theirs was a fixed set; here every epoch draws new ones, so four times
# the stamps are four times the steps too: this is quantity of training. Distinct galaxies: sweeps/galaxies.sh. Six runs.
#   bash sweeps/stamps.sh debug=fast inject.samples_per_epoch=256,1024
exec python train.py -m seed=1,2,3 inject.samples_per_epoch=50000,200000 paths.runs_dir=runs/stamps "$@"
