"""Builds a bank from a user's own galaxy stamps (JWST, CANDELS, HSC-UD ...), in one band or one image a band.

Each stamp is freed of its sky, resampled to the templates' pixel scale with its flux conserved, and cleaned as a COSMOS
galaxy is (`dhs.source.clean`). Sky and noise are measured on the stamp's border unless the file or the configuration
gives them, so the border must be sky. In several bands the footprint and the centroid are those of the inverse-variance
weighted sum of the channels, every band is cut alike, and normalised by itself: colours belong to the injected
magnitudes, colour *gradients* to the template. The PSF of the stamps is recorded, not removed.

Run: ``python inject.py task=bank source=stamps source.bank=mine.h5 'source.files=[stamps/*.fits]'``.
"""

import glob
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from dhs.config.source import StampsSource, ZeroPoints
from dhs.constants import BANDS, MAD_TO_SIGMA
from dhs.source.bank import write_bank
from dhs.source.bank_read import support_radius_px
from dhs.source.clean import REASONS, CleanGalaxy, CleanLimits, Refused, clean_and_cut, cut_alike
from dhs.source.stamp_files import StampFile, channel_numbers, fault, pixel_scale_of, read_stamp_file
from dhs.source.unpacked import checksum_of

FAINT_IN_A_BAND = "faint_in_a_band"
NOT_FINITE = "not_finite"
STAMP_REASONS: tuple[str, ...] = (*REASONS, FAINT_IN_A_BAND, NOT_FINITE)
"""Why a stamp can be refused."""
BORDER_FRACTION = 0.1
"""Width of the border on which sky and noise are measured, over the stamp's smaller side."""
MIN_BORDER_PX = 3
MIN_SIZE_PX = 16
NOISE_BLOCK_PX = 4
"""The noise of sums over blocks this wide tells pixel correlation."""
CLIP_SIGMA = 3.0
CLIP_ROUNDS = 5


class Sky(NamedTuple):
    """Level and noise of one channel."""

    background: float
    """Per pixel."""
    sum_noise: float
    """A sum over N pixels has the noise ``sum_noise * sqrt(N)``, pixel correlation included."""


@dataclass(frozen=True)
class StampTemplate:
    """A cleaned stamp."""

    images: np.ndarray
    """(C, S, S) float32, unit flux per channel."""
    clean: CleanGalaxy
    """Of the detection image."""
    flux: np.ndarray
    """(C,) in the footprint, in the units of the file."""
    support_radius_arcsec: float
    name: str
    psf_fwhm_arcsec: float
    zphot: float


@dataclass(frozen=True)
class StampsSummary:
    """What `build_stamps_bank` did."""

    path: Path
    n_sources: int
    n_tried: int
    rejected: dict[str, int]
    """Refused stamps by reason, see STAMP_REASONS."""
    scales: tuple[str, ...]
    """Pixel scales met and where each is from."""
    median_hlr_arcsec: float
    median_snr: float

    def __str__(self) -> str:
        reasons = ", ".join(f"{name} {count}" for name, count in self.rejected.items() if count)
        return (
            f"{self.path}: {self.n_sources} sources of {self.n_tried} stamps; refused: {reasons or 'none'}; "
            f"pixel scale {'; '.join(self.scales)}; median HLR {self.median_hlr_arcsec:.2f} arcsec, "
            f"S/N {self.median_snr:.0f}"
        )


