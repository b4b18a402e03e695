#!/usr/bin/env bash
# Does the source's texture matter? Real HST galaxies (needs a bank, docs/data.md), smooth Sersic, Sersic with knots,
# and the last two mixed. Twelve runs.
#   bash sweeps/source.sh paths.cosmos_bank=cosmos_20k.h5
#   bash sweeps/source.sh experiment=gen5_cosmos paths.cosmos_bank=cosmos_20k.h5 source=cosmos,sersic   # the seeds' control
exec python train.py -m seed=1,2,3 source=cosmos,sersic,clumpy,mixture paths.runs_dir=runs/source "$@"
