"""Checks of the lens: lenstronomy, analytic magnification, Einstein rings, orientation, convergence."""

import warnings
from importlib.util import find_spec

import numpy as np
from scipy.ndimage import map_coordinates

from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.inject.recipe import RecipeBatch
from dhs.inject.renderer import build_renderer
from dhs.inject.selfcheck.analytic import Isothermal
from dhs.inject.selfcheck.physics import Physics
from dhs.inject.selfcheck.probes import (
    BLOB_OFFSET_ARCSEC,
    BLOB_SHARE,
    blobs,
    gaussian,
    moments,
    probe_recipes,
    sampled_variance_arcsec2,
    small_sigma_arcsec,
    smooth_sigma_arcsec,
)
from dhs.inject.selfcheck.rows import Check, at_most, close, not_checked
from dhs.rng import Purpose, keyed_rng

PARITY = 1e-5
"""Of the peak, against lenstronomy on the same sample points (SCIENCE section 1); float32 reaches 1e-6."""

PARITY_CORNERS = 3e-5
"""Far corners. Before the PSF: float32 rays at 8 arcsec are good to 5e-7 arcsec, 1.6e-5 of a knot of 0.03 arcsec. After
it, where an arc crosses the frame's edge: an effective kernel with the pixel divided out rings without end and is cut,
1.1e-5 of what is left of the arc."""

SAMPLING_ERROR = {
    "cosmos": {1: (4e-2, 3e-1), 2: (5e-3, 4e-2), 4: (1e-3, 5e-3), 6: (5e-4, 5e-3), 8: (3e-4, 2e-3)},
    "sersic": {1: (6e-2, 4e-1), 2: (9e-3, 1e-1), 4: (1e-3, 1e-2), 6: (7e-4, 8e-3), 8: (3e-4, 1e-2)},
    "clumpy": {1: (1e-1, 4e-1), 2: (2e-2, 9e-2), 4: (3e-3, 1e-2), 6: (1e-3, 1e-2), 8: (6e-4, 3e-3)},
}
"""Error / peak after the PSF against 16 x 16 rays, median and worst of 32 arcs, by source (measured here)."""

SAMPLING_ALLOWED = (1e-2, 5e-2)
"""Median and worst error / peak of arcs fit to train on, whatever is configured: 1 x 1 fails for every source."""

FINEST = 16


def lenstronomy_installed() -> bool:
    """Whether the reference can be imported."""
    return find_spec("lenstronomy") is not None


def corner_recipes(physics: Physics) -> RecipeBatch:
    """Lenses at the edges of what anyone configures: q 0.2 to 1, theta_E 0.3 to 4 arcsec, shear to 0.15, sources across
    the caustic and at the frame's edge."""
    n = physics.n_reference
    rng = keyed_rng(physics.config.seed, Purpose.BENCHMARK, 0, 1)
    q = np.resize([0.2, 1.0, 0.35, 0.999999, 0.7, 0.5], n)
    theta_e = np.resize([0.3, 4.0, 1.0, 2.2], n)
    angle, shear = rng.uniform(0, np.pi, (2, n)), rng.uniform(0, 0.15, n)
    x, y = rng.uniform(-1.2, 1.2, (2, n)) * theta_e * 0.6
    x[-1] = physics.half_size_arcsec - theta_e[-1] - 0.4  # its arc crosses the frame's edge
    return probe_recipes(
        physics.cutouts,
        rows=physics.stamps.recipes.row[:n],
        theta_e_arcsec=theta_e,
        axis_ratio=q,
        phi_rad=angle[0],
        gamma1=shear * np.cos(2 * angle[1]),
        gamma2=shear * np.sin(2 * angle[1]),
        lens_x_arcsec=rng.uniform(-0.4, 0.4, n),
        lens_y_arcsec=rng.uniform(-0.4, 0.4, n),
        source_index=physics.source.choose(rng.random(n)),
        source_x_arcsec=x,
        source_y_arcsec=y,
        source_rotation_rad=rng.uniform(0, 2 * np.pi, n),
    )


