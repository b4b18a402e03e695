"""Checks of the light: templates, flux without a lens, units, colours, magnitudes, brightness against the galaxy."""

from dataclasses import replace

import numpy as np
import torch

from dhs.config.colour import BankColour, PopulationColour, SeedSedColour
from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.inject.recipe import RecipeBatch
from dhs.inject.selfcheck.physics import Physics
from dhs.inject.selfcheck.probes import gaussian, probe_recipes, smooth_sigma_arcsec
from dhs.inject.selfcheck.psf import kernel_flux
from dhs.inject.selfcheck.rows import Check, at_most, between, close
from dhs.rng import Purpose, keyed_rng
from dhs.sky.cutouts import good_pixels
from dhs.source.measure import half_light_radius_arcsec

N_SOURCES = 64
ZERO_POINT_MAG = 22.5
"""Written out, not imported: a wrong constant in `dhs.constants` must not hide here."""

MIN_POPULATION_SIGMA = 0.02
"""Magnitudes; below, a configured colour spread is no spread."""


MAX_OUTSHONE = 0.25
"""Share of arcs that may be brighter in r than their galaxy: 4% to 13% of 48 on the mock survey are (measured)."""


def random_sources(physics: Physics) -> np.ndarray:
    """(N_SOURCES,) indices into the configured source."""
    return physics.source.choose(keyed_rng(physics.config.seed, Purpose.BENCHMARK, 0, 2).random(N_SOURCES))


def scattered_sources(physics: Physics) -> RecipeBatch:
    """Recipes of `random_sources`, unlensed, each at a place and an angle of its own: no common sub-pixel phase."""
    rng = keyed_rng(physics.config.seed, Purpose.BENCHMARK, 0, 3)
    return probe_recipes(
        physics.cutouts,
        source_index=random_sources(physics),
        source_x_arcsec=rng.uniform(-1, 1, N_SOURCES),
        source_y_arcsec=rng.uniform(-1, 1, N_SOURCES),
        source_rotation_rad=rng.uniform(0, 2 * np.pi, N_SOURCES),
    )


def templates(physics: Physics) -> list[Check]:
    """Unit flux, nothing beyond the support radius, and a half-light radius that is the template's own."""
    chosen = random_sources(physics)
    found = physics.source.templates(chosen)
    images, scale = found.each().double().numpy(), physics.source.pixel_scale_arcsec
    axis = (np.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2) * scale
    beyond = np.hypot(axis, axis[:, None]) > found.support_radius_arcsec.numpy()[:, None, None] + 1e-4
    outside = np.abs(images * beyond[:, None]).sum(axis=(-2, -1))
    flux_error = float(np.abs(images.sum(axis=(-2, -1)) - 1).max())
    measured = np.array([half_light_radius_arcsec(image.mean(axis=0), pixel_scale_arcsec=scale) for image in images])
    ratio = physics.source.half_light_radius_arcsec(chosen) / measured
    n = f"{len(chosen)} templates"
    return [
        at_most(
            "templates",
            f"|flux of a template - 1|, worst of {n}",
            expected=0,
            got=flux_error,
            limit=1e-5,
            why="magnitudes are those of a unit-flux template: arcs are too bright or too faint by the same factor",
        ),
        at_most(
            "templates",
            f"light beyond a template's support radius, worst of {n}",
            expected=0,
            got=float(outside.max()),
            limit=1e-6,
            why="the renderer leaves out what lies beyond it",
        ),
        close(
            "templates",
            f"source half-light radius said / measured on the template, median of {n}",
            expected=1,
            got=float(np.median(ratio)),
            allowed=0.05,
            why="a lensed arc's radius, or another galaxy's, is reported as the source's",
        ),
    ]


def flux_without_lens(physics: Physics) -> list[Check]:
    """Sum of the traced image of an unlensed source: 1."""
    smooth = probe_recipes(physics.cutouts, source_x_arcsec=np.array([0.0, 0.31, -1.2]), source_y_arcsec=0.17)
    images = physics.trace(gaussian(smooth_sigma_arcsec(physics.supersampling)), smooth)
    flux = physics.trace(physics.source, scattered_sources(physics)).sum(axis=(-2, -1))
    name, why = "flux_without_lens", "surface brightness is not conserved: every arc is wrong by this factor"
    return [
        close(
            name,
            "flux of a smooth unlensed source (farthest off of 3 places)",
            expected=1,
            got=_farthest(images.sum(axis=(-2, -1)), 1.0),
            allowed=1e-3,
            why=why,
        ),
        close(
            name,
            f"mean flux of {N_SOURCES} unlensed sources of yours",
            expected=1,
            got=float(flux.mean()),
            allowed=2e-3,
            why=why,
        ),
        close(
            name,
            f"flux of the farthest off of them (rays {physics.supersampling} x {physics.supersampling})",
            expected=1,
            got=_farthest(flux, 1.0),
            allowed=0.03,
            why="the source is undersampled by the rays: light is lost or gained from stamp to stamp",
        ),
    ]


