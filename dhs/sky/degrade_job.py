"""`task=degrade`: images -> stamps with noise -> one NPZ that `sky=files` and `anchors.cutouts` read, and a picture.

The NPZ says what its stamps are (`origin`), and every gallery and audit page repeats it under each stamp.
"""

import os
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dhs.config.degrade import BandColours, DegradeTask
from dhs.constants import BANDS, MAD_TO_SIGMA, PIXEL_SCALE_ARCSEC
from dhs.display import contact_sheet
from dhs.rng import Purpose, keyed_rng
from dhs.sky.degrade import observe, take_apart
from dhs.sky.depth import sigma_of_depth
from dhs.sky.files_read import read_cutouts
from dhs.sky.hst_image import SharpImage, read_sharp_image
from dhs.sky.mock_noise import add_noise, draw_noise

ORIGIN = "simulated telescope"
MAX_OBJECT_SIGMA = 8.0
"""A window of real sky with a smoothed pixel above this, within the middle half, holds an object."""
WINDOW_STEP_PX = 8


@dataclass(frozen=True)
class Sky:
    """Noise of one stamp: (3, H, W) pixels to add, and their inverse variance."""

    pixels: np.ndarray
    invvar: np.ndarray
    is_real: bool


def degrade(task: DegradeTask) -> list[str]:
    """Write ``task.output`` and a contact sheet; one line of what was made per image.

    Raises:
        FileNotFoundError, ValueError: an image cannot be used (see `dhs.sky.hst_image`), or no empty sky was found.
    """
    sharp = [
        read_sharp_image(
            path,
            psf_path=task.psf,
            pixel_scale_arcsec=task.pixel_scale_arcsec,
            zero_point_ab_mag=task.zero_point_ab_mag,
        )
        for path in task.images
    ]
    windows = _blank_windows(task) if task.blank_sky else []
    stamps, skies = [], []
    for index, image in enumerate(sharp):
        clean = _clean_stamp(image, task)
        sky = windows[index % len(windows)] if windows else None
        noisy, used = _with_noise(clean, sky, task, index=index)
        stamps.append(noisy)
        skies.append(used)
    _write_npz(task, sharp, np.array(stamps), np.array([sky.invvar for sky in skies]))
    lines = [_line(image, stamp, sky) for image, stamp, sky in zip(sharp, stamps, skies, strict=True)]
    contact_sheet(
        np.array(stamps),
        captions=[f"{image.path.stem}\n{ORIGIN}" for image in sharp],
        path=task.output.with_suffix(".png"),
        columns=min(6, len(stamps)),
        title="HST lenses through a model of DR10 (simulated telescope, assumed colours)",
        zoom=4,
    )
    return lines


def _clean_stamp(sharp: SharpImage, task: DegradeTask) -> np.ndarray:
    """(3, H, W) noise-free nMgy."""
    parts = take_apart(sharp, size_px=task.stamp_size_px)
    bands = []
    for fwhm, band in zip(task.psf_fwhm_arcsec, BANDS, strict=True):
        light = parts.lens * _factor(task.lens_colour, band) + parts.arc * _factor(task.arc_colour, band)
        bands.append(
            observe(light, sharp=sharp, centre_px=parts.centre_px, fwhm_arcsec=fwhm, size_px=task.stamp_size_px)
        )
    return np.array(bands)


def _factor(colour: BandColours, band: str) -> float:
    return float(10 ** (-0.4 * getattr(colour, band)))


def _with_noise(clean: np.ndarray, sky: Sky | None, task: DegradeTask, *, index: int) -> tuple[np.ndarray, Sky]:
    if sky is not None:
        return (clean + sky.pixels).astype(np.float32), sky
    sigma = sigma_of_depth(
        np.array(task.psf_depth_mag),
        fwhm_arcsec=np.array(task.psf_fwhm_arcsec),
        pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
    )
    rng = keyed_rng(task.seed, Purpose.DEGRADE, 0, index)
    unit = draw_noise(rng, size_px=task.stamp_size_px, correlation=task.noise_correlation)
    invvar = np.broadcast_to((sigma**-2.0)[:, None, None], clean.shape)
    return add_noise(clean.astype(np.float32), sigma_nmgy=sigma, unit_noise=unit), Sky(unit, invvar, False)


def _blank_windows(task: DegradeTask) -> list[Sky]:
    """Windows of real sky without an object in their middle half, the emptiest first."""
    found: list[tuple[float, Sky]] = []
    size = task.stamp_size_px
    for path in task.blank_sky:
        raw = read_cutouts(path)
        order = [raw.bands.index(band) for band in BANDS]
        for row, image in enumerate(raw.images[:, order]):
            sigma = [MAD_TO_SIGMA * float(np.median(np.abs(band - np.median(band)))) for band in image]
            smooth = ndimage.gaussian_filter(image[1] - np.median(image[1]), 1.5) / sigma[1] * np.sqrt(4 * np.pi) * 1.5
            for top in range(0, image.shape[1] - size + 1, WINDOW_STEP_PX):
                for left in range(0, image.shape[2] - size + 1, WINDOW_STEP_PX):
                    middle = smooth[top + size // 4 : top + 3 * size // 4, left + size // 4 : left + 3 * size // 4]
                    pixels = image[:, top : top + size, left : left + size]
                    known = None if raw.invvar is None else raw.invvar[row, order, top : top + size, left : left + size]
                    flat = np.broadcast_to(np.array(sigma)[:, None, None] ** -2.0, pixels.shape)
                    found.append((float(middle.max()), Sky(pixels, flat if known is None else known, True)))
    empty = [sky for peak, sky in sorted(found, key=lambda entry: entry[0]) if peak < MAX_OBJECT_SIGMA]
    if not empty:
        raise ValueError(
            f"task.blank_sky = {', '.join(map(str, task.blank_sky))}: no window of {size} px without an object in its "
            "middle half; give emptier sky, or leave it out for modelled noise"
        )
    return empty


def _write_npz(task: DegradeTask, sharp: list[SharpImage], stamps: np.ndarray, invvar: np.ndarray) -> None:
    task.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = task.output.with_name(f".{task.output.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(
                file,
                images=stamps.astype(np.float32),
                invvar=invvar.astype(np.float32),
                bands=np.array(BANDS),
                pixscale_arcsec=PIXEL_SCALE_ARCSEC,
                unit="nanomaggy",
                psf_fwhm_arcsec=np.array(task.psf_fwhm_arcsec),
                ra_deg=np.array([image.ra_deg for image in sharp]),
                dec_deg=np.array([image.dec_deg for image in sharp]),
                id=np.array([image.path.stem for image in sharp]),
                origin=ORIGIN,
                configuration=task.model_dump_json(),
            )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(task.output)
    finally:
        temporary.unlink(missing_ok=True)


def _line(image: SharpImage, stamp: np.ndarray, sky: Sky) -> str:
    mags = ", ".join(
        f"{band} {22.5 - 2.5 * np.log10(max(float(light.sum()), 1e-9)):.2f}"
        for band, light in zip(BANDS, stamp, strict=True)
    )
    return f"{image.path.stem}: {mags} in the stamp; noise {'from real sky' if sky.is_real else 'modelled'}; {ORIGIN}"