def build_stamps_bank(config: StampsSource, *, progress: Callable[[int, int], None] | None = None) -> StampsSummary:
    """Build ``config.bank`` from ``config.files``; ``progress(done, total)`` is called after each stamp.

    The total is an estimate until the last file is open: the files read so far tell how many stamps a file holds.

    Raises:
        FileNotFoundError: a file or pattern that names none.
        ValueError: an unreadable file, no pixel scale, a missing channel, NaN, or no acceptable galaxy.
    """
    paths = stamp_paths(config.files)
    kept: list[StampTemplate] = []
    refused: Counter[str] = Counter()
    scales: dict[str, None] = {}
    done = 0
    for number, path in enumerate(paths):
        file = read_stamp_file(path, config=config)
        scale, origin = pixel_scale_of(file, configured=config.input_pixel_scale_arcsec)
        scales[f"{scale:.4g} arcsec from {origin}"] = None
        for row in range(len(file.images)):
            try:
                kept.append(template_of(file, row, scale_arcsec=scale, config=config))
            except Refused as refusal:
                refused[refusal.args[0]] += 1
            done += 1
            if progress is not None:
                progress(done, round(done * len(paths) / (number + (row + 1) / len(file.images))))
    counted = {reason: refused[reason] for reason in STAMP_REASONS}
    if not kept:
        told = ", ".join(f"{name} {count}" for name, count in counted.items() if count)
        raise ValueError(
            f"source.files: no acceptable galaxy among {refused.total()} stamps ({told}); see docs/data.md"
        )
    images = np.stack([template.images for template in kept])
    meta = _columns(kept, config=config)
    stack = images if config.bands else images[:, 0]
    write_bank(config.bank_file, images=stack, meta=meta, attributes=_attributes(config, paths=paths))
    return StampsSummary(
        path=config.bank_file,
        n_sources=len(kept),
        n_tried=len(kept) + refused.total(),
        rejected=counted,
        scales=tuple(scales),
        median_hlr_arcsec=float(np.median(meta["hlr_arcsec"])),
        median_snr=float(np.median(meta["snr"])),
    )


def stamp_paths(patterns: tuple[str, ...]) -> list[Path]:
    """Files of ``patterns``, each pattern's in alphabetical order, none twice."""
    paths: dict[Path, None] = {}
    for pattern in patterns:
        found = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        if not found or not Path(found[0]).is_file():
            raise FileNotFoundError(f"source.files: {pattern}: no such file; give FITS or NPZ files of stamps")
        paths |= {Path(name): None for name in found}
    return list(paths)


def template_of(file: StampFile, row: int, *, scale_arcsec: float, config: StampsSource) -> StampTemplate:
    """The cleaned template of stamp ``row``.

    Raises:
        Refused: with one of STAMP_REASONS.
        ValueError: NaN (unless ``on_nan=reject``), a stamp without noise, a stamp too small to have a border.
    """
    name = f"{file.path.name}[{file.ids[row]}]"
    channels = channel_numbers(file, config.bands) if config.bands else [0]
    pictures, skies = [], []
    for channel in channels:
        picture = np.asarray(file.images[row, channel], np.float64)
        _check_picture(picture, file=file, name=name, config=config)
        sky = sky_of(picture, file=file, row=row, channel=channel, config=config)
        pictures.append(resampled(picture - sky.background, scale_in=scale_arcsec, scale_out=config.pixel_scale_arcsec))
        skies.append(sky.sum_noise * config.pixel_scale_arcsec / scale_arcsec)
    noise = np.array(skies)
    clean, images, flux = _cleaned(pictures, noise, limits=clean_limits(config))
    return StampTemplate(
        images=images,
        clean=clean,
        flux=flux,
        support_radius_arcsec=float(support_radius_px(images[None])[0]) * config.pixel_scale_arcsec,
        name=name,
        psf_fwhm_arcsec=_either(config.psf_fwhm_arcsec, file.psf_fwhm_arcsec, row),
        zphot=_either(None, file.zphot, row),
    )


def clean_limits(config: StampsSource) -> CleanLimits:
    """Acceptance of `dhs.source.clean.clean_galaxy` from the configuration."""
    return CleanLimits(
        stamp_size_px=config.stamp_size_px,
        pixel_scale_arcsec=config.pixel_scale_arcsec,
        denoise_sigma_px=config.denoise_sigma_px,
        min_snr=config.min_snr,
        hlr_low_arcsec=config.half_light_radius_arcsec.low,
        hlr_high_arcsec=config.half_light_radius_arcsec.high,
        max_pedestal_fraction=config.max_pedestal_fraction,
    )


