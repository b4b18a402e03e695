#!/usr/bin/env bash
# Does the source's texture matter? Real HST galaxies (GalSim's example of 100), smooth Sersic profiles, Sersic with
# knots, three seeds each: nine quickstarts of half the length, half an hour on two cores.
#   bash sweeps/quickstart_source.sh
#   python evaluate.py task=ablation task.sweep=runs/quickstart_source
exec python train.py -m experiment=quickstart trainer.max_epochs=3 seed=1,2,3 source=cosmos_example,sersic,clumpy \
  paths.runs_dir=runs/quickstart_source "$@"
