#!/usr/bin/env bash
# The table: python evaluate.py task=ablation task.sweep=runs/psf_controls
# PSF shape in the injection, and paired against unpaired controls. Twelve runs, three seeds each.
exec python train.py -m psf=moffat,gaussian inject=unpaired,paired seed=1,2,3 paths.runs_dir=runs/psf_controls "$@"
