"""Augmentations that change pixels: sub-pixel shift, rotation, seeing, depth, and a masked core.

They act on nanomaggies before normalisation, so that ring statistics, colour differences and residuals see the stamp as
a survey would have delivered it. Masks follow: a pixel that a bad one has touched is bad, but for the blur, which
leaves bad pixels out. Interpolation and blur take noise away, which a worse night does not; each band is topped up with
noise to the level its ring had before (and beyond, where depth is lost), correlated between neighbours as a coadd's.
"""

import math

import torch
from torch.nn.functional import grid_sample, max_pool2d

from dhs.config.network_input import AugmentConfig
from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.train.augment import AugmentDraws
from dhs.train.blur import gaussian_blur, linear_blur
from dhs.train.counter_noise import normal_noise
from dhs.train.masked import radii_px, ring_level
from dhs.train.spline import sample

FWHM_TO_SIGMA = 1 / (2 * math.sqrt(2 * math.log(2)))
FILL_SIGMA_PX = 1.5
"""How far the good neighbours are that fill a bad pixel before it is interpolated."""
COADD_LAG1 = 0.13
"""Correlation of neighbouring pixels of real DR9 and DR10 coadds (`dhs.sky.mock_noise`)."""


def perturb(
    images: torch.Tensor,
    *,
    good: torch.Tensor,
    draws: AugmentDraws,
    config: AugmentConfig,
    annulus_inner_fraction: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, bands, N, N) nMgy and its mask, each stamp changed as drawn. What ``config`` leaves off costs nothing."""
    before = ring_level(images, good=good, inner_fraction=annulus_inner_fraction)
    good = good & torch.isfinite(images)
    images = torch.where(good, images, torch.nan_to_num(before.centre)[..., None, None])
    if config.max_subpixel_shift_px or config.max_rotation_deg:
        images, good = resample(images, good=good, draws=draws)
    if config.max_psf_blur_arcsec:
        sigma_px = draws.blur_fwhm_arcsec * (FWHM_TO_SIGMA / PIXEL_SCALE_ARCSEC)
        images = gaussian_blur(images, sigma_px=sigma_px, good=good)
    if (
        config.max_subpixel_shift_px
        or config.max_rotation_deg
        or config.max_psf_blur_arcsec
        or config.max_depth_loss_mag
    ):
        after = ring_level(images, good=good, inner_fraction=annulus_inner_fraction)
        wanted = before.sigma * 10 ** (0.4 * draws.depth_loss_mag[:, None])
        images = images + missing_noise(draws.noise_key, wanted=wanted, present=after.sigma, size_px=images.shape[-1])
    if config.core_dropout_probability:
        good = good & (radii_px(images.shape[-1], images.device) >= draws.core_radius_px[:, None, None, None])
    return images, good


def resample(images: torch.Tensor, *, good: torch.Tensor, draws: AugmentDraws) -> tuple[torch.Tensor, torch.Tensor]:
    """Images rotated about (n-1)/2 and then shifted, by cubic splines mirrored at the edges.

    A spline reads four pixels a side: where one of them is bad, so is the result. Its coefficients reach farther, so
    bad pixels are first filled from their neighbours.
    """
    near = torch.full((len(images),), FILL_SIGMA_PX, device=images.device)
    filled = torch.where(good, images, gaussian_blur(images, sigma_px=near, good=good))
    y, x = _read_from(images.shape[-1], draws=draws)
    half = (images.shape[-1] - 1) / 2
    bad = max_pool2d((~good).float(), kernel_size=3, stride=1, padding=1)  # one pixel more than bilinear reads
    grid = torch.stack([x, y], dim=-1) / half - 1
    touched = grid_sample(bad, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    return sample(filled, y=y, x=x), touched < 1e-3


def _read_from(size_px: int, *, draws: AugmentDraws) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, N, N) pixel coordinates y and x at which each output pixel is read: shifted back, then rotated back."""
    half = (size_px - 1) / 2
    axis = torch.arange(size_px, device=draws.rotation_rad.device, dtype=torch.float32) - half
    x = axis[None, None, :] - draws.subpixel_x_px[:, None, None]
    y = axis[None, :, None] - draws.subpixel_y_px[:, None, None]
    cosine, sine = (f(draws.rotation_rad)[:, None, None] for f in (torch.cos, torch.sin))
    return cosine * y - sine * x + half, cosine * x + sine * y + half


def missing_noise(keys: torch.Tensor, *, wanted: torch.Tensor, present: torch.Tensor, size_px: int) -> torch.Tensor:
    """(B, bands, N, N) noise that takes (B, bands) sigmas from ``present`` to ``wanted``; 0 where one is unknown."""
    sigma = torch.sqrt(torch.nan_to_num(wanted**2 - present**2).clamp(min=0.0))
    return sigma[..., None, None] * coadd_noise(keys, n_bands=wanted.shape[1], size_px=size_px)


def coadd_noise(keys: torch.Tensor, *, n_bands: int, size_px: int) -> torch.Tensor:
    """(B, bands, N, N) noise of variance 1 and the lag-1 correlation of a coadd.

    White noise under a discrete Gaussian of variance t has the autocorrelation I_n(2t)/I_0(2t), which is t for n = 1
    and small t, and on each axis the variance exp(-2t) I_0(2t) (Lindeberg 1990).
    """
    white = normal_noise(keys, shape=(n_bands, size_px, size_px))
    t = torch.full((len(keys),), COADD_LAG1, device=keys.device)
    axis_variance = torch.special.i0e(2 * t)[:, None, None, None]
    return linear_blur(white, sigma_px=torch.sqrt(t)) / axis_variance


def seeing_and_depth(
    psf_fwhm_arcsec: torch.Tensor, psf_depth_mag: torch.Tensor, *, draws: AugmentDraws
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, bands) seeing and depth of the stamps after the draws, for a network that is told them.

    The noise of a point source's flux grows with the FWHM of its PSF: so the depth falls by 2.5 lg of the ratio.
    """
    blurred = torch.sqrt(psf_fwhm_arcsec**2 + draws.blur_fwhm_arcsec[:, None] ** 2)
    lost = draws.depth_loss_mag[:, None] + 2.5 * torch.log10(blurred / psf_fwhm_arcsec)
    return blurred, psf_depth_mag - lost
