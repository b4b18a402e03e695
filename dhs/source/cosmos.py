"""Builds a bank of real HST galaxies from a GalSim RealGalaxyCatalog (COSMOS, F814W).

Each picture is deconvolved from its own PSF and convolved with a round Gaussian. The Gaussian is at least
``intrinsic_psf_fwhm_arcsec`` wide, and at least so wide that no spatial frequency is amplified more than MAX_GAIN
times: with the seeds' 0.10 arcsec the frequencies near 5 cycles per arcsec gain 2.2 on ACS images, which is where
deconvolution artefacts come from; MAX_GAIN = 1.25 asks for about 0.13. The width used is stored per source.

The background is the catalogue's own local sky level (NOISE_MEAN), not one measured in the picture: the pictures of
these samples are cut at the galaxy's isophote, their rims are galaxy (0.5 sigma per pixel above the sky in the median
of the example), and subtracting them shrinks the half-light radii by a fifth.

Run: ``python inject.py task=bank source=cosmos source.build.catalog_dir=...``; GalSim is needed here and only here.
"""

import json
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

from dhs.config.source import CosmosSource
from dhs.rng import Purpose, keyed_rng
from dhs.source.bank import write_bank
from dhs.source.catalog import DOWNLOAD, RealCatalog, read_catalog
from dhs.source.clean import REASONS, CleanGalaxy, CleanLimits, Refused, clean_galaxy

if TYPE_CHECKING:
    import galsim

MAX_GAIN = 1.25
"""Largest amplification of a spatial frequency by deconvolution and convolution together."""
MIN_SOURCES = 10
"""Fewer acceptable galaxies than this make no bank."""
CATALOG_PIXEL_ARCSEC = 0.03
"""Drizzled COSMOS pixel (Koekemoer et al. 2007, ApJS 172, 196)."""
PICTURE_SIZE_BOXES = 2
"""Pictures are drawn at most this many stamps wide: a larger galaxy is truncated anyway."""
Accepted = tuple[int, float, CleanGalaxy]
"""Catalogue row, FWHM of the PSF in arcsec, template."""
FWHM_TO_SIGMA = 1 / (2 * np.sqrt(2 * np.log(2)))


@dataclass(frozen=True)
class BankSummary:
    """What `build_cosmos_bank` did."""

    path: Path
    n_sources: int
    n_asked: int
    n_tried: int
    rejected: dict[str, int]
    """Refused galaxies by reason, see `dhs.source.clean.REASONS`."""
    median_hlr_ratio: float
    """Measured over catalogue half-light radius; NaN without a table of fits."""
    scatter_hlr_ratio: float
    """Standard deviation of that ratio."""
    max_pedestal_fraction: float
    max_halo_fraction: float
    """Most light outside the galaxy's isophote: an upper bound to the background left in any source's rim."""

    def __str__(self) -> str:
        reasons = ", ".join(f"{name} {count}" for name, count in self.rejected.items() if count)
        short = "" if self.n_sources == self.n_asked else f" ({self.n_asked} asked: the catalogue is exhausted)"
        return (
            f"{self.path}: {self.n_sources} sources{short} of {self.n_tried} tried; refused: {reasons or 'none'}; "
            f"HLR / catalogue {self.median_hlr_ratio:.3f} +- {self.scatter_hlr_ratio:.3f}; "
            f"pedestal <= {self.max_pedestal_fraction:.2%}, light outside the isophote {self.max_halo_fraction:.2%}"
        )


def build_cosmos_bank(config: CosmosSource, *, progress: Callable[[int, int], None] | None = None) -> BankSummary:
    """Build ``config.bank`` from ``config.build``; ``progress(tried, accepted)`` is called after each galaxy.

    Galaxies are tried in an order that is a permutation keyed by ``build.seed``. An exhausted catalogue is no error
    while MIN_SOURCES galaxies are accepted; the summary says so.

    Raises:
        FileNotFoundError: the catalogue or a picture file is missing.
        ValueError: a damaged file, or too few acceptable galaxies.
    """
    build = config.build
    catalog = read_catalog(build.catalog_dir, name=build.catalog_file)
    with closing(Painter(catalog, config=config)) as painter:
        accepted, refused = _gather(painter, config=config, progress=progress)
    tried = len(accepted) + refused.total()
    counted = {reason: refused[reason] for reason in REASONS}
    if len(accepted) < min(MIN_SOURCES, build.n_sources):
        raise ValueError(
            f"{catalog.file}: only {len(accepted)} acceptable galaxies among {tried} ({counted}), "
            f"{MIN_SOURCES} needed; relax source.build (min_snr, half_light_radius_arcsec) or take a larger catalogue"
        )
    meta = _columns(catalog, accepted)
    images = np.stack([galaxy.image for _, _, galaxy in accepted])
    write_bank(config.bank, images=images, meta=meta, attributes=_attributes(config, catalog=catalog))
    ratio = meta["hlr_arcsec"] / meta["catalog_hlr_arcsec"]
    return BankSummary(
        path=config.bank,
        n_sources=len(accepted),
        n_asked=build.n_sources,
        n_tried=tried,
        rejected=counted,
        median_hlr_ratio=float(np.median(ratio)),
        scatter_hlr_ratio=float(np.std(ratio)),
        max_pedestal_fraction=float(meta["pedestal_fraction"].max()),
        max_halo_fraction=float(np.abs(meta["halo_fraction"]).max()),
    )