def resampled(picture: np.ndarray, *, scale_in: float, scale_out: float) -> np.ndarray:
    """Sky-subtracted (y, x) flux per pixel on pixels of ``scale_out``, same centre; flux and position are kept.

    Cubic splines, scaled by the pixel area; to larger pixels as the mean over the finer points that fill each.
    """
    if np.isclose(scale_in, scale_out, rtol=1e-6):
        return picture
    zoom = scale_out / scale_in
    fine = max(1, int(np.ceil(zoom)))
    sizes = [max(1, int(n / zoom)) for n in picture.shape]
    axes = [
        ((np.arange(m * fine) + 0.5) / fine - m / 2) * zoom + (n - 1) / 2
        for n, m in zip(picture.shape, sizes, strict=True)
    ]
    # constant: beyond the picture lies sky, which has been subtracted
    points = ndimage.map_coordinates(picture, np.meshgrid(*axes, indexing="ij"), order=3, mode="constant")
    return points.reshape(sizes[0], fine, sizes[1], fine).mean(axis=(1, 3)) * zoom**2


def sky_of(picture: np.ndarray, *, file: StampFile, row: int, channel: int, config: StampsSource) -> Sky:
    """Sky of a stamp's channel: as the configuration says, or the file, or its border.

    Raises:
        ValueError: no noise (a simulated or zero-padded stamp), or both configuration and file give a value.
    """
    measured = border_sky(picture)
    background = _given("background", config.background, file.background, file=file, row=row, channel=channel)
    sigma = _given("noise_sigma", config.noise_sigma, file.noise_sigma, file=file, row=row, channel=channel)
    sum_noise = measured.sum_noise if sigma is None else sigma
    if not sum_noise > 0:
        raise fault(
            file.path, f"stamp {file.ids[row]} has no noise in its border", "give source.noise_sigma, or crop its frame"
        )
    return Sky(measured.background if background is None else background, sum_noise)


def border_sky(picture: np.ndarray) -> Sky:
    """Clipped median of the border's pixels, and the robust noise of sums of 4 x 4 of them (at least a pixel's)."""
    width = max(MIN_BORDER_PX, round(BORDER_FRACTION * min(picture.shape)))
    strips = (picture[:width], picture[-width:], picture[width:-width, :width], picture[width:-width, -width:])
    pixels = np.concatenate([strip.ravel() for strip in strips])
    for _ in range(CLIP_ROUNDS):
        level = np.median(pixels)
        sigma = MAD_TO_SIGMA * np.median(np.abs(pixels - level))
        pixels = pixels[np.abs(pixels - level) <= CLIP_SIGMA * sigma]
    block = min(NOISE_BLOCK_PX, width)
    sums = np.concatenate([_block_sums(strip - level, block) for strip in strips])
    correlated = MAD_TO_SIGMA * np.median(np.abs(sums)) / block
    return Sky(float(level), float(max(sigma, correlated)))


