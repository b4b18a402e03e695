#!/usr/bin/env bash
# Controls: other galaxies than those injected into, or the same galaxies with and without an arc. Six runs. Three
# negatives a positive, because at 1:1 paired controls are all the negatives there are and no other class is seen.
exec python train.py -m seed=1,2,3 inject=unpaired,paired inject.negatives.ratio=3 paths.runs_dir=runs/controls "$@"
