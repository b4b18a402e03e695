"""Peers measured beside us: lenstronomy in its usual form, and at its best (grid and model reused, one ray trace)."""

import numpy as np
from scipy.signal import fftconvolve

from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.inject.recipe import RecipeBatch
from dhs.inject.renderer import LenstronomyRenderer


def usual_lenstronomy(reference: LenstronomyRenderer, recipes: RecipeBatch, traced: object) -> int:
    """Three `ImageModel` calls a stamp, as most pipelines do."""
    reference.observe(traced, recipes=recipes)  # type: ignore[arg-type]
    return len(recipes)


class CachedLenstronomy:
    """lenstronomy's own lens and light functions on one stored grid; one ray trace and three FFT convolutions."""

    def __init__(self, *, size_px: int, supersampling: int) -> None:
        from lenstronomy.LensModel.lens_model import LensModel

        self._lens = LensModel(["SIE", "SHEAR"])
        fine = size_px * supersampling
        axis = (np.arange(fine) - (fine - 1) / 2) * PIXEL_SCALE_ARCSEC / supersampling
        x, y = np.meshgrid(axis, axis)
        self._x, self._y = x.ravel(), y.ravel()
        self._size, self._ss = size_px, supersampling

    def render(self, recipes: RecipeBatch, templates: np.ndarray, kernels: np.ndarray, *, scale: float) -> int:
        from lenstronomy.LightModel.light_model import LightModel

        for i in range(len(recipes)):
            ellipticity = (1 - recipes.axis_ratio[i]) / (1 + recipes.axis_ratio[i])
            lens = [
                {
                    "theta_E": recipes.theta_e_arcsec[i],
                    "e1": ellipticity * np.cos(2 * recipes.phi_rad[i]),
                    "e2": ellipticity * np.sin(2 * recipes.phi_rad[i]),
                    "center_x": recipes.lens_x_arcsec[i],
                    "center_y": recipes.lens_y_arcsec[i],
                },
                {"gamma1": recipes.gamma1[i], "gamma2": recipes.gamma2[i], "ra_0": 0.0, "dec_0": 0.0},
            ]
            light = [
                {
                    "image": templates[i] / scale**2,
                    "scale": scale,
                    "amp": 1.0,
                    "center_x": recipes.source_x_arcsec[i],
                    "center_y": recipes.source_y_arcsec[i],
                    "phi_G": recipes.source_rotation_rad[i],
                }
            ]
            x, y = self._lens.ray_shooting(self._x, self._y, lens)
            fine = LightModel(["INTERPOL"]).surface_brightness(x, y, light)
            image = fine.reshape(self._size, self._ss, self._size, self._ss).mean(axis=(1, 3)) * PIXEL_SCALE_ARCSEC**2
            for kernel in kernels[i]:
                fftconvolve(image, kernel, mode="same")
        return len(recipes)