def _block_sums(strip: np.ndarray, block: int) -> np.ndarray:
    rows, columns = (n // block for n in strip.shape)
    cropped = strip[: rows * block, : columns * block]
    return cropped.reshape(rows, block, columns, block).sum(axis=(1, 3)).ravel()


def _cleaned(
    pictures: list[np.ndarray], noise: np.ndarray, *, limits: CleanLimits
) -> tuple[CleanGalaxy, np.ndarray, np.ndarray]:
    """Detection's measurements, (C, S, S) unit-flux images and (C,) fluxes of one galaxy's sky-subtracted pictures."""
    weight = noise**-2 / (noise**-2).sum()
    detection = np.tensordot(weight, np.stack(pictures), axes=1)
    clean, cut = clean_and_cut(
        detection, background=0.0, sum_noise=float(np.sqrt(((weight * noise) ** 2).sum())), limits=limits
    )
    stamps = np.stack([cut_alike(picture, background=0.0, cut=cut, limits=limits) for picture in pictures])
    flux = stamps.sum(axis=(1, 2))
    if (flux < limits.min_snr * noise * np.sqrt((cut.window**2).sum())).any():
        raise Refused(FAINT_IN_A_BAND if len(pictures) > 1 else "low_snr")
    return clean, (stamps / flux[:, None, None]).astype(np.float32), flux


def _check_picture(picture: np.ndarray, *, file: StampFile, name: str, config: StampsSource) -> None:
    if min(picture.shape) < MIN_SIZE_PX:
        raise fault(file.path, f"stamp {name} has {picture.shape} pixels", f"give at least {MIN_SIZE_PX} a side")
    if np.isfinite(picture).all():
        return
    if config.on_nan == "reject":
        raise Refused(NOT_FINITE)
    raise fault(
        file.path, f"stamp {name} holds NaN or infinity", "mend it, or leave such stamps out with source.on_nan=reject"
    )


def _given(
    key: str, configured: float | None, stored: np.ndarray | None, *, file: StampFile, row: int, channel: int
) -> float | None:
    if configured is not None and stored is not None:
        raise fault(file.path, f"it has {key}, and source.{key} = {configured:g}", f"leave source.{key} null")
    return configured if stored is None else float(stored[row, channel])


def _either(configured: float | None, stored: np.ndarray | None, row: int) -> float:
    if configured is not None:
        return configured
    return float("nan") if stored is None else float(stored[row])


def _columns(kept: list[StampTemplate], *, config: StampsSource) -> dict[str, np.ndarray]:
    """The bank's ``meta`` columns."""
    measured = ("hlr_arcsec", "clumpiness", "snr", "pedestal_fraction", "halo_fraction")
    columns: dict[str, np.ndarray] = {"index": np.arange(len(kept), dtype=np.int64)}
    columns["id"] = np.array([template.name.encode() for template in kept])
    columns |= {key: np.array([getattr(template.clean, key) for template in kept], np.float32) for key in measured}
    for key in ("support_radius_arcsec", "psf_fwhm_arcsec", "zphot"):
        columns[key] = np.array([getattr(template, key) for template in kept], np.float32)
    return columns | _photometry(np.array([template.flux for template in kept]), zero_points=config.zero_points)


def _photometry(flux: np.ndarray, *, zero_points: ZeroPoints | float | None) -> dict[str, np.ndarray]:
    """Magnitudes and the bands' shares of (N, C) fluxes: of f_nu where zero points are given, of counts otherwise."""
    names = BANDS if flux.shape[1] > 1 else ("auto",)
    columns: dict[str, np.ndarray] = {}
    if zero_points is not None:
        each = list(zero_points.model_dump().values()) if isinstance(zero_points, ZeroPoints) else [zero_points]
        mags = np.array(each) - 2.5 * np.log10(flux)
        columns |= {f"mag_{name}": mags[:, i].astype(np.float32) for i, name in enumerate(names)}
        flux = 10 ** (-0.4 * (mags - mags.min(axis=1, keepdims=True)))
    if flux.shape[1] > 1:
        share = flux / flux.sum(axis=1, keepdims=True)
        columns |= {f"band_flux_fraction_{name}": share[:, i].astype(np.float32) for i, name in enumerate(names)}
    return columns


def _attributes(config: StampsSource, *, paths: list[Path]) -> dict[str, str | int | float]:
    """The bank's file attributes."""
    checksums = hashlib.sha256("".join(checksum_of(path) for path in paths).encode()).hexdigest()
    return {
        "src_pixscale_arcsec": config.pixel_scale_arcsec,
        "stamp_size": config.stamp_size_px,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "galaxy_kind": "stamps",
        "build": json.dumps(config.model_dump(mode="json", exclude={"bank", "storage", "files"})),
        "catalog": f"{len(paths)} files",
        "catalog_checksum": checksums,
    }
