"""Unlensed magnitudes of the sources (SCIENCE section 2): counts, colours, or what the bank measured."""

from collections.abc import Iterable

import numpy as np

from dhs.config.base import Range
from dhs.config.colour import BankColour, ColourConfig, SeedSedColour
from dhs.constants import BANDS
from dhs.inject.strength import between
from dhs.source.base import Source


def draw_magnitudes(
    rngs: Iterable[np.random.Generator],
    *,
    colour: ColourConfig,
    n_draws: int,
    z_source: np.ndarray,
    own_mag: np.ndarray | None,
) -> np.ndarray:
    """(P, n_draws, bands) unlensed AB magnitudes.

    ``z_source`` (P,), NaN where the lens prior drew none, sets the seeds' SED; ``own_mag`` (P, bands) are the
    sources' own magnitudes, given for `colour=bank`.
    """
    u, normal = magnitude_variates(rngs, n_draws=n_draws)
    return magnitudes_of(u, normal, colour=colour, z_source=z_source, own_mag=own_mag)


def magnitude_variates(rngs: Iterable[np.random.Generator], *, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """(P, n_draws, 2) uniforms and as many normals; ``rngs`` are used one after the other."""
    variates = [(rng.random((n_draws, 2)), rng.standard_normal((n_draws, 2))) for rng in rngs]
    u, normal = np.array(variates).reshape(-1, 2, n_draws, 2).swapaxes(0, 1)
    return u, normal


def depend_on_geometry(colour: ColourConfig) -> bool:
    """Whether magnitudes depend on which source was chosen, or on its redshift."""
    return isinstance(colour, BankColour | SeedSedColour)


def magnitudes_of(
    u: np.ndarray, normal: np.ndarray, *, colour: ColourConfig, z_source: np.ndarray, own_mag: np.ndarray | None
) -> np.ndarray:
    """As `draw_magnitudes`, from the variates."""
    r = power_law_magnitude(u[..., 0], limits=colour.r_mag, slope=colour.r_mag_slope)
    if isinstance(colour, BankColour):
        assert own_mag is not None, "dhs.inject.build reads the bank's magnitudes for colour=bank"
        return _own(own_mag, r, colour=colour)
    if isinstance(colour, SeedSedColour):
        redshift = np.where(
            np.isfinite(z_source)[:, None], z_source[:, None], between(u[..., 1], colour.source_redshift)
        )
        evolution = np.clip((redshift - 1) / 2, 0, 1)
        mags = {"g": r - 0.30 * (1 + 0.3 * evolution), "r": r, "z": r + 0.20 * (1 + 0.2 * evolution)}
    else:
        red = u[..., 1] < colour.red_fraction
        g_r = np.where(red, colour.red_g_r_mean, colour.g_r_mean) + normal[..., 0] * colour.g_r_sigma
        r_z = np.where(red, colour.red_r_z_mean, colour.r_z_mean) + normal[..., 1] * colour.r_z_sigma
        mags = {"g": r + g_r, "r": r, "z": r - r_z}
    return np.stack([mags[band] for band in BANDS], axis=-1)


def source_magnitudes(source: Source, *, colour: ColourConfig) -> np.ndarray | None:
    """(n_sources, bands) magnitudes that `colour=bank` takes from the bank's columns; None for other colours.

    Raises:
        ValueError: the source has no such columns, has gaps in them, or is brighter or fainter than ``colour.r_mag``.
    """
    if not isinstance(colour, BankColour):
        return None
    meta = getattr(source, "meta", {})
    names = [f"mag_{band}" for band in BANDS]
    missing = [name for name in names if name not in meta]
    if missing:
        raise ValueError(
            f"colour = bank: source {source.name!r} has no column {', '.join(missing)}; choose colour=population, or a "
            f"bank built from images in {', '.join(BANDS)}"
        )
    mags = np.stack([np.asarray(meta[name], dtype=np.float64) for name in names], axis=-1)
    unknown = int((~np.isfinite(mags)).any(axis=1).sum())
    if unknown:
        raise ValueError(
            f"colour = bank: {unknown} of {len(mags)} sources have no finite {', '.join(names)}; rebuild the bank "
            "without them, or choose colour=population"
        )
    if colour.brightness == "bank":
        _require_in_range(mags[:, BANDS.index("r")], limits=colour.r_mag)
    return mags


def power_law_magnitude(u: np.ndarray, *, limits: Range, slope: float) -> np.ndarray:
    """Inverse CDF of p(m) ~ 10**(slope m) on [low, high]."""
    span = limits.high - limits.low
    if abs(slope) < 1e-6 or span == 0:
        return limits.low + u * span
    return limits.low + np.log10(1 + u * (10 ** (slope * span) - 1)) / slope


def _own(own_mag: np.ndarray, r: np.ndarray, *, colour: BankColour) -> np.ndarray:
    own = np.broadcast_to(own_mag[:, None, :], (*r.shape, own_mag.shape[-1]))
    if colour.brightness == "bank":
        return own.copy()
    return own + (r - own[..., BANDS.index("r")])[..., None]


def _require_in_range(r: np.ndarray, *, limits: Range) -> None:
    outside = int(((r < limits.low) | (r > limits.high)).sum())
    if outside:
        raise ValueError(
            f"colour.brightness = bank: {outside} of {len(r)} sources have r ({r.min():.1f} to {r.max():.1f}) outside "
            f"colour.r_mag [{limits.low:g}, {limits.high:g}]; set brightness=counts, or rebuild the bank"
        )