def reference_images(physics: Physics, recipes: RecipeBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ours and the reference's unit arcs, before (B, C, N, N) and after the PSF (B, bands, N, N).

    The reference is lenstronomy; for ``renderer=lenstronomy`` it is our own renderer. Both take the same sample points:
    for ``supersampling=adaptive``, a fixed number of them (`convergence` checks the adaptation).
    """
    other = "fast" if physics.config.renderer.name == "lenstronomy" else "lenstronomy"
    changes = {"name": other, "device": "cpu", "supersampling": physics.supersampling}
    theirs = build_renderer(
        physics.config.renderer.model_copy(update=changes),
        source=physics.source,
        psf=physics.config.psf,
        size_px=physics.size_px,
        psf_images=physics.cutouts.psf_images,
    )
    ours = physics.renderer(physics.source, supersampling=physics.supersampling)
    images = []
    with warnings.catch_warnings():
        # An effective PSF with the pixel divided out dips below zero; that is what it is.
        warnings.filterwarnings("ignore", "Input PSF model has at least one negative element")
        for renderer in (ours, theirs):
            traced = renderer.trace(recipes)
            images += [traced.double().numpy(), renderer.observe(traced, recipes=recipes).double().numpy()]
    return images[0], images[2], images[1], images[3]


def lenstronomy(physics: Physics) -> list[Check]:
    """Agreement on the user's own priors and on far corners, before and after the PSF."""
    name, why = "lenstronomy", "deflection, source orientation, units or PSF differ from the field's reference code"
    if not lenstronomy_installed():
        remedy = "lenstronomy is not installed; pip install 'dark-halo-scope[reference]'"
        return [not_checked(name, "max |ours - lenstronomy| / peak", why=remedy)]
    rows = []
    own = physics.stamps.recipes.take(np.arange(min(physics.n_reference, len(physics.stamps))))
    corners = corner_recipes(physics)
    for recipes, label, limit in ((own, "recipes of your priors", PARITY), (corners, "far corners", PARITY_CORNERS)):
        traced, reference, observed, reference_observed = reference_images(physics, recipes)
        for ours, theirs, stage in (
            (traced, reference, "before the PSF"),
            (observed, reference_observed, "after the PSF"),
        ):
            worst = float(difference_over_peak(ours, theirs).max())
            quantity = f"max |ours - lenstronomy| / peak, {len(recipes)} {label}, {stage}"
            rows.append(at_most(name, quantity, expected=0, got=worst, limit=limit, why=why))
    return rows


def difference_over_peak(ours: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """max |ours - reference| / max(reference) of (..., N, N) images; infinite where the reference is empty."""
    peak = reference.max(axis=(-2, -1))
    worst = np.abs(ours - reference).max(axis=(-2, -1))
    return np.where(peak > 0, worst / np.where(peak > 0, peak, 1), np.inf)


MAGNIFICATION_CASES = (
    ("SIS, two images", Isothermal(1.5), 0.5, 0.2),
    ("SIS, one image", Isothermal(1.0), 1.1, 0.9),
    ("SIE q 0.6, two images", Isothermal(1.5, 0.6, 0.5), -0.6, 0.75),
    ("SIE q 0.4, four images", Isothermal(2.2, 0.4, 2.0), 0.03, -0.02),
    ("SIE q 0.6, one image", Isothermal(1.0, 0.6, 1.0), 0.6, -1.5),
)
"""Name, lens, source position in arcsec; each at least three sigma of the probe from a caustic."""


def magnification(physics: Physics) -> list[Check]:
    """Light of a small lensed source over its unlensed light, against the closed form."""
    sigma = small_sigma_arcsec(physics.supersampling)
    lenses = [case[1] for case in MAGNIFICATION_CASES]
    recipes = lens_probe(physics, lenses, x=[c[2] for c in MAGNIFICATION_CASES], y=[c[3] for c in MAGNIFICATION_CASES])
    images = physics.trace(gaussian(sigma), recipes)[:, 0]
    rows = []
    for (label, lens, x, y), image in zip(MAGNIFICATION_CASES, images, strict=True):
        expected, centroid_x, centroid_y = lens.gaussian_source(x, y, sigma_arcsec=sigma)
        got = moments(image, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC)
        rows.append(
            close(
                "magnification",
                f"magnification of a small source, {label}",
                expected=expected,
                got=got["flux"],
                allowed=0.01 * expected,
                why="arcs are too bright or too faint: theta_E's convention, or lensed flux renormalised",
            )
        )
        off = float(np.hypot(got["x"] - centroid_x, got["y"] - centroid_y))
        rows.append(
            at_most(
                "magnification",
                f"its images' centroid from the lens equation's, {label}",
                expected=0,
                got=off,
                limit=0.02,
                unit='"',
                why="images in the wrong place: x and y, phi or the ellipticity's convention",
            )
        )
    return rows


def lens_probe(physics: Physics, lenses: list[Isothermal], *, x: list[float], y: list[float]) -> RecipeBatch:
    """Recipes of centred ``lenses`` with sources at (x, y)."""
    return probe_recipes(
        physics.cutouts,
        theta_e_arcsec=np.array([lens.theta_e_arcsec for lens in lenses]),
        axis_ratio=np.array([lens.axis_ratio for lens in lenses]),
        phi_rad=np.array([lens.phi_rad for lens in lenses]),
        source_x_arcsec=np.array(x),
        source_y_arcsec=np.array(y),
    )


RING_SIGMA_ARCSEC = 0.25
RING_ANGLES = 72
RING_AXIS_RATIOS = (1.0, 0.8, 0.6)
RING_PHI_RAD = 0.6


def ring_lenses(physics: Physics) -> list[Isothermal]:
    """A round lens and two flattened ones whose rings fill half the frame."""
    theta_e = 0.24 * physics.half_size_arcsec
    return [Isothermal(theta_e, q, RING_PHI_RAD) for q in RING_AXIS_RATIOS]


def ring_images(physics: Physics) -> np.ndarray:
    """(lenses, N, N) rings of a centred round source, before the PSF."""
    lenses = ring_lenses(physics)
    recipes = lens_probe(physics, lenses, x=[0.0] * len(lenses), y=[0.0] * len(lenses))
    return physics.trace(gaussian(max(RING_SIGMA_ARCSEC, smooth_sigma_arcsec(physics.supersampling))), recipes)[:, 0]


def ridge_radius(image: np.ndarray, angle_rad: np.ndarray) -> np.ndarray:
    """(A,) arcsec: mean radius of the light along rays at ``angle_rad``, by cubic interpolation.

    Along a ray the ring of an isothermal lens is the source's own profile, symmetric about the radial deflection.
    """
    radius = np.arange(0.4, 0.98 * 0.5 * len(image), 0.05)
    middle = (len(image) - 1) / 2
    rows, columns = (middle + radius * trig(angle_rad)[:, None] for trig in (np.sin, np.cos))
    light = map_coordinates(image, [rows, columns], order=3)
    return (light * radius).sum(axis=1) / light.sum(axis=1) * PIXEL_SCALE_ARCSEC


def einstein_ring(physics: Physics) -> list[Check]:
    """theta_E that the ring implies (mean radius over the closed form's), its semi-axes, and where it points."""
    angles = np.arange(RING_ANGLES) * (2 * np.pi / RING_ANGLES)
    name = "einstein_ring"
    rows = []
    for lens, image in zip(ring_lenses(physics), ring_images(physics), strict=True):
        measured, formula = ridge_radius(image, angles), lens.ring_radius(angles)
        theta_e, q = lens.theta_e_arcsec, lens.axis_ratio
        label = "radius of the ring, q = 1" if q == 1 else f"theta_E of the ring, q = {q}"
        rows.append(
            close(
                name,
                label + ("" if q == 1 else " (geometric mean)"),
                expected=theta_e,
                got=theta_e * float(measured.mean() / formula.mean()),
                allowed=0.005 * theta_e,
                unit='"',
                why="theta_E is not the geometric-mean radius: sqrt(q) missing is 12% at q = 0.8, 29% at q = 0.6",
            )
        )
        if q < 1:
            axes = lens.phi_rad + np.array([0, np.pi, np.pi / 2, -np.pi / 2])
            got, want = ridge_radius(image, axes).reshape(2, 2).mean(axis=1), lens.ring_radius(axes[[0, 2]])
            for i, label in enumerate(("along the mass's major axis", "across it")):
                rows.append(
                    close(
                        name,
                        f"semi-axis {label}, q = {q}",
                        expected=float(want[i]),
                        got=float(got[i]),
                        allowed=0.01 * theta_e,
                        unit='"',
                        why="axis ratio or its convention, (1-q)/(1+q) or (1-q^2)/(1+q^2), or phi is wrong",
                    )
                )
    return rows


def orientation(physics: Physics) -> list[Check]:
    """Asymmetric sources and pure shear: x, y, rotation, g1, g2 and the shear's centre, each with its sign."""
    return _blob_positions(physics) + _pure_shear(physics) + _mass_angle(physics)


def _blob_positions(physics: Physics) -> list[Check]:
    """Centroid of two unequal blobs, unlensed, turned by some angles."""
    sigma = smooth_sigma_arcsec(physics.supersampling)
    rotation = np.array([0.0, 0.5, 2.2])
    x, y = np.array([1.4, -1.1, 0.3]), np.array([0.5, 0.9, -1.6])
    recipes = probe_recipes(physics.cutouts, source_x_arcsec=x, source_y_arcsec=y, source_rotation_rad=rotation)
    images = physics.trace(blobs(sigma), recipes)[:, 0]
    got = [moments(image, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC) for image in images]
    dx, dy = (BLOB_SHARE * offset for offset in BLOB_OFFSET_ARCSEC)
    want_x = x + np.cos(rotation) * dx - np.sin(rotation) * dy
    want_y = y + np.sin(rotation) * dx + np.cos(rotation) * dy
    rows = []
    for i in range(len(x)):
        off = float(np.hypot(got[i]["x"] - want_x[i], got[i]["y"] - want_y[i]))
        quantity = (
            f"centroid of an asymmetric source turned by {np.degrees(rotation[i]):.0f} deg, from where it belongs"
        )
        why = "source transposed, flipped, turned the wrong way, or off by half a pixel (0.015 or 0.131 arcsec)"
        rows.append(at_most("orientation", quantity, expected=0, got=off, limit=0.005, unit='"', why=why))
    return rows


def _pure_shear(physics: Physics) -> list[Check]:
    """Shape and place of a round source under g1 or g2 alone, with the lens off the frame's centre."""
    sigma, shear = max(0.3, smooth_sigma_arcsec(physics.supersampling)), 0.12
    g1, g2 = np.array([shear, 0.0, -0.05]), np.array([0.0, shear, -0.09])
    x, y = np.array([0.8, 0.8, -0.5]), np.array([0.4, 0.4, 0.9])
    recipes = probe_recipes(
        physics.cutouts,
        gamma1=g1,
        gamma2=g2,
        source_x_arcsec=x,
        source_y_arcsec=y,
        lens_x_arcsec=0.4,
        lens_y_arcsec=-0.3,
    )
    images = physics.trace(gaussian(sigma), recipes)[:, 0]
    pixel = PIXEL_SCALE_ARCSEC**2 / 12
    variance = sampled_variance_arcsec2(sigma, supersampling=physics.supersampling)
    rows = []
    for i, image in enumerate(images):
        got = moments(image, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC)
        inverse = np.linalg.inv(np.array([[1 - g1[i], -g2[i]], [-g2[i], 1 + g1[i]]]))
        place = inverse @ (x[i], y[i])
        want = variance * inverse @ inverse.T + pixel * np.eye(2)
        trace = want[0, 0] + want[1, 1]
        label = f"g = ({g1[i]:g}, {g2[i]:g})"
        for component, expected, measured in (
            ("e1", (want[0, 0] - want[1, 1]) / trace, (got["xx"] - got["yy"]) / (got["xx"] + got["yy"])),
            ("e2", 2 * want[0, 1] / trace, 2 * got["xy"] / (got["xx"] + got["yy"])),
        ):
            why = "shear's sign or components: g1 > 0 stretches along x, g2 > 0 along the diagonal"
            quantity = f"{component} of a round source under shear {label}"
            rows.append(close("orientation", quantity, expected=expected, got=measured, allowed=5e-3, why=why))
        off = float(np.hypot(got["x"] - place[0], got["y"] - place[1]))
        why = "shear taken about the lens instead of the frame's centre, or its sign"
        quantity = f"place of the source under shear {label}"
        rows.append(at_most("orientation", quantity, expected=0, got=off, limit=0.005, unit='"', why=why))
    return rows


def _mass_angle(physics: Physics) -> list[Check]:
    """The ring of a flattened lens is longest across the mass's major axis."""
    angles = np.arange(RING_ANGLES) * (2 * np.pi / RING_ANGLES)
    rows = []
    for lens, image in list(zip(ring_lenses(physics), ring_images(physics), strict=True))[1:]:
        wave = (ridge_radius(image, angles) * np.exp(2j * angles)).sum()
        across = np.degrees(0.5 * np.angle(-wave)) % 180
        why = "phi is not counter-clockwise from +x, or x and y are exchanged"
        quantity = f"position angle of the mass from its ring, q = {lens.axis_ratio}"
        rows.append(
            close(
                "orientation",
                quantity,
                expected=np.degrees(lens.phi_rad),
                got=across,
                allowed=0.5,
                unit="deg",
                why=why,
            )
        )
    return rows


def reference_recipe_arcs(physics: Physics, supersampling: int | None) -> np.ndarray:
    """(n_reference, bands, N, N) unit arcs of the first recipes with ``supersampling`` rays an axis (None: as set)."""
    recipes = physics.stamps.recipes.take(np.arange(min(physics.n_reference, len(physics.stamps))))
    renderer = physics.renderer(physics.source, supersampling=supersampling)
    return renderer.observe(renderer.trace(recipes), recipes=recipes).double().numpy()


def convergence(physics: Physics) -> list[Check]:
    """Error of the configured supersampling against 16 rays an axis, on the user's own recipes."""
    chosen = physics.config.renderer.supersampling
    finest = reference_recipe_arcs(physics, FINEST)
    errors = difference_over_peak(reference_recipe_arcs(physics, None), finest).max(axis=1)
    allowed = SAMPLING_ALLOWED
    if chosen == "adaptive":  # its error is stated before the PSF, which smooths it
        stated = physics.config.renderer.max_error
        usual, allowed = (stated, stated), (stated, 2 * stated)
    else:
        usual = SAMPLING_ERROR.get(physics.source.name, SAMPLING_ERROR["clumpy"])[chosen]
    rays = chosen if chosen == "adaptive" else f"{chosen} x {chosen}"
    rows = []
    for label, statistic, expected, limit in zip(
        ("median", "worst"), (np.median(errors), errors.max()), usual, allowed, strict=True
    ):
        rows.append(
            at_most(
                "convergence",
                f"error of {rays} rays against {FINEST} x {FINEST}, {label} of {len(errors)} arcs, / peak",
                expected=expected,
                got=float(statistic),
                limit=limit,
                why="rays too sparse for the source: give renderer.supersampling=4 or more",
            )
        )
    return rows
