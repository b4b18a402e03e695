#!/usr/bin/env bash
# PSF shape in the injection, and paired against unpaired controls. Twelve runs, three seeds each.
exec python train.py -m psf=moffat,gaussian inject=unpaired,paired seed=1,2,3 "$@"
