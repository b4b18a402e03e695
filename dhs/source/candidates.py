"""One catalogue row after another: read, drawn with a round PSF, cleaned; a part of the catalogue is a list of rows.

The background is the catalogue's own local sky level (NOISE_MEAN), not one measured in the picture: the pictures of
these samples are cut at the galaxy's isophote, their rims are galaxy (0.5 sigma per pixel above the sky in the median
of the example), and subtracting them shrinks the half-light radii by a fifth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dhs.config.source import CosmosSource
from dhs.rng import Purpose, keyed_rng
from dhs.source.catalog import DOWNLOAD, RealCatalog
from dhs.source.clean import REASONS, CleanGalaxy, CleanLimits, Refused, clean_galaxy
from dhs.source.painter import draw, draw_whitened
from dhs.source.pictures import DamagedPicture, OpenPictures

PICTURE_SIZE_BOXES = 2
"""Pictures are drawn at most this many stamps wide: a larger galaxy is truncated anyway."""
MEASURED: tuple[str, ...] = (
    "hlr_arcsec",
    "clumpiness",
    "snr",
    "pedestal_fraction",
    "halo_fraction",
    "support_radius_arcsec",
)
"""Columns measured on a template, see `dhs.source.clean.CleanGalaxy`."""
ACCEPTED = -1


class BadCatalog(ValueError):
    """The catalogue's files are damaged, or it has too few acceptable galaxies."""


@dataclass(frozen=True)
class Part:
    """R tried rows of the catalogue, A of them accepted, in the order given."""

    rows: np.ndarray
    """(R,) int64."""
    verdict: np.ndarray
    """(R,) int8: ACCEPTED, or the index in `dhs.source.clean.REASONS` of the reason for refusing."""
    images: np.ndarray
    """(A, S, S) float32 templates."""
    columns: dict[str, np.ndarray]
    """(A,) float32: MEASURED, and ``psf_fwhm_arcsec``."""


def clean_limits(config: CosmosSource) -> CleanLimits:
    """Acceptance of `dhs.source.clean.clean_galaxy` from the configuration."""
    build = config.build
    return CleanLimits(
        stamp_size_px=config.stamp_size_px,
        pixel_scale_arcsec=config.pixel_scale_arcsec,
        denoise_sigma_px=build.denoise_sigma_px,
        min_snr=build.min_snr,
        hlr_low_arcsec=build.half_light_radius_arcsec.low,
        hlr_high_arcsec=build.half_light_radius_arcsec.high,
        max_pedestal_fraction=build.max_pedestal_fraction,
    )


@dataclass(frozen=True)
class Picture:
    """A galaxy as it goes into `clean_galaxy`."""

    picture: np.ndarray
    """(y, x) flux per template pixel, sky included."""
    background: float
    sum_noise: float
    psf_fwhm_arcsec: float


class Candidates:
    """Draws and cleans rows of a catalogue; rows of one file should follow each other (see `OpenPictures`)."""

    def __init__(self, catalog: RealCatalog, *, config: CosmosSource) -> None:
        self.catalog, self.config = catalog, config
        self._limits = clean_limits(config)
        self._galaxies, self._psfs = OpenPictures(catalog.file.parent), OpenPictures(catalog.file.parent)

    def close(self) -> None:
        """Close the picture files."""
        self._galaxies.close()
        self._psfs.close()

    def part(self, rows: Sequence[int] | np.ndarray) -> Part:
        """All of ``rows``; BadCatalog where one cannot be read."""
        verdict = np.full(len(rows), ACCEPTED, np.int8)
        kept: list[tuple[float, CleanGalaxy]] = []
        for position, row in enumerate(rows):
            try:
                kept.append(self.cleaned(int(row)))
            except Refused as refusal:
                verdict[position] = REASONS.index(refusal.args[0])
        size = self.config.stamp_size_px
        columns = {name: np.array([getattr(each, name) for _, each in kept], np.float32) for name in MEASURED}
        columns["psf_fwhm_arcsec"] = np.array([fwhm for fwhm, _ in kept], np.float32)
        images = np.array([each.image for _, each in kept], np.float32).reshape(len(kept), size, size)
        return Part(np.asarray(rows, np.int64), verdict, images, columns)

    def cleaned(self, row: int) -> tuple[float, CleanGalaxy]:
        """FWHM of the PSF (arcsec) and the template of a row; Refused, BadCatalog."""
        seen = self.picture(row)
        galaxy = clean_galaxy(seen.picture, background=seen.background, sum_noise=seen.sum_noise, limits=self._limits)
        return seen.psf_fwhm_arcsec, galaxy

    def picture(self, row: int) -> Picture:
        """A row's galaxy with a round PSF on the templates' pixel scale; BadCatalog."""
        catalog, config = self.catalog, self.config
        picture, psf = self.read(row)
        pixels = (config.pixel_scale_arcsec / catalog.pixel_scale_arcsec[row]) ** 2
        scales = {
            "input_scale_arcsec": float(catalog.pixel_scale_arcsec[row]),
            "scale_arcsec": config.pixel_scale_arcsec,
            "min_fwhm_arcsec": config.build.intrinsic_psf_fwhm_arcsec,
        }
        size = PICTURE_SIZE_BOXES * config.stamp_size_px
        if config.build.whiten:
            drawn, variance = draw_whitened(
                picture,
                psf,
                correlation=catalog.correlation[str(catalog.noise_file[row])],
                noise_variance=float(catalog.noise_variance[row]),
                seed=int(keyed_rng(config.build.seed, Purpose.BANK, 1, row).integers(1, 2**31)),
                max_size_px=size,
                **scales,
            )
            sum_noise = float(np.sqrt(variance))
        else:
            drawn = draw(picture, psf, max_size_px=size, **scales)
            sum_noise = catalog.sum_noise(row) * float(np.sqrt(pixels))
        return Picture(drawn.picture, float(catalog.background[row] * pixels), sum_noise, drawn.psf_fwhm_arcsec)

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """(y, x) pictures of a row's galaxy and PSF; BadCatalog."""
        catalog = self.catalog
        wanted = (
            (self._galaxies, str(catalog.gal_file[row]), int(catalog.gal_hdu[row])),
            (self._psfs, str(catalog.psf_file[row]), int(catalog.psf_hdu[row])),
        )
        found = []
        for files, name, hdu in wanted:
            try:
                found.append(files.read(name, hdu=hdu))
            except (DamagedPicture, OSError) as error:
                path = catalog.file.parent / name
                raise BadCatalog(
                    f"{path}: galaxy {catalog.ident[row]} cannot be read from it ({error}); {DOWNLOAD}"
                ) from None
        if found[1].sum() <= 0:
            name, hdu = wanted[1][1:]
            raise BadCatalog(
                f"{catalog.file.parent / name}: the PSF of galaxy {catalog.ident[row]} (HDU {hdu}) is empty; {DOWNLOAD}"
            )
        return found[0], found[1]
