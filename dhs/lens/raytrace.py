"""Ray tracing of pixelised sources: survey pixels -> source plane -> bilinear template -> flux per pixel.

Rays are uniform sub-pixel centres, averaged. Two ways to the same image: `trace_arcs` on the CPU runs the compiled,
culled pass of `dhs.lens.fused`; `trace_dense` is plain torch on any device, every ray of every pixel, static shapes,
made for `torch.compile` on a GPU and the check of the other.
"""

from typing import NamedTuple

import torch

from dhs.lens.fused import trace_culled
from dhs.lens.sie import LensParameters, source_plane

ADAPTIVE_LADDER = (2, 4, 8, 16)
"""Rays a side of a pixel; every pixel in reach gets the first two."""


class SourcePlacement(NamedTuple):
    """Where B templates lie in the source plane, in the frame's coordinates."""

    x_arcsec: torch.Tensor
    y_arcsec: torch.Tensor
    rotation_rad: torch.Tensor
    """Counter-clockwise."""
    support_radius_arcsec: torch.Tensor
    """No light beyond this radius (before bilinear spreading by one template pixel)."""


def trace_arcs(
    stack: torch.Tensor,
    *,
    row: torch.Tensor,
    lens: LensParameters,
    placement: SourcePlacement,
    template_pixel_scale_arcsec: float,
    size_px: int,
    pixel_scale_arcsec: float,
    supersampling: int | None,
    max_error: float | None = None,
) -> torch.Tensor:
    """Lensed images of unit-flux sources, before the PSF: (B, C, size, size) float32 on the CPU, flux per pixel.

    ``supersampling`` rays a side of each pixel, or None: as many as ``max_error`` (of each image's peak) needs.

    The sum of an image is its magnification: lensed flux is never renormalised. ``lens`` and ``placement`` hold (B,)
    tensors; ``stack`` (K, C, S, S) is read in place at ``row`` (B,). One ray trace serves all channels.
    """
    assert supersampling is not None or max_error is not None
    images = trace_culled(
        stack.numpy(),
        row=row.numpy(),
        lens=torch.stack(list(lens)).numpy(),
        placement=torch.stack(list(placement)).numpy(),
        template_scale_arcsec=template_pixel_scale_arcsec,
        size_px=size_px,
        pixel_scale_arcsec=pixel_scale_arcsec,
        ladder=ADAPTIVE_LADDER if supersampling is None else (supersampling,),
        max_error=max_error or 0.0,
    )
    return torch.from_numpy(images)


def trace_dense(
    templates: torch.Tensor,
    *,
    lens: LensParameters,
    placement: SourcePlacement,
    template_pixel_scale_arcsec: float,
    size_px: int,
    pixel_scale_arcsec: float,
    supersampling: int,
) -> torch.Tensor:
    """As `trace_arcs`, from (B, C, S, S) ``templates``, every ray, on the device and in the dtype of the tensors."""
    batch, channels, template_size = templates.shape[0], templates.shape[1], templates.shape[-1]
    fine = size_px * supersampling
    axis = (torch.arange(fine, device=templates.device, dtype=templates.dtype) - (fine - 1) / 2) * (
        pixel_scale_arcsec / supersampling
    )
    column = LensParameters(*(value[:, None, None] for value in lens))
    beta_x, beta_y = source_plane(axis[None, None, :], axis[None, :, None], lens=column)
    beta_x = beta_x - placement.x_arcsec[:, None, None]
    beta_y = beta_y - placement.y_arcsec[:, None, None]
    cos, sin = (f(placement.rotation_rad)[:, None, None] for f in (torch.cos, torch.sin))
    to_grid = 2 / (template_size * template_pixel_scale_arcsec)
    grid = torch.stack([(cos * beta_x + sin * beta_y) * to_grid, (cos * beta_y - sin * beta_x) * to_grid], dim=-1)
    values = torch.nn.functional.grid_sample(templates, grid, padding_mode="zeros", align_corners=False)
    blocks = values.reshape(batch, channels, size_px, supersampling, size_px, supersampling)
    return blocks.mean(dim=(3, 5)) * (pixel_scale_arcsec / template_pixel_scale_arcsec) ** 2
