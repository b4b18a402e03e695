"""Lens physics: SIE + shear, ray tracing, PSF, photometry. Pure batched functions on float32 tensors.

Nothing here knows of surveys, recipes or networks. `reference.py` is the only file that imports lenstronomy.
"""
