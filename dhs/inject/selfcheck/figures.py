"""The self-check's pictures: what the numbers of the table were measured on. Object API only, no pyplot.

Images have +x to the right and +y upwards; crosses and curves are formulae (`dhs.inject.selfcheck.analytic`),
drawn over what the renderer made.
"""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.display import rgb
from dhs.inject.selfcheck import lensing, light, psf
from dhs.inject.selfcheck.noise import MAX_LAG_PX, arc_noise, autocorrelation, expected_lag1
from dhs.inject.selfcheck.physics import Physics
from dhs.inject.selfcheck.probes import (
    BLOB_OFFSET_ARCSEC,
    blobs,
    gaussian,
    probe_recipes,
    small_sigma_arcsec,
    smooth_sigma_arcsec,
)

DPI = 120
BAND_COLOURS = {"g": "#0072B2", "r": "#D55E00", "z": "#6b3fa0"}
INK, MUTED, GRID, ACCENT = "#1a1a1a", "#6b6b6b", "#e4e4e4", "#56B4E9"
N_SHOWN = 3
N_STAMPS = 8


def figures(physics: Physics) -> dict[str, tuple[Figure, str]]:
    """Every picture of the page with its caption, by name."""
    makers: dict[str, Callable[[Physics], tuple[Figure, str]]] = {
        "stamps": stamps,
        "lenstronomy": lenstronomy,
        "convergence": convergence,
        "rings": rings,
        "images": images_of_small_sources,
        "orientation": orientation,
        "point source": point_source,
        "colours": colours,
        "brightness": brightness,
        "noise": noise,
    }
    if physics.config.inject.arc_noise == "none":
        del makers["noise"]
    if not lensing.lenstronomy_installed():
        del makers["lenstronomy"]
    return {name: make(physics) for name, make in makers.items()}


def lenstronomy(physics: Physics) -> tuple[Figure, str]:
    """Ours, lenstronomy's, and the residual a hundred thousand times enlarged."""
    recipes = physics.stamps.recipes.take(np.arange(min(N_SHOWN, physics.n_reference)))
    _, _, ours, theirs = lensing.reference_images(physics, recipes)
    figure = Figure(figsize=(6.4, 2.05 * len(recipes)), layout="constrained")
    grid = figure.subplots(len(recipes), 3, squeeze=False)
    band = BANDS.index("r")
    for row, (axes, left, right) in enumerate(zip(grid, ours[:, band], theirs[:, band], strict=True)):
        peak = right.max()
        norm = AsinhNorm(0.03, 0, 1)
        for ax, image in zip(axes, (left / peak, right / peak), strict=False):
            _image(ax, image, norm=norm)
        shown = _image(axes[2], 1e5 * (left - right) / peak, norm=Normalize(-1, 1), cmap="RdBu_r")
        bar = figure.colorbar(shown, ax=axes[2], fraction=0.05, pad=0.02)
        bar.ax.tick_params(labelsize=7)
        caption = f"theta_E {recipes.theta_e_arcsec[row]:.2f}, q {recipes.axis_ratio[row]:.2f}"
        axes[0].set_ylabel(caption, fontsize=8)
        worst = np.abs(left - right).max() / peak
        axes[2].set_xlabel(f"largest {worst:.1e} of the peak", fontsize=8)
    for ax, title in zip(grid[0], ("ours", "lenstronomy", "(ours - lenstronomy) / peak x 1e5"), strict=True):
        ax.set_title(title, fontsize=9)
    caption = (
        f"r band after the PSF, asinh stretch, the first {len(recipes)} recipes of your priors. The residual's colour "
        "scale ends at 1e-5 of the peak, the limit of the check."
    )
    return figure, caption


