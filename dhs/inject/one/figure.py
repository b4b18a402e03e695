"""The PNG of `task=one`: before, arc alone, after; in colour and band by band."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from dhs.constants import BANDS, MAD_TO_SIGMA, PIXEL_SCALE_ARCSEC
from dhs.display import INK, MUTED, PAPER, SHEET_DPI, rgb, save_png
from dhs.inject.one.stamp import OneStamp

LOW_SIGMA, HIGH_SIGMA = -3.0, 60.0
"""Ends of the grey scale, in standard deviations of a band's sky."""
SOFTENING_SIGMA = 3.0
"""The grey scale is linear below and logarithmic above."""
BAR_ARCSEC = 5.0
MARK = "#ffd24d"


def one_figure(stamp: OneStamp, *, path: Path) -> Path:
    """Write the figure: rows galaxy, arc, both; columns colour composite, then g, r, z on one grey scale each."""
    rows = {"galaxy": stamp.background_nmgy, "arc alone": stamp.arc_nmgy, "both": stamp.image_nmgy}
    figure = Figure(figsize=(9.4, 7.9), dpi=SHEET_DPI, facecolor=PAPER)
    axes = figure.subplots(3, 1 + len(BANDS), gridspec_kw={"wspace": 0.03, "hspace": 0.03})
    figure.subplots_adjust(left=0.045, right=0.99, bottom=0.01, top=0.83)
    sigma = _sky_sigma(stamp.background_nmgy)
    for (name, images), panels in zip(rows.items(), axes, strict=True):
        _draw(panels[0], rgb(images[None])[0])
        panels[0].set_ylabel(name, color=INK, size=10)
        for panel, image, one_sigma in zip(panels[1:], images, sigma, strict=True):
            _draw(panel, _grey(image / one_sigma), grey=True)
    for panel, name in zip(axes[0], ("g, r, z", *BANDS), strict=True):
        panel.set_title(name, color=INK, size=10)
    if stamp.recipe.injected[0]:
        _mark_einstein_radius(axes[1, 0], stamp)
    _scale_bar(axes[2, 0], n_px=stamp.image_nmgy.shape[-1])
    figure.text(0.045, 0.975, stamp.title, size=11, weight="bold", color=INK, va="top")
    figure.text(0.045, 0.943, "\n".join(caption(stamp)), size=8.5, color=MUTED, va="top", linespacing=1.45)
    save_png(figure, path=path, dpi=SHEET_DPI)
    return path


def _sky_sigma(images: np.ndarray) -> np.ndarray:
    """(bands,) 1.4826 MAD of each band's whole stamp: a scale for the eye, not a measurement."""
    deviation = np.abs(images - np.median(images, axis=(1, 2), keepdims=True))
    return np.maximum(MAD_TO_SIGMA * np.median(deviation, axis=(1, 2)), 1e-9)


def _grey(significance: np.ndarray) -> np.ndarray:
    """Sky-noise units -> 0 (low) to 1 (high)."""
    low, value, high = (np.arcsinh(x / SOFTENING_SIGMA) for x in (LOW_SIGMA, significance, HIGH_SIGMA))
    return np.clip((value - low) / (high - low), 0, 1)


def _draw(panel: Axes, picture: np.ndarray, *, grey: bool = False) -> None:
    panel.imshow(picture, origin="lower", interpolation="nearest", cmap="gray_r" if grey else None, vmin=0, vmax=1)
    panel.set(xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set_visible(False)


def _mark_einstein_radius(panel: Axes, stamp: OneStamp) -> None:
    recipe, middle = stamp.recipe, (stamp.image_nmgy.shape[-1] - 1) / 2
    centre = [middle + float(at[0]) / PIXEL_SCALE_ARCSEC for at in (recipe.lens_x_arcsec, recipe.lens_y_arcsec)]
    radius = float(recipe.theta_e_arcsec[0]) / PIXEL_SCALE_ARCSEC
    panel.add_patch(Circle((centre[0], centre[1]), radius, fill=False, color=MARK, lw=0.8, ls=(0, (4, 3))))
    panel.text(0.03, 0.03, r"dashed: $\theta_E$", color=MARK, size=8, transform=panel.transAxes)


def _scale_bar(panel: Axes, *, n_px: int) -> None:
    length, left, height = BAR_ARCSEC / PIXEL_SCALE_ARCSEC, 0.05 * n_px, 0.06 * n_px
    panel.plot([left, left + length], [height, height], color="white", lw=1.5)
    panel.text(left + length / 2, height + 0.02 * n_px, f'{BAR_ARCSEC:g}"', color="white", size=8, ha="center")


def caption(stamp: OneStamp) -> list[str]:
    """What was put where, in one to three lines of plain text."""
    recipe, stamps = stamp.recipe, stamp.stamps
    seeing = ", ".join(f"{fwhm:.2f}" for fwhm in recipe.psf_fwhm_arcsec[0])
    galaxy = f'galaxy {recipe.target_id[0]}, seeing {seeing}" in g, r, z'
    if stamp.origin:
        galaxy += f", {stamp.origin}"
    if not recipe.injected[0]:
        return [galaxy, "control: no arc"]
    shear = float(np.hypot(recipe.gamma1[0], recipe.gamma2[0]))
    mags = ", ".join(f"{mag:.2f}" for mag in recipe.source_mag[0])
    snr = ", ".join(f"{value:.0f}" for value in stamps.arc_snr_sum[0])
    return [
        galaxy,
        f'theta_E {recipe.theta_e_arcsec[0]:.3f}", q {recipe.axis_ratio[0]:.2f}, '
        f"phi {np.degrees(recipe.phi_rad[0]) % 180:.0f} deg, shear {shear:.3f}, "
        f"magnification {stamps.magnification[0]:.1f}",
        f"source {recipe.source_index[0]}, unlensed g, r, z {mags}; arc S/N {snr}",
    ]
