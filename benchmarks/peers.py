"""Peers measured beside us: lenstronomy in its usual form and at its best, caustics in its best functional form.

Their results are held to ours in tests/system/test_benchmarks.py: a fast wrong peer would flatter nobody.
"""

import numpy as np
import torch
from scipy.signal import fftconvolve

from dhs.constants import PIXEL_SCALE_ARCSEC, SOURCE_PIXEL_SCALE_ARCSEC
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


class FunctionalCaustics:
    """caustics' own SIE and shear functions on one uniform 4x grid, torch's grid_sample, batched FFT, float32.

    Its `LensSource` simulator is slower: it traces every band again, in a frame padded by half a kernel.
    """

    def __init__(self, *, size_px: int, supersampling: int) -> None:
        fine = size_px * supersampling
        axis = (torch.arange(fine, dtype=torch.float32) - (fine - 1) / 2) * PIXEL_SCALE_ARCSEC / supersampling
        self._y, self._x = torch.meshgrid(axis, axis, indexing="ij")
        self._size, self._ss = size_px, supersampling

    def render(self, recipes: RecipeBatch, templates: torch.Tensor, kernels: torch.Tensor, *, batch: int) -> int:
        for start in range(0, len(recipes), batch):
            part = slice(start, start + batch)
            self.images(recipes.take(part), templates[part], kernels[part])
        return len(recipes)

    def images(self, recipes: RecipeBatch, templates: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
        """(B, bands, N, N) unit-flux arcs of (B, S, S) templates and (B, bands, K, K) kernels."""
        from caustics.lenses.func import reduced_deflection_angle_sie

        def column(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.asarray(values, np.float32))[:, None, None]

        g1, g2 = column(recipes.gamma1), column(recipes.gamma2)
        ax, ay = reduced_deflection_angle_sie(
            column(recipes.lens_x_arcsec),
            column(recipes.lens_y_arcsec),
            column(np.minimum(recipes.axis_ratio, 1 - 1e-4)),
            column(recipes.phi_rad),
            column(recipes.theta_e_arcsec),
            self._x,
            self._y,
        )
        beta_x = self._x - ax - (g1 * self._x + g2 * self._y) - column(recipes.source_x_arcsec)
        beta_y = self._y - ay - (g2 * self._x - g1 * self._y) - column(recipes.source_y_arcsec)
        turn = column(recipes.source_rotation_rad)
        cos, sin = torch.cos(turn), torch.sin(turn)
        scale = 2 / (templates.shape[-1] * SOURCE_PIXEL_SCALE_ARCSEC)
        grid = torch.stack([cos * beta_x + sin * beta_y, cos * beta_y - sin * beta_x], dim=-1) * scale
        fine = torch.nn.functional.grid_sample(templates[:, None], grid, padding_mode="zeros", align_corners=False)
        image = torch.nn.functional.avg_pool2d(fine, self._ss) * (PIXEL_SCALE_ARCSEC / SOURCE_PIXEL_SCALE_ARCSEC) ** 2
        padded = self._size + kernels.shape[-1] - 1
        spectra = torch.fft.rfft2(image, s=(padded, padded)) * torch.fft.rfft2(kernels, s=(padded, padded))
        start = (kernels.shape[-1] - 1) // 2
        full = torch.fft.irfft2(spectra, s=(padded, padded))
        return full[..., start : start + self._size, start : start + self._size]