def rings(physics: Physics) -> tuple[Figure, str]:
    """Rings of a centred source under the critical curve and the ridge."""
    lenses, images = lensing.ring_lenses(physics), lensing.ring_images(physics)
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    angles = np.linspace(0, 2 * np.pi, 181)
    dots = np.arange(0, 2 * np.pi, np.pi / 18)
    for ax, lens, image in zip(figure.subplots(1, len(lenses)), lenses, images, strict=True):
        _image(ax, image / image.max(), norm=Normalize(0, 1.6), cmap="gray")
        critical, ridge, measured = (
            lens.critical_radius(angles),
            lens.ring_radius(angles),
            lensing.ridge_radius(image, dots),
        )
        ax.plot(
            critical * np.cos(angles), critical * np.sin(angles), color=ACCENT, lw=1.4, label="critical curve, formula"
        )
        ax.plot(ridge * np.cos(angles), ridge * np.sin(angles), color="#F0E442", lw=1.2, label="ridge, formula")
        ax.plot(measured * np.cos(dots), measured * np.sin(dots), "o", color="#D55E00", ms=3, label="ridge, measured")
        _zoom(ax, 1.9 * lens.theta_e_arcsec)
        implied = lens.theta_e_arcsec * lensing.ridge_radius(image, dots).mean() / lens.ring_radius(dots).mean()
        ax.set_title(f'q = {lens.axis_ratio:g}: theta_E {lens.theta_e_arcsec:.4f}", ring {implied:.4f}"', fontsize=8.5)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, facecolor="#444444", labelcolor="w")
    caption = (
        "A centred round source behind a round and two flattened lenses, before the PSF. The ring of a flattened lens "
        "follows the radial deflection (yellow), not the critical curve (blue), whose geometric-mean radius is theta_E."
    )
    return figure, caption


def images_of_small_sources(physics: Physics) -> tuple[Figure, str]:
    """Images of small sources with the lens equation's solutions."""
    cases = lensing.MAGNIFICATION_CASES
    lenses = [case[1] for case in cases]
    recipes = lensing.lens_probe(physics, lenses, x=[c[2] for c in cases], y=[c[3] for c in cases])
    images = physics.trace(gaussian(small_sigma_arcsec(physics.supersampling)), recipes)[:, 0]
    figure = Figure(figsize=(10.5, 2.5), layout="constrained")
    angles = np.linspace(0, 2 * np.pi, 181)
    for ax, (label, lens, x, y), image in zip(figure.subplots(1, len(cases)), cases, images, strict=True):
        _image(ax, image / image.max(), norm=AsinhNorm(0.02, 0, 1))
        radius = lens.critical_radius(angles)
        ax.plot(radius * np.cos(angles), radius * np.sin(angles), color=ACCENT, lw=0.8)
        image_x, image_y, mu = lens.images(x, y)
        ax.scatter(image_x, image_y, s=60, facecolors="none", edgecolors="#E69F00", lw=1.0)
        for px, py, m in zip(image_x, image_y, mu, strict=True):
            ax.annotate(f"{m:.2f}", (px, py), xytext=(6, 4), textcoords="offset points", color="w", fontsize=7)
        ax.plot(x, y, "+", color="#009E73", ms=6)
        expected = lens.gaussian_source(x, y, sigma_arcsec=small_sigma_arcsec(physics.supersampling))[0]
        _zoom(ax, 3.6)
        ax.set_title(label, fontsize=8)
        ax.set_xlabel(f"mu {image.sum():.3f}, formula {expected:.3f}", fontsize=8)
    caption = (
        "Small sources (green cross: where they are) and their images. Circles: solutions of the lens equation, with "
        "the magnification 1 / |1 - 2 kappa| of each; blue: critical curve. Below: total light over the unlensed light."
    )
    return figure, caption


def orientation(physics: Physics) -> tuple[Figure, str]:
    """Two unequal blobs turned, and a round source under g1 and g2."""
    rotation = np.array([0.0, 0.5, 2.2])
    turned = physics.trace(
        blobs(smooth_sigma_arcsec(physics.supersampling)),
        probe_recipes(physics.cutouts, source_rotation_rad=rotation),
    )[:, 0]
    g1, g2 = np.array([0.12, 0.0]), np.array([0.0, 0.12])
    sheared = physics.trace(gaussian(0.3), probe_recipes(physics.cutouts, gamma1=g1, gamma2=g2))[:, 0]
    figure = Figure(figsize=(10.5, 2.4), layout="constrained")
    axes = figure.subplots(1, 5)
    for ax, image, angle in zip(axes, turned, rotation, strict=False):
        _image(ax, image / image.max(), norm=AsinhNorm(0.3, 0, 1))
        dx, dy = BLOB_OFFSET_ARCSEC
        ax.plot([0], [0], "+", color="#009E73", ms=8)
        at = np.cos(angle) * dx - np.sin(angle) * dy, np.sin(angle) * dx + np.cos(angle) * dy
        ax.plot(*at, "o", mfc="none", mec="#E69F00", ms=9)
        ax.set_title(f"source turned by {np.degrees(angle):.0f} deg", fontsize=8)
        _zoom(ax, 1.8)
    for ax, image, shear in zip(axes[3:], sheared, zip(g1, g2, strict=True), strict=True):
        _image(ax, image / image.max(), norm=AsinhNorm(0.3, 0, 1))
        inverse = np.linalg.inv(np.array([[1 - shear[0], -shear[1]], [-shear[1], 1 + shear[0]]]))
        circle = np.stack([np.cos(np.linspace(0, 2 * np.pi, 91)), np.sin(np.linspace(0, 2 * np.pi, 91))])
        ax.plot(*(inverse @ (0.6 * circle)), color=ACCENT, lw=1)
        ax.set_title(f"g = ({shear[0]:g}, {shear[1]:g})", fontsize=8)
        _zoom(ax, 1.8)
    caption = (
        "Orientation, x to the right and y up. Left: a bright blob at the centre and a fainter one at (0.6, 0.2) "
        "arcsec, turned counter-clockwise; circles: where it belongs. Right: a round source under shear alone; curve: "
        "the formula."
    )
    return figure, caption


