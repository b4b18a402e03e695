#!/usr/bin/env bash
# Negatives a positive in training: 1, 10, 100, at the same number of stamps, so that at 100 there are fifty times fewer
# arcs an epoch than at 1; more inject.samples_per_epoch gives them back. Nine runs.
exec python train.py -m seed=1,2,3 inject.negatives.ratio=1,10,100 paths.runs_dir=runs/negatives "$@"
