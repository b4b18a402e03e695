#!/usr/bin/env bash
# Focal loss against binary cross-entropy. Six runs.
exec python train.py -m seed=1,2,3 loss=focal,bce paths.runs_dir=runs/loss "$@"
