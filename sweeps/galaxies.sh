#!/usr/bin/env bash
# How many distinct galaxies are enough? The first N of the sky, injected into as often. Its validation and test splits
# shrink alike (they are those galaxies' own), so compare by task=ablation, where each run scores every test set. Six runs.
#   bash sweeps/galaxies.sh experiment=gen5_cosmos max_galaxies=25000,100000
exec python train.py -m seed=1,2,3 max_galaxies=2500,10000 paths.runs_dir=runs/galaxies "$@"
