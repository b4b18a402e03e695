#!/usr/bin/env bash
# The table: python evaluate.py task=ablation task.sweep=runs/source_loss
# Does the source's texture matter, and does the loss? Twelve runs, three seeds each; add overrides behind the name:
#   sweeps/source_loss.sh debug=fast
exec python train.py -m source=sersic,clumpy loss=focal,bce seed=1,2,3 paths.runs_dir=runs/source_loss "$@"
