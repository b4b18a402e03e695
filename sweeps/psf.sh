#!/usr/bin/env bash
# Does the shape of the injected arcs' PSF matter? Moffat (beta 3.5) and Gaussian of the same FWHM. Six runs.
exec python train.py -m seed=1,2,3 psf=moffat,gaussian paths.runs_dir=runs/psf "$@"