def units(physics: Physics) -> list[Check]:
    """Light that injection added, over ``10**((22.5 - m) / 2.5)`` times the magnification: PSF losses only."""
    physics = physics.without_noise
    expected = expected_flux_nmgy(physics.stamps.recipes) * magnification_of(physics)
    ratio = physics.arcs_nmgy.sum(axis=(-2, -1)) / expected
    losses = light_kept(physics)
    why = "nanomaggies, zero point, surface brightness (1,111 x too faint) or magnification are wrong"
    rows = []
    for band, name in enumerate(BANDS):
        farthest = int(np.abs(ratio[:, band] / losses[:, band] - 1).argmax())
        quantity = f"arc flux / (10**((22.5 - m) / 2.5) x magnification), {name} (farthest off of {len(ratio)} arcs)"
        want, got = float(losses[farthest, band]), float(ratio[farthest, band])
        rows.append(close("units", quantity, expected=want, got=got, allowed=2e-3, why=why))
    recorded = physics.stamps.magnification / magnification_of(physics).mean(axis=1)
    why = "the magnification in the table is not that of the stamp, or lensed flux was renormalised"
    quantity = "magnification in the table / that of the traced image (farthest off)"
    rows.append(close("units", quantity, expected=1, got=_farthest(recorded, 1.0), allowed=1e-3, why=why))
    return rows + _unlensed(physics)


def _unlensed(physics: Physics) -> list[Check]:
    """Nanomaggies of unlensed sources of magnitude 22.5: the share of 1 nMgy that the kernel holds."""
    recipes = scattered_sources(physics)
    recipes = replace(recipes, source_mag=np.full((len(recipes), len(BANDS)), ZERO_POINT_MAG))
    got = painted(physics, recipes).double().sum(dim=(-2, -1)).mean(dim=0).numpy()
    why = "1,111 x too faint when the renderer is given flux per pixel instead of surface brightness"
    rows = []
    for band, name in enumerate(BANDS):
        want = kernel_flux(physics, recipes, i=0, band=band)
        quantity = f"light of an unlensed source of magnitude 22.5, {name}, mean of {len(recipes)}"
        rows.append(close("units", quantity, expected=want, got=float(got[band]), allowed=2e-3, unit="nMgy", why=why))
    return rows


def painted(physics: Physics, recipes: RecipeBatch) -> torch.Tensor:
    """(B, bands, N, N) float32 noise-free arcs of ``recipes`` in nMgy."""
    renderer = physics.renderer(physics.source)
    unit = renderer.observe(renderer.trace(recipes), recipes=recipes)
    return unit * torch.from_numpy(expected_flux_nmgy(recipes).astype(np.float32))[:, :, None, None]


def expected_flux_nmgy(recipes: RecipeBatch) -> np.ndarray:
    """(B, bands) unlensed flux of the recipes' magnitudes."""
    return 10 ** ((ZERO_POINT_MAG - np.asarray(recipes.source_mag, dtype=np.float64)) / 2.5)


def magnification_of(physics: Physics) -> np.ndarray:
    """(n, bands) traced flux of the stamps' unit sources; one value for all bands of a one-channel source."""
    traced = physics.trace(physics.source, physics.stamps.recipes).sum(axis=(-2, -1))
    return np.broadcast_to(traced, (len(traced), len(BANDS)))


def light_kept(physics: Physics) -> np.ndarray:
    """(n, bands) share of each arc that the PSF leaves inside the stamp: of the traced arc, after over before."""
    observed = physics.observe(physics.source, physics.stamps.recipes).sum(axis=(-2, -1))
    return observed / magnification_of(physics)


def gain_e_per_nmgy(physics: Physics) -> np.ndarray:
    """(n, bands) gain of the stamps' coadds: sky-limited, ``1 / invvar = sky / gain``; median of the good pixels."""
    rows = physics.stamps.recipes.row
    invvar = np.asarray(physics.cutouts.invvar[rows], dtype=np.float64)
    good = good_pixels(invvar, np.asarray(physics.cutouts.maskbits[rows]))
    median = np.nanmedian(np.where(good, invvar, np.nan), axis=(-2, -1))
    sky_mag = np.array(physics.config.inject.sky_mag_arcsec2)
    return median * 10 ** ((ZERO_POINT_MAG - sky_mag) / 2.5) * PIXEL_SCALE_ARCSEC**2


