"""Checks of the PSF: a point source stays put, keeps its flux, has the FWHM asked for, counts the pixel once."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from dhs.config.injection import PsfConfig, SurveyPsf
from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.inject.recipe import RecipeBatch
from dhs.inject.selfcheck.analytic import PointSource, Profile
from dhs.inject.selfcheck.physics import Physics
from dhs.inject.selfcheck.probes import gaussian, probe_recipes, sampled_variance_arcsec2, smooth_sigma_arcsec
from dhs.inject.selfcheck.rows import Check, at_most, close

SHIFT_ALLOWED_PX = 1e-3
"""A kernel keeps a point source where it is (SCIENCE section 1)."""

POSITIONS_ARCSEC = ((0.0, 0.0), (1.37, -0.61), (-0.83, 1.94))
"""A pixel corner (the frame's centre, for even sizes) and two places within pixels."""

WINDOW_ITERATIONS = 12

WRAP_ALLOWED = 1e-4
"""Of the peak: ringing of a kernel with the pixel divided out is 1e-5 there, wrapped light a tenth and more."""


def typical_rows(physics: Physics) -> np.ndarray:
    """Galaxies of the sharpest, the median and the broadest PSF in each band (repeated where they are the same)."""
    fwhm = np.asarray(physics.cutouts.psf_fwhm_arcsec)
    order = np.argsort(fwhm, axis=0)
    return order[[0, len(fwhm) // 2, len(fwhm) - 1]].ravel()


def point_recipes(physics: Physics) -> RecipeBatch:
    """A small unlensed source at every position under every PSF of `typical_rows`."""
    rows = np.repeat(typical_rows(physics), len(POSITIONS_ARCSEC))
    x, y = np.tile(np.array(POSITIONS_ARCSEC).T, len(rows) // len(POSITIONS_ARCSEC))
    return probe_recipes(physics.cutouts, rows=rows, source_x_arcsec=x, source_y_arcsec=y)


def point_images(physics: Physics, *, psf: PsfConfig | None = None) -> np.ndarray:
    """(B, bands, N, N) images of `point_recipes`."""
    return physics.observe(gaussian(smooth_sigma_arcsec(physics.supersampling)), point_recipes(physics), psf=psf)


def windowed_centroid_arcsec(image: np.ndarray, *, x: float, y: float, sigma_arcsec: float) -> tuple[float, float]:
    """Centroid under a Gaussian window that follows it (SExtractor's XWIN_IMAGE), starting at (x, y)."""
    axis = (np.arange(len(image)) - (len(image) - 1) / 2) * PIXEL_SCALE_ARCSEC
    for _ in range(WINDOW_ITERATIONS):
        weight = np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * sigma_arcsec**2)) * image
        total = weight.sum()
        x += 2 * float((weight * (axis - x)).sum() / total)
        y += 2 * float((weight * (axis[:, None] - y)).sum() / total)
    return x, y


def point_source(physics: Physics) -> list[Check]:
    """The image of a point source is where the source is: every band, sharpest to broadest FWHM, odd kernels."""
    name, why = "point_source", "the kernel's centre is off: arcs of different bands no longer lie on one another"
    rows, kernels = [], [(physics.config.psf, "")]
    if not isinstance(physics.config.psf, SurveyPsf):
        size = 2 * physics.size_px + 1
        kernels.append((physics.config.psf.model_copy(update={"kernel_size_px": size}), f", kernel of {size} px"))
    for psf, label in kernels:
        shifts = point_shifts_px(physics, psf=psf)
        fwhm = point_recipes(physics).psf_fwhm_arcsec
        for band, band_name in enumerate(BANDS):
            span = f"FWHM {fwhm[:, band].min():.2f} to {fwhm[:, band].max():.2f} arcsec"
            quantity = f"shift by the PSF, {band_name}, {span}{label}"
            worst = float(shifts[:, band].max())
            rows.append(at_most(name, quantity, expected=0, got=worst, limit=SHIFT_ALLOWED_PX, unit="px", why=why))
    return rows


def point_shifts_px(physics: Physics, *, psf: PsfConfig) -> np.ndarray:
    """(B, bands) distance of the image from the source in survey pixels."""
    recipes, images = point_recipes(physics), point_images(physics, psf=psf)
    shifts = np.empty(images.shape[:2])
    for i, band in np.ndindex(*shifts.shape):
        x, y = float(recipes.source_x_arcsec[i]), float(recipes.source_y_arcsec[i])
        sigma = float(recipes.psf_fwhm_arcsec[i, band]) / 2.355
        # Start at the brightest pixel: a shift of many pixels is then measured, not missed.
        row, column = np.unravel_index(images[i, band].argmax(), images[i, band].shape)
        middle = (physics.size_px - 1) / 2
        start_x, start_y = (column - middle) * PIXEL_SCALE_ARCSEC, (row - middle) * PIXEL_SCALE_ARCSEC
        got_x, got_y = windowed_centroid_arcsec(images[i, band], x=start_x, y=start_y, sigma_arcsec=sigma)
        shifts[i, band] = np.hypot(got_x - x, got_y - y) / PIXEL_SCALE_ARCSEC
    return shifts


class Response(NamedTuple):
    """The image of a point source near the centre, and what it should be."""

    band: int
    fwhm_arcsec: float
    image: np.ndarray
    expected: Callable[..., np.ndarray]
    """``expected(fwhm_arcsec=..., pixels_counted=1)``: (N, N); a survey's PSF image has no FWHM to choose."""


def responses(physics: Physics) -> list[Response]:
    """One for every PSF of `typical_rows` and every band."""
    rows = np.unique(typical_rows(physics))
    x, y = POSITIONS_ARCSEC[1]
    sigma = smooth_sigma_arcsec(physics.supersampling)
    recipes = probe_recipes(physics.cutouts, rows=rows, source_x_arcsec=x, source_y_arcsec=y)
    images = physics.observe(gaussian(sigma), recipes)
    source = point_source_at(physics, x=x, y=y)
    return [
        Response(
            band,
            float(recipes.psf_fwhm_arcsec[i, band]),
            images[i, band],
            expected_image(physics, recipes, i=i, band=band, source=source),
        )
        for i, band in np.ndindex(len(rows), len(BANDS))
    ]


def point_source_at(physics: Physics, *, x: float, y: float) -> PointSource:
    """The probe `gaussian(smooth_sigma_arcsec(...))` at (x, y), as sampled by the configured rays."""
    sigma = smooth_sigma_arcsec(physics.supersampling)
    variance = sampled_variance_arcsec2(sigma, supersampling=physics.supersampling)
    return PointSource(physics.size_px, PIXEL_SCALE_ARCSEC, x, y, float(np.sqrt(variance)))


def expected_image(
    physics: Physics, recipes: RecipeBatch, *, i: int, band: int, source: PointSource
) -> Callable[..., np.ndarray]:
    """What recipe ``i``'s PSF makes of ``source`` in ``band``."""
    if isinstance(physics.config.psf, SurveyPsf):
        assert physics.cutouts.psf_images is not None
        kernel = np.asarray(physics.cutouts.psf_images[recipes.row[i], band], dtype=np.float64)
        return lambda *, fwhm_arcsec, pixels_counted=1: source.through_image(kernel, pixels_counted=pixels_counted)
    own = psf_profile(physics, recipes, i=i, band=band)
    return lambda *, fwhm_arcsec, pixels_counted=1: source.through_profile(
        replace(own, fwhm_arcsec=fwhm_arcsec), pixels_counted=pixels_counted
    )


def psf_profile(physics: Physics, recipes: RecipeBatch, *, i: int, band: int) -> Profile:
    """The analytic PSF of recipe ``i`` in ``band``."""
    psf = physics.config.psf
    assert not isinstance(psf, SurveyPsf)
    fwhm, e1, e2 = (float(column[i, band]) for column in (recipes.psf_fwhm_arcsec, recipes.psf_e1, recipes.psf_e2))
    return Profile(psf, fwhm, e1, e2)


def psf_fwhm(physics: Physics) -> list[Check]:
    """FWHM fitted to the image of a point source, per band; for PSF images, that image against the PSF's own."""
    found = responses(physics)
    if isinstance(physics.config.psf, SurveyPsf):
        return _psf_images(found)
    why = "the PSF of another band or object, the wrong profile, or the pixel counted twice (1% to 2% broader)"
    rows = []
    for band, name in enumerate(BANDS):
        pairs = [(r.fwhm_arcsec, fitted_fwhm_arcsec(r)) for r in found if r.band == band]
        fwhm, got = max(pairs, key=lambda pair: abs(pair[1] / pair[0] - 1))
        quantity = f"FWHM of a point source, {name} (the object that is farthest off)"
        rows.append(close("psf_fwhm", quantity, expected=fwhm, got=got, allowed=0.004 * fwhm, unit='"', why=why))
    return rows


def _psf_images(found: list[Response]) -> list[Check]:
    rows = []
    for band, name in enumerate(BANDS):
        expected = [(r.image, r.expected(fwhm_arcsec=r.fwhm_arcsec)) for r in found if r.band == band]
        worst = max(float(np.abs(image - want).max() / want.max()) for image, want in expected)
        why = "the PSF image of another band or object, turned, flipped, or with the pixel counted twice"
        quantity = f"|point source - PSF image| / peak, {name}"
        rows.append(at_most("psf_fwhm", quantity, expected=0, got=worst, limit=2e-3, why=why))
    return rows


def fitted_fwhm_arcsec(response: Response) -> float:
    """FWHM of the configured profile, pixel counted once, that fits the image best; the flux is free."""
    image = response.image

    def misfit(fwhm: float) -> float:
        model = response.expected(fwhm_arcsec=fwhm)
        return float(((image - model * (image * model).sum() / (model**2).sum()) ** 2).sum())

    guess = response.fwhm_arcsec
    return float(minimize_scalar(misfit, bounds=(0.6 * guess, 1.6 * guess), method="bounded").x)


def pixel_counted_once(physics: Physics) -> list[Check]:
    """How often the survey pixel's blur is in the image: 1. A fraction of it is a deviation of the profile."""
    counts = []
    for response in responses(physics):
        once, twice = (response.expected(fwhm_arcsec=response.fwhm_arcsec, pixels_counted=n) for n in (1, 2))
        parts = np.stack([once.ravel(), (twice - once).ravel()], axis=1)
        flux, blur = np.linalg.lstsq(parts, response.image.ravel(), rcond=None)[0]
        counts.append(1 + float(blur / flux))
    farthest = max(counts, key=lambda count: abs(count - 1))
    convention = physics.config.psf.convention
    return [
        close(
            "pixel_counted_once",
            f"times the pixel is counted, psf.convention = {convention} (the object that is farthest off)",
            expected=1,
            got=farthest,
            allowed=0.15,
            why="an effective PSF (psfsize) holds the pixel already: counted twice, 8e-3 to 1.6e-2 of the peak",
        )
    ]


def kernel_light(physics: Physics) -> list[Check]:
    """Flux of an unlensed source after the PSF over that before it: what the kernel leaves out is lost."""
    why = "the kernel was normalised to 1 (or the PSF to another flux): the wings' light went back into the arc"
    recipes = probe_recipes(physics.cutouts, rows=np.unique(typical_rows(physics)))
    source = gaussian(smooth_sigma_arcsec(physics.supersampling))
    before = physics.trace(source, recipes).sum(axis=(-2, -1))
    kept = physics.observe(source, recipes).sum(axis=(-2, -1)) / before
    rows = []
    for band, name in enumerate(BANDS):
        broadest = int(recipes.psf_fwhm_arcsec[:, band].argmax())
        fwhm = recipes.psf_fwhm_arcsec[broadest, band]
        rows.append(
            close(
                "kernel_light",
                f"share of the light inside the kernel, {name}, FWHM {fwhm:.2f} arcsec",
                expected=kernel_flux(physics, recipes, i=broadest, band=band),
                got=float(kept[broadest, band]),
                allowed=2e-4,
                why=why,
            )
        )
    return rows


def kernel_flux(physics: Physics, recipes: RecipeBatch, *, i: int, band: int) -> float:
    """Share of a centred source's light that recipe ``i``'s kernel keeps in the stamp in ``band``."""
    if isinstance(physics.config.psf, SurveyPsf):
        source = point_source_at(physics, x=0.0, y=0.0)
        expected = expected_image(physics, recipes, i=i, band=band, source=source)
        return float(expected(fwhm_arcsec=float(recipes.psf_fwhm_arcsec[i, band])).sum())
    return psf_profile(physics, recipes, i=i, band=band).flux_in_kernel(PIXEL_SCALE_ARCSEC)


def wrap_around(physics: Physics) -> list[Check]:
    """Light of a source at one edge that appears at the opposite one."""
    edge = physics.half_size_arcsec - 0.3
    x, y = np.array([edge, -edge, 0.0, 0.0]), np.array([0.0, 0.0, edge, -edge])
    recipes = probe_recipes(physics.cutouts, source_x_arcsec=x, source_y_arcsec=y)
    images = np.abs(physics.observe(gaussian(smooth_sigma_arcsec(physics.supersampling)), recipes))
    far = physics.size_px // 8
    opposite = (images[0, ..., :far], images[1, ..., -far:], images[2, ..., :far, :], images[3, ..., -far:, :])
    worst = max(float(part.max() / image.max()) for part, image in zip(opposite, images, strict=True))
    quantity = "light at the edge opposite to a source, / peak"
    why = "circular convolution: arcs leave the stamp on one side and enter on the other"
    return [at_most("wrap_around", quantity, expected=0, got=worst, limit=WRAP_ALLOWED, why=why)]