def point_source(physics: Physics) -> tuple[Figure, str]:
    """One point source in three bands, its profile, and the formula."""
    row = int(np.ptp(np.asarray(physics.cutouts.psf_fwhm_arcsec), axis=1).argmax())  # bands well apart
    x, y = psf.POSITIONS_ARCSEC[1]
    sigma = smooth_sigma_arcsec(physics.supersampling)
    recipes = probe_recipes(physics.cutouts, rows=np.array([row]), source_x_arcsec=x, source_y_arcsec=y)
    images = physics.observe(gaussian(sigma), recipes)[0]
    source = psf.point_source_at(physics, x=x, y=y)
    figure = Figure(figsize=(10.5, 2.9), layout="constrained")
    *panels, profile = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.7))
    axis = _axis(physics.size_px)
    radius = np.hypot(axis - x, axis[:, None] - y).ravel()
    order = np.argsort(radius)
    for ax, band, image in zip(panels, BANDS, images, strict=True):
        fwhm = float(recipes.psf_fwhm_arcsec[0, BANDS.index(band)])
        _image(ax, image / image.max(), norm=AsinhNorm(0.003, 0, 1))
        ax.axhline(y, color=ACCENT, lw=0.6)
        ax.axvline(x, color=ACCENT, lw=0.6)
        _zoom(ax, 6.0)
        shift = psf.windowed_centroid_arcsec(image, x=x, y=y, sigma_arcsec=fwhm / 2.355)
        off = np.hypot(shift[0] - x, shift[1] - y) / PIXEL_SCALE_ARCSEC
        ax.set_title(f'{band}: FWHM {fwhm:.2f}", off by {off:.0e} px', fontsize=8)
        expected = psf.expected_image(physics, recipes, i=0, band=BANDS.index(band), source=source)
        model = expected(fwhm_arcsec=fwhm).ravel()
        colour = BAND_COLOURS[band]
        near = radius < 5
        profile.plot(radius[near], image.ravel()[near], ".", color=colour, ms=2.5, label=f"{band}, rendered")
        line = order[near[order]]
        profile.plot(radius[line], model[line], color=INK, lw=0.6, label="formula" if band == BANDS[-1] else None)
    profile.set(yscale="log", xlabel="distance from the source (arcsec)", ylabel="flux per pixel", ylim=(1e-6, None))
    profile.legend(fontsize=7, frameon=False)
    _tidy(profile)
    convention = physics.config.psf.convention
    caption = (
        "A point source (a small Gaussian) in g, r, z of one galaxy; the lines cross where it is. Right: every "
        f"pixel against its distance, and the formula ({convention} {physics.config.psf.name}, pixel counted once)."
    )
    return figure, caption


