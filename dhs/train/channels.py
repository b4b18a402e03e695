"""What a network can be shown beside the bands: colour differences and what is left when the galaxy is taken away."""

import torch

from dhs.config.network_input import PreprocessConfig
from dhs.constants import BANDS
from dhs.train.blur import gaussian_blur
from dhs.train.masked import masked_median, radii_px, ring_level, rings

MIN_FIT_PIXELS = 8
"""Pixels of the galaxy that a fit of its colour needs."""
FIT_MIN_SIGMA = 3.0
"""A pixel counts as the galaxy's light from this many sigmas of the red band's sky on."""
MAX_K = 2.0
"""No galaxy is bluer: a flux ratio of 2 is a colour of -0.75 mag."""


def difference(
    images: torch.Tensor, *, good: torch.Tensor, blue: str, red: str, config: PreprocessConfig
) -> torch.Tensor:
    """(B, N, N) nMgy: ``blue - k red`` of (B, bands, N, N) images, k fixed or each galaxy's own."""
    i, j = BANDS.index(blue), BANDS.index(red)
    if not config.difference_fit:
        return images[:, i] - config.difference_k * images[:, j]
    k = fitted_k(images[:, i], images[:, j], good=good[:, i] & good[:, j], config=config)
    return images[:, i] - k[:, None, None] * images[:, j]


def fitted_k(blue: torch.Tensor, red: torch.Tensor, *, good: torch.Tensor, config: PreprocessConfig) -> torch.Tensor:
    """(B,) flux ratio of each galaxy's light from (B, N, N) planes in nMgy, between 0 and MAX_K.

    The line through the origin of least absolute deviations, ``argmin_k sum |blue - k red|``, over the pixels of the
    central aperture that stand out of the red sky: the median of blue/red, weighted by the red flux. An arc, blue and
    with less than half of the aperture's red light, does not move it far. ``difference_k`` where fewer than
    MIN_FIT_PIXELS stand out.
    """
    sky_blue = ring_level(blue, good=good, inner_fraction=config.annulus_inner_fraction)
    sky_red = ring_level(red, good=good, inner_fraction=config.annulus_inner_fraction)
    size = red.shape[-1]
    inside = radii_px(size, red.device) <= config.difference_fit_radius_fraction * size / 2
    light = (red - sky_red.centre[:, None, None])[:, inside]
    bright = good[:, inside] & (light > FIT_MIN_SIGMA * sky_red.sigma[:, None])  # False where the sky is unknown
    ratio = (blue - sky_blue.centre[:, None, None])[:, inside] / light
    usable = bright & torch.isfinite(ratio)
    k = weighted_median(ratio, weights=torch.where(usable, light, 0.0))
    return torch.where(usable.sum(dim=1) >= MIN_FIT_PIXELS, k, config.difference_k).clamp(0.0, MAX_K)


def weighted_median(values: torch.Tensor, *, weights: torch.Tensor) -> torch.Tensor:
    """(B,) lower weighted median of (B, n) ``values``; those of weight 0 may be anything. 0 where no weight is."""
    sorted_values, order = torch.where(weights > 0, values, torch.inf).sort(dim=1)
    cumulative = weights.gather(1, order).cumsum(dim=1)
    half = 0.5 * cumulative[:, -1:]
    first = (cumulative >= half).to(torch.uint8).argmax(dim=1, keepdim=True)
    return torch.where(half > 0, sorted_values.gather(1, first), 0.0).squeeze(1)


def residual(planes: torch.Tensor, *, good: torch.Tensor, config: PreprocessConfig) -> torch.Tensor:
    """(B, N, N) normalised planes less the galaxy's light as ``config.residual`` estimates it."""
    if config.residual == "azimuthal_mean":
        return subtract_azimuthal_mean(planes)
    if config.residual == "azimuthal_median":
        smooth = azimuthal_median(planes, good=good)
    else:
        sigma = torch.full((len(planes),), config.residual_blur_px, device=planes.device)
        smooth = gaussian_blur(planes[:, None], sigma_px=sigma, good=good[:, None])[:, 0]
    return torch.where(good, planes - smooth, 0.0)


def subtract_azimuthal_mean(planes: torch.Tensor) -> torch.Tensor:
    """(B, N, N) planes less their mean in rings one pixel wide about (n-1)/2."""
    ring = rings(planes.shape[-1], planes.device)
    sums = torch.zeros(len(planes), len(ring.counts), device=planes.device).index_add_(
        1, ring.of_pixel, planes.flatten(-2)
    )
    return planes - (sums / ring.counts)[:, ring.of_pixel].reshape(planes.shape)


def azimuthal_median(planes: torch.Tensor, *, good: torch.Tensor) -> torch.Tensor:
    """(B, N, N): the median of the good pixels in rings one pixel wide, interpolated linearly in radius.

    An arc that covers less than half of its ring leaves no trace in it, where it darkens the mean.
    A ring without good pixels takes the value 0, the sky.
    """
    size = planes.shape[-1]
    ring = rings(size, planes.device)
    valid = good.flatten(-2)[:, ring.members] & ring.is_member
    profile = torch.nan_to_num(masked_median(planes.flatten(-2)[:, ring.members], valid=valid), nan=0.0)
    radius = radii_px(size, planes.device).flatten()
    upper = torch.searchsorted(ring.mean_radius_px, radius).clamp(1, len(ring.counts) - 1)
    below, above = ring.mean_radius_px[upper - 1], ring.mean_radius_px[upper]
    fraction = ((radius - below) / (above - below)).clamp(0.0, 1.0)
    values = profile[:, upper - 1] * (1 - fraction) + profile[:, upper] * fraction
    return values.reshape(planes.shape)