def _gather(
    painter: "Painter", *, config: CosmosSource, progress: Callable[[int, int], None] | None
) -> tuple[list[Accepted], Counter[str]]:
    """Clean galaxies in the keyed order until there are enough, and the refusals counted by reason."""
    build, limits = config.build, clean_limits(config)
    order = keyed_rng(build.seed, Purpose.BANK, 0, 0).permutation(len(painter.catalog.ident))[: build.max_tries]
    accepted: list[Accepted] = []
    refused: Counter[str] = Counter()
    for tried, row in enumerate(order, start=1):
        try:
            picture, fwhm = painter.picture(int(row))
            accepted.append((int(row), fwhm, painter.cleaned(int(row), picture=picture, limits=limits)))
        except Refused as refusal:
            refused[refusal.args[0]] += 1
        if progress is not None:
            progress(tried, len(accepted))
        if len(accepted) == build.n_sources:
            break
    return accepted, refused


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


class Painter:
    """Draws the galaxies of a catalogue with a round PSF on the templates' pixel scale."""

    def __init__(self, catalog: RealCatalog, *, config: CosmosSource) -> None:
        import galsim

        self.catalog = catalog
        self.scale = config.pixel_scale_arcsec
        self.max_size_px = PICTURE_SIZE_BOXES * config.stamp_size_px
        self.min_fwhm_arcsec = config.build.intrinsic_psf_fwhm_arcsec
        self._real = galsim.RealGalaxyCatalog(catalog.file.name, dir=str(catalog.file.parent))

    def close(self) -> None:
        """Close the catalogue's picture files."""
        self._real.close()

    def picture(self, row: int) -> tuple[np.ndarray, float]:
        """(y, x) flux per pixel of catalogue row ``row``, over the extent of its own picture, and the PSF's FWHM."""
        import galsim

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", AstropyUserWarning)  # "file may have been truncated" is only a warning
                fwhm = max(self.min_fwhm_arcsec, smallest_psf_fwhm_arcsec(self._real.getPSF(row)))
                height, width = self._real.getGalImage(row).array.shape
                galaxy = galsim.RealGalaxy(self._real, index=row, flux_rescale=1.0)
        except (OSError, IndexError, TypeError, ValueError, AstropyUserWarning, galsim.GalSimError) as error:
            raise ValueError(
                f"{self.catalog.file}: galaxy {self.catalog.ident[row]} cannot be read from "
                f"{self.catalog.gal_file[row]} and its PSF file ({error}); {DOWNLOAD}"
            ) from None
        zoom = CATALOG_PIXEL_ARCSEC / self.scale
        ny, nx = (min(round(n * zoom), self.max_size_px) for n in (height, width))
        drawn = galsim.Convolve(galaxy, galsim.Gaussian(fwhm=fwhm)).drawImage(nx=nx, ny=ny, scale=self.scale)
        return drawn.array, fwhm

    def cleaned(self, row: int, *, picture: np.ndarray, limits: CleanLimits) -> CleanGalaxy:
        """`clean_galaxy` with the sky and the noise of catalogue row ``row``."""
        per_pixel = (self.scale / CATALOG_PIXEL_ARCSEC) ** 2
        correlation = self._real.getNoiseProperties(row)[0].array
        power = self.catalog.noise_variance[row] * correlation.sum() / correlation.max()
        return clean_galaxy(
            picture,
            background=self.catalog.background[row] * per_pixel,
            sum_noise=float(np.sqrt(power * per_pixel)),
            limits=limits,
        )


def smallest_psf_fwhm_arcsec(psf: "galsim.GSObject") -> float:
    """FWHM of the narrowest Gaussian G with |G(f)| <= MAX_GAIN |P(f)| at every frequency f, P the PSF's transfer.

    ``G = exp(-2 pi^2 sigma^2 f^2)`` gives ``sigma^2 >= -ln(MAX_GAIN |P|) / (2 pi^2 f^2)``.
    """
    size = 64
    image = psf.drawImage(nx=size, ny=size, scale=CATALOG_PIXEL_ARCSEC, method="no_pixel").array
    transfer = np.abs(np.fft.rfft2(image)) / image.sum()
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]) / CATALOG_PIXEL_ARCSEC
    needed = -np.log(np.maximum(MAX_GAIN * transfer, 1e-6))[frequency > 0] / (
        2 * np.pi**2 * frequency[frequency > 0] ** 2
    )
    return float(np.sqrt(needed.max()) / FWHM_TO_SIGMA)


def _columns(catalog: RealCatalog, accepted: list[Accepted]) -> dict[str, np.ndarray]:
    """The bank's ``meta`` columns."""
    rows = np.array([row for row, _, _ in accepted], np.int64)
    measured = ("hlr_arcsec", "clumpiness", "snr", "pedestal_fraction", "halo_fraction", "support_radius_arcsec")
    columns: dict[str, np.ndarray] = {}
    columns |= {key: np.array([getattr(galaxy, key) for _, _, galaxy in accepted], np.float32) for key in measured}
    columns |= {key: getattr(catalog, key)[rows].astype(np.float32) for key in ("mag_auto", "zphot", "sersic_index")}
    columns["index"] = rows
    columns["ident"] = catalog.ident[rows]
    columns["catalog_hlr_arcsec"] = catalog.hlr_arcsec[rows].astype(np.float32)
    columns["axis_ratio"] = catalog.axis_ratio[rows].astype(np.float32)
    columns["psf_fwhm_arcsec"] = np.array([fwhm for _, fwhm, _ in accepted], np.float32)
    return columns


def _attributes(config: CosmosSource, *, catalog: RealCatalog) -> dict[str, str | int | float]:
    """The bank's file attributes."""
    import galsim

    build = config.build.model_dump(mode="json", exclude={"catalog_dir"})
    return {
        "src_pixscale_arcsec": config.pixel_scale_arcsec,
        "stamp_size": config.stamp_size_px,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "galaxy_kind": "real",
        "build": json.dumps(build),
        "catalog": catalog.file.name,
        "catalog_checksum": catalog.checksum,
        "galsim_version": galsim.__version__,
    }
