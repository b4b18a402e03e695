#!/usr/bin/env bash
# Does a difference image help? g, r, z alone, and with g - k z (k 0.6; preprocess=difference_fit fits k). Six runs.
exec python train.py -m seed=1,2,3 preprocess=annulus,difference_gz paths.runs_dir=runs/difference_image "$@"
