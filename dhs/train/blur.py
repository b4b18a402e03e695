"""Gaussian blur of stamps of any small width: one matrix a side, batched, on any device.

The kernel is the discrete Gaussian of Lindeberg (1990, IEEE PAMI 12, 234), ``exp(-t) I_n(t)``: positive, of sum 1 and
of variance exactly ``t`` for every t, where a sampled Gaussian narrower than a pixel is too narrow. It is the
exponential of the discrete Laplacian, which the cosines of the DCT-II diagonalise: so stamps are mirrored at their
edges.
"""

import functools

import numpy as np
import torch


def gaussian_blur(planes: torch.Tensor, *, sigma_px: torch.Tensor, good: torch.Tensor) -> torch.Tensor:
    """(B, C, N, N) planes, those of stamp b blurred by ``sigma_px[b]``; a good pixel sees good pixels only.

    (Normalised convolution, Knutsson & Westin 1993.) Masked pixels take the mean of what is near, 0 where nothing is.
    """
    weight = good.to(planes.dtype)
    smooth = linear_blur(torch.where(good, planes, 0.0), sigma_px=sigma_px)
    seen = linear_blur(weight, sigma_px=sigma_px)
    return torch.where(seen > 1e-4, smooth / seen.clamp(min=1e-4), 0.0)


def linear_blur(planes: torch.Tensor, *, sigma_px: torch.Tensor) -> torch.Tensor:
    """(B, C, N, N) planes, those of stamp b blurred by ``sigma_px[b]``, mirrored at the edges."""
    matrix = blur_matrices(sigma_px, size_px=planes.shape[-1])[:, None]
    return matrix @ planes @ matrix.transpose(-1, -2)


def blur_matrices(sigma_px: torch.Tensor, *, size_px: int) -> torch.Tensor:
    """(B, N, N) matrices that blur one axis by (B,) ``sigma_px``."""
    basis, frequency = _cosines(size_px, str(sigma_px.device))
    damping = torch.exp(-(sigma_px[:, None] ** 2) * frequency)
    return (basis * damping[:, None, :]) @ basis.T


@functools.cache
def _cosines(size_px: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthonormal DCT-II basis (pixel, mode) and the eigenvalue 1 - cos(pi k / N) of each mode."""
    mode = np.arange(size_px)
    basis = np.cos(np.pi * np.outer(mode + 0.5, mode) / size_px) * np.sqrt(2 / size_px)
    basis[:, 0] = np.sqrt(1 / size_px)
    frequency = 1 - np.cos(np.pi * mode / size_px)
    return tuple(torch.from_numpy(a.astype(np.float32)).to(device) for a in (basis, frequency))  # type: ignore[return-value]