def colours(physics: Physics) -> list[Check]:
    """g-r and r-z measured on each arc, against its own recipe; and that arcs differ as the prior says."""
    physics = physics.without_noise
    asked, got = colours_asked(physics), colours_got(physics)
    name, rows = "colours", []
    for i, label in enumerate(("g-r", "r-z")):
        why = "colours are drawn but not painted, or one for all: a network learns the colour instead of the lens"
        worst = float(np.abs(got[:, i] - asked[:, i]).max())
        quantity = f"|{label} measured - asked|, worst of {len(got)} arcs"
        rows.append(at_most(name, quantity, expected=0, got=worst, limit=0.01, unit="mag", why=why))
    spread = prior_spread(physics)
    for i, label in enumerate(("g-r", "r-z") if spread is not None else ()):
        assert spread is not None
        if spread[i] < MIN_POPULATION_SIGMA:
            continue
        why = "sources share one colour (the Gen5 arcs all had g-r = -0.32), or the prior is not the configured one"
        quantity = f"standard deviation of {label} over the arcs"
        got_sigma = float(np.nanstd(got[:, i]))
        rows.append(
            between(name, quantity, got=got_sigma, low=0.5 * spread[i], high=1.5 * spread[i], unit="mag", why=why)
        )
    return rows


def colours_asked(physics: Physics) -> np.ndarray:
    """(n, 2) g-r and r-z of the recipes, with what lensing and PSF do to each band's light."""
    flux = expected_flux_nmgy(physics.stamps.recipes) * magnification_of(physics) * light_kept(physics)
    return -2.5 * np.log10(flux[:, :-1] / flux[:, 1:])


def colours_got(physics: Physics) -> np.ndarray:
    """(n, 2) g-r and r-z of what injection added; NaN where that is not positive."""
    flux = physics.arcs_nmgy.sum(axis=(-2, -1))
    flux = np.where(flux > 0, flux, np.nan)
    return -2.5 * np.log10(flux[:, :-1] / flux[:, 1:])


def prior_spread(physics: Physics) -> tuple[float, float] | None:
    """Standard deviations of g-r and r-z of the configured prior, from its numbers; None for colours of a bank."""
    colour = physics.config.colour
    if isinstance(colour, PopulationColour):
        tail = colour.red_fraction * (1 - colour.red_fraction)
        g_r = np.hypot(colour.g_r_sigma, np.sqrt(tail) * (colour.red_g_r_mean - colour.g_r_mean))
        r_z = np.hypot(colour.r_z_sigma, np.sqrt(tail) * (colour.red_r_z_mean - colour.r_z_mean))
        return float(g_r), float(r_z)
    if isinstance(colour, SeedSedColour):
        redshift = physics.stamps.recipes.z_source
        if not np.isfinite(redshift).all():  # drawn by the colour itself, uniformly
            redshift = np.linspace(colour.source_redshift.low, colour.source_redshift.high, 1001)
        evolution = float(np.clip((redshift - 1) / 2, 0, 1).std())
        return 0.30 * 0.3 * evolution, 0.20 * 0.2 * evolution
    return None


def brightness(physics: Physics) -> list[Check]:
    """Unlensed magnitudes within the configured range; arcs no brighter than their source times its magnification."""
    physics = physics.without_noise
    recipes, stamps = physics.stamps.recipes, physics.stamps
    name, rows = "brightness", []
    colour, r = physics.config.colour, recipes.source_mag[:, BANDS.index("r")]
    limits = colour.r_mag
    if not (isinstance(colour, BankColour) and colour.brightness == "bank"):
        why = "unlensed magnitudes are not those asked for"
        for label, got in (("brightest", float(r.min())), ("faintest", float(r.max()))):
            quantity = f"unlensed r of the {label} of {len(r)} sources"
            rows.append(between(name, quantity, got=got, low=limits.low, high=limits.high, unit="mag", why=why))
    flux = physics.arcs_nmgy.sum(axis=(-2, -1))
    excess = flux / (expected_flux_nmgy(recipes) * stamps.magnification[:, None]) - 1
    rows.append(
        at_most(
            name,
            "arc flux / (source flux x magnification) - 1, brightest arc of all bands",
            expected=0,
            got=float(excess.max()),
            limit=5e-3,
            why="lensing makes no light: an arc this bright has no source in the configured range",
        )
    )
    return rows + _outshone(physics, flux[:, BANDS.index("r")])


def _outshone(physics: Physics, arc_flux_nmgy: np.ndarray) -> list[Check]:
    """Arcs brighter than the galaxy they are put on."""
    galaxy = np.asarray(physics.cutouts.mag[physics.stamps.recipes.row, BANDS.index("r")], dtype=np.float64)
    known = np.isfinite(galaxy) & (arc_flux_nmgy > 0)
    if not known.any():
        return []
    arc = ZERO_POINT_MAG - 2.5 * np.log10(arc_flux_nmgy[known])
    why = "sources are faint: the seeds' arcs (lens magnitude + 0.5 to 2, then magnified) outshone their galaxies"
    quantity = f"share of arcs brighter in r than their galaxy, of {int(known.sum())}"
    got = float((arc < galaxy[known]).mean())
    return [at_most("brightness", quantity, expected=0, got=got, limit=MAX_OUTSHONE, why=why)]


def _farthest(values: np.ndarray, target: float) -> float:
    """The value farthest from ``target``; NaN counts as farthest."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    return float(flat[np.where(np.isfinite(flat), np.abs(flat - target), np.inf).argmax()])
