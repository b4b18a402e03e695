"""The PSF of every stamp, from `psf=`: analytic kernels of the galaxy's own seeing, or the survey's own PSF images.

`moffat` and `gaussian` take each band's FWHM from the recipe, and its ellipticity where `psf.ellipticity_sigma` is
above 0. `survey` takes the coadd PSF image of each object and band (`CutoutSet.psf_images`); it is an effective PSF.
"""

from dataclasses import replace

import numpy as np
import torch

from dhs.config.injection import GaussianPsf, MoffatPsf, PsfConfig, SurveyPsf
from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.inject.recipe import RecipeBatch
from dhs.lens.convolve import Convolution
from dhs.lens.psf import RINGING_PX, convolution_size, gaussian_kernel, moffat_kernel
from dhs.lens.radial_spectra import RadialSpectra
from dhs.rng import Purpose, keyed_rng
from dhs.sky.cutouts import CutoutSet

MAX_ELLIPTICITY = 0.5
"""Per component: a draw beyond it is cut to it."""
MAX_CENTRE_OFFSET_PX = 0.5
"""A PSF image centred worse than this is not centred: arcs would move by as much."""
FLUX_RANGE = (0.9, 1.05)
"""Of a PSF image's sum; what is missing lies outside the image."""


class PsfModel:
    """Kernels, spectra and convolution for recipes."""

    def __init__(self, psf: PsfConfig, *, size_px: int, images: np.ndarray | None = None) -> None:
        self.psf, self.size_px = psf, size_px
        self.effective = psf.convention == "effective"
        self._images = _checked_images(images) if isinstance(psf, SurveyPsf) else None
        self._convolution: Convolution | None = None

    def kernels(self, recipes: RecipeBatch) -> torch.Tensor:
        """(B, bands, K, K) float32 flux per pixel, K odd, centre at (K-1)/2."""
        if self._images is not None:
            return torch.from_numpy(np.asarray(self._images[recipes.row], np.float32))
        fwhm = torch.from_numpy(np.asarray(recipes.psf_fwhm_arcsec, np.float32))
        elliptical = bool(np.any(recipes.psf_e1) or np.any(recipes.psf_e2))
        return self.profile(
            fwhm,
            e1=torch.from_numpy(np.asarray(recipes.psf_e1, np.float32)) if elliptical else None,
            e2=torch.from_numpy(np.asarray(recipes.psf_e2, np.float32)) if elliptical else None,
        )

    def profile(
        self, fwhm_arcsec: torch.Tensor, *, e1: torch.Tensor | None = None, e2: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(..., K, K) kernels of the configured profile, on the device of ``fwhm_arcsec``."""
        psf = self.psf
        assert isinstance(psf, MoffatPsf | GaussianPsf)
        if isinstance(psf, MoffatPsf):
            return moffat_kernel(
                fwhm_arcsec,
                beta=psf.beta,
                size_px=psf.kernel_size_px,
                pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
                e1=e1,
                e2=e2,
            )
        return gaussian_kernel(
            fwhm_arcsec, size_px=psf.kernel_size_px, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC, e1=e1, e2=e2
        )

    def convolve(self, traced: torch.Tensor, recipes: RecipeBatch, *, chunk_size: int = 16) -> torch.Tensor:
        """(B, C, N, N) arcs before the PSF -> (B, bands, N, N), on the CPU, ``chunk_size`` at a time.

        Round kernels come from a table, others are transformed one by one: each stamp as its own kernels are.
        """
        if self._convolution is None:
            self._convolution = Convolution(
                size_px=self.size_px,
                kernel_size_px=self.kernel_size_px,
                effective=self.effective,
                chunk_size=chunk_size,
            )
        is_round = self.are_round(recipes)
        if is_round.all():
            return self._convolution.with_round(traced, kernel_of=self.profile, fwhm_arcsec=recipes.psf_fwhm_arcsec)
        rows, others = np.flatnonzero(is_round), recipes.take(~is_round)
        out = torch.empty(len(recipes), len(BANDS), *traced.shape[2:])
        out[rows] = self._convolution.with_round(
            traced[rows], kernel_of=self.profile, fwhm_arcsec=recipes.psf_fwhm_arcsec[rows]
        )
        out[~is_round] = self._convolution.with_any(
            traced[~is_round], kernels_of=lambda part: self.kernels(others.take(part)), n_bands=len(BANDS)
        )
        return out

    @property
    def kernel_size_px(self) -> int:
        """Pixels along a kernel's side, odd."""
        if self._images is not None:
            return int(self._images.shape[-1])
        assert isinstance(self.psf, MoffatPsf | GaussianPsf)
        return self.psf.kernel_size_px

    def table(self) -> RadialSpectra | None:
        """Of the profile, for light anywhere in the stamp; None for `psf=survey`."""
        if self._images is not None:
            return None
        length = convolution_size(
            self.size_px, kernel_size_px=self.kernel_size_px + (2 * RINGING_PX if self.effective else 0)
        )
        return RadialSpectra(self.profile, size_px=self.size_px, effective=self.effective, length=length)

    def are_round(self, recipes: RecipeBatch) -> np.ndarray:
        """(B,) bool: every band's kernel is a round profile."""
        if self._images is not None:
            return np.zeros(len(recipes), dtype=bool)
        return ((recipes.psf_e1 == 0) & (recipes.psf_e2 == 0)).all(axis=1)


def with_psf_ellipticity(cutouts: CutoutSet, *, psf: PsfConfig) -> CutoutSet:
    """``cutouts`` with the PSF ellipticities that `psf.ellipticity_sigma` asks for.

    Drawn from the galaxy's id: a property of the sky, the same in every epoch, run and seed.
    """
    if isinstance(psf, SurveyPsf) or psf.ellipticity_sigma == 0:
        return cutouts
    draws = [keyed_rng(0, Purpose.PSF, 0, int(target)).standard_normal((2, len(BANDS))) for target in cutouts.target_id]
    drawn = np.clip(psf.ellipticity_sigma * np.array(draws), -MAX_ELLIPTICITY, MAX_ELLIPTICITY).astype(np.float32)
    return replace(cutouts, psf_e1=drawn[:, 0], psf_e2=drawn[:, 1])


def _checked_images(images: np.ndarray | None) -> np.ndarray:
    """``images`` (N, bands, K, K), if every one of them is a centred PSF.

    Raises:
        ValueError: there are none, K is even, or one is not finite, of the wrong flux or off centre.
    """
    if images is None:
        raise ValueError(
            "psf = survey: this sky has no PSF images; use psf=moffat, or cutout files that all hold an array `psf`"
        )
    if images.shape[-1] % 2 == 0 or images.shape[-1] != images.shape[-2]:
        raise ValueError(f"psf = survey: PSF images of {images.shape[-2:]} px: must be square with an odd side")
    axis = np.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    for row, band in np.ndindex(*images.shape[:2]):
        image = np.asarray(images[row, band], np.float64)
        flux = image.sum()
        where = f"psf = survey: galaxy {row}, band {BANDS[band]}"
        if not np.isfinite(flux) or not FLUX_RANGE[0] <= flux <= FLUX_RANGE[1]:
            raise ValueError(f"{where}: the PSF image sums to {flux:.3g}: must be within {FLUX_RANGE}, and finite")
        core = np.where(image > image.max() / 20, image, 0)
        offset = np.hypot(core.sum(axis=0) @ axis, core.sum(axis=1) @ axis) / core.sum()
        if offset > MAX_CENTRE_OFFSET_PX:
            raise ValueError(
                f"{where}: the PSF image is {offset:.2f} px off its centre (K-1)/2: arcs would move by as much; "
                f"recentre it (allowed {MAX_CENTRE_OFFSET_PX} px)"
            )
    return images
