#!/usr/bin/env bash
# Controls: other galaxies than those injected into, or the same galaxies with and without an arc. Six runs.
exec python train.py -m seed=1,2,3 inject=unpaired,paired paths.runs_dir=runs/controls "$@"