def convergence(physics: Physics) -> tuple[Figure, str]:
    """Error against the number of rays."""
    finest = lensing.reference_recipe_arcs(physics, lensing.FINEST)
    rays = (1, 2, 4, 6, 8)
    arcs = [lensing.reference_recipe_arcs(physics, n) for n in rays]
    errors = np.array([lensing.difference_over_peak(images, finest).max(axis=1) for images in arcs])
    chosen = physics.config.renderer.supersampling
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    ax = figure.subplots()
    ax.plot(rays, errors, color="#c9ced6", lw=0.7)
    ax.plot(rays, np.median(errors, axis=1), "o-", color="#0072B2", label="median")
    ax.plot(rays, errors.max(axis=1), "s--", color="#D55E00", label="worst")
    for limit, colour in zip(lensing.SAMPLING_ALLOWED, ("#0072B2", "#D55E00"), strict=True):
        ax.axhline(limit, color=colour, lw=0.8, ls=":")
    if chosen != "adaptive":
        ax.axvspan(chosen * 0.93, chosen * 1.07, color="#f0f0f0", zorder=0)
    ax.set(xscale="log", yscale="log", xlabel="rays an axis and pixel", ylabel="max |error| / peak, after the PSF")
    ax.set_xticks(rays)
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize=8, frameon=False)
    _tidy(ax)
    caption = (
        f"Error of N x N rays against {lensing.FINEST} x {lensing.FINEST} on {errors.shape[1]} of your recipes (grey). "
        f"Shaded: configured ({chosen}). Dotted: what the check allows."
    )
    return figure, caption


def colours(physics: Physics) -> tuple[Figure, str]:
    """Colours asked for and measured back."""
    physics = physics.without_noise
    asked, got = light.colours_asked(physics), light.colours_got(physics)
    figure = Figure(figsize=(6.4, 3.3), layout="constrained")
    for ax, i, label in zip(figure.subplots(1, 2), (0, 1), ("g - r", "r - z"), strict=True):
        span = np.array([np.nanmin(asked[:, i]) - 0.15, np.nanmax(asked[:, i]) + 0.15])
        ax.plot(span, span, color=MUTED, lw=0.8)
        ax.plot(asked[:, i], got[:, i], "o", color="#0072B2", ms=3.5, alpha=0.7)
        ax.set(xlabel=f"{label} asked for (mag)", ylabel=f"{label} of the arc (mag)", xlim=span, ylim=span)
        ax.set_aspect("equal")
        _tidy(ax)
    caption = (
        f"Colours of {len(got)} arcs, measured as stamp minus galaxy, against their recipes (with the light each "
        "band's PSF leaves in the stamp). Arcs on one point would be a shortcut for a network."
    )
    return figure, caption


def brightness(physics: Physics) -> tuple[Figure, str]:
    """Sources, arcs and galaxies in r."""
    physics = physics.without_noise
    band = BANDS.index("r")
    recipes, flux = physics.stamps.recipes, physics.arcs_nmgy[:, band].sum(axis=(-2, -1))
    arc = light.ZERO_POINT_MAG - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
    galaxy = np.asarray(physics.cutouts.mag[recipes.row, band], dtype=np.float64)
    figure = Figure(figsize=(6.4, 3.3), layout="constrained")
    ax = figure.subplots()
    series = (
        ("galaxy", galaxy, "#D55E00"),
        ("arc", arc, "#0072B2"),
        ("unlensed source", recipes.source_mag[:, band], MUTED),
    )
    known = [(label, values[np.isfinite(values)], colour) for label, values, colour in series]
    low = min(values.min() for _, values, _ in known if len(values))
    high = max(values.max() for _, values, _ in known if len(values))
    bins = np.arange(np.floor(low), np.ceil(high) + 0.25, 0.25).tolist()
    for label, values, colour in known:
        if len(values):
            ax.hist(values, bins=bins, histtype="step", lw=1.6, color=colour, label=f"{label} ({len(values)})")
    ax.set(xlabel="r (AB mag)", ylabel="stamps")
    ax.legend(fontsize=8, frameon=False)
    _tidy(ax)
    caption = "Unlensed sources, their arcs (magnified, as added to the stamps) and the galaxies they are put on, in r."
    return figure, caption


def noise(physics: Physics) -> tuple[Figure, str]:
    """Variance of the arcs' noise against its formula, and its correlation beside the coadd's."""
    found = arc_noise(physics)
    figure = Figure(figsize=(6.4, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, band in enumerate(BANDS):
        expected = found.sigma_nmgy[:, i][found.bright[:, i]] ** 2
        squared = found.residual_nmgy[:, i][found.bright[:, i]] ** 2
        parts = np.array_split(np.argsort(expected), 12)
        points = np.array([(expected[part].mean(), squared[part].mean()) for part in parts])
        left.plot(*points.T, "o", ms=3.5, color=BAND_COLOURS[band], label=band)
    span = np.array(left.get_xlim())
    span[0] = max(span[0], points.min() / 3)
    left.plot(span, span, color=MUTED, lw=0.8)
    left.set(xscale="log", yscale="log", xlabel="arc / gain (nMgy$^2$)", ylabel="variance found (nMgy$^2$)")
    lags = np.arange(MAX_LAG_PX + 1)
    arcs = autocorrelation(found.unit, found.bright)
    right.plot(lags, arcs[0], "o-", color="#0072B2", ms=4, label="arc, along x")
    right.plot(lags, arcs[:, 0], "s--", color="#D55E00", ms=4, label="arc, along y")
    right.plot([1], [expected_lag1(physics)], "+", color=INK, ms=11, label="configured")
    right.plot(lags, _sky_correlation(physics), ":", color=MUTED, label="sky of the stamps")
    right.set(xlabel="lag (pixels)", ylabel="correlation", ylim=(-0.15, 1.05))
    for ax in (left, right):
        ax.legend(fontsize=7, frameon=False)
        _tidy(ax)
    caption = (
        "The arcs' own noise: stamp minus galaxy minus noise-free arc. Left: its variance in bins of brightness. "
        "Right: its correlation, beside that of the galaxies' own sky (corners of the stamps)."
    )
    return figure, caption


def _sky_correlation(physics: Physics) -> np.ndarray:
    """Correlation along x of the galaxy stamps' corners, each less its own median."""
    corner = physics.galaxies_nmgy[..., : physics.size_px // 5, : physics.size_px // 5].double().numpy()
    corner = corner - np.median(corner, axis=(-2, -1), keepdims=True)
    spread = 1.4826 * np.median(np.abs(corner), axis=(-2, -1), keepdims=True)
    unit = corner / np.where(spread > 0, spread, 1)
    return autocorrelation(unit, np.abs(unit) < 3)[0]


def stamps(physics: Physics) -> tuple[Figure, str]:
    """Galaxy, arc and both, in the Legacy Survey's colours."""
    shown = min(N_STAMPS, len(physics.stamps))
    rows = {
        "galaxy": physics.galaxies_nmgy[:shown].numpy(),
        "arc": physics.arcs_nmgy[:shown],
        "both": physics.stamps.images[:shown].numpy(),
    }
    figure = Figure(figsize=(10.5, 4.3), layout="constrained")
    grid = figure.subplots(3, shown, squeeze=False)
    for axes, (name, images) in zip(grid, rows.items(), strict=True):
        for ax, image in zip(axes, rgb(images), strict=True):
            ax.imshow(image, origin="lower", interpolation="nearest")
            ax.set(xticks=[], yticks=[])
        axes[0].set_ylabel(name, fontsize=9)
    for i, ax in enumerate(grid[-1]):
        recipes = physics.stamps.recipes
        text = f'{recipes.theta_e_arcsec[i]:.2f}", mu {physics.stamps.magnification[i]:.1f}'
        source = f"r {recipes.source_mag[i, BANDS.index('r')]:.1f}"
        ax.set_xlabel(f"{text}\n{source}, S/N {np.nanmax(physics.stamps.arc_snr_sum[i]):.0f}", fontsize=7.5)
    caption = (
        f"The first {shown} training injections: galaxy, what injection added, the stamp. Legacy Survey viewer's "
        "colours and stretch (Lupton+2004). Below: theta_E, magnification, unlensed r, integrated S/N of the best band."
    )
    return figure, caption


def _axis(size_px: int) -> np.ndarray:
    return (np.arange(size_px) - (size_px - 1) / 2) * PIXEL_SCALE_ARCSEC


def _image(ax: Axes, image: np.ndarray, *, norm: Normalize, cmap: str = "inferno"):  # type: ignore[no-untyped-def]
    half = 0.5 * len(image) * PIXEL_SCALE_ARCSEC
    ax.set(xticks=[], yticks=[])
    return ax.imshow(
        image, origin="lower", extent=(-half, half, -half, half), norm=norm, cmap=cmap, interpolation="nearest"
    )


def _zoom(ax: Axes, half_arcsec: float) -> None:
    ax.set(xlim=(-half_arcsec, half_arcsec), ylim=(-half_arcsec, half_arcsec))


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color=GRID, lw=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=8, colors=INK)
