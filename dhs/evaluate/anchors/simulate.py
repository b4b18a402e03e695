"""`anchors=simulated`: the published lenses built in the mock sky. SIMULATED, and labelled so wherever they appear.

What is the lens's own: theta_E (published, else that of an isothermal sphere of the measured sigma_v) and redshifts.
What is assumed: the host is a mock LRG of r_mag where the list has it, else of the luminosity that sigma_v stands for
(`dhs.lens.velocity_dispersion.expected_absolute_r_mag`), with an elliptical's colours at z_lens; shape, field and noise
are drawn; seeing and depth are those of a galaxy of the run's own sky, drawn at random; source, its place and its
magnitudes come from the priors of the training run, without its acceptance cuts. So it tells how a finder does on
lenses *of these sizes* under this survey's conditions, in its own simulated world, and nothing about real arcs.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from dhs.config.anchors import SimulatedAnchors
from dhs.config.injection import MoffatPsf, SurveyPsf
from dhs.config.root import InjectionRoot
from dhs.config.sky import MockSky
from dhs.constants import BANDS, SPLITS
from dhs.early_types import apparent_mags
from dhs.evaluate.cutout_items import RecipeItems
from dhs.evaluate.visibility import sis_theta_e_arcsec
from dhs.inject.colour import draw_magnitudes, source_magnitudes
from dhs.inject.painter import Painter
from dhs.inject.prior import draw_geometry
from dhs.inject.psf_model import with_psf_ellipticity
from dhs.inject.recipe import RecipeBatch, recipes_from
from dhs.inject.renderer import build_renderer
from dhs.inject.strength import build_strength, galaxies_of
from dhs.inject.supply import Galaxies
from dhs.lens.velocity_dispersion import LENS_ABSOLUTE_R_MAG, expected_absolute_r_mag, isothermal_sigma_km_s
from dhs.rng import Purpose, derived_rng, keyed_rng, stable_hash
from dhs.sky.anchors import AnchorList
from dhs.sky.cutouts import CutoutSet
from dhs.sky.mock import MockGalaxy, draw_mock_lrg
from dhs.sky.mock_conditions import Conditions
from dhs.source.base import Source


@dataclass(frozen=True)
class Published:
    """N lenses of a list: what can be built, and of what."""

    anchors: AnchorList
    theta_e_arcsec: np.ndarray
    """(N,) NaN where unknown."""
    mags: np.ndarray
    """(N, 3) g, r, z of the host, assumed or shifted to the list's r_mag."""
    assumed: np.ndarray
    """(N,) str: what the list does not say."""
    reason: np.ndarray
    """(N,) str: why a lens cannot be built, '' where it can."""

    @property
    def buildable(self) -> np.ndarray:
        """(K,) places of those that can be built."""
        return np.flatnonzero(self.reason == "")


def published(anchors: AnchorList) -> Published:
    """What ``anchors`` say of themselves, and what is taken in its place."""
    theta_e = np.where(np.isfinite(anchors.theta_e_arcsec), anchors.theta_e_arcsec, sis_theta_e_arcsec(anchors))
    isothermal = isothermal_sigma_km_s(anchors.theta_e_arcsec, z_lens=anchors.z_lens, z_source=anchors.z_source)
    sigma = np.where(np.isfinite(anchors.sigma_v_km_s), anchors.sigma_v_km_s, isothermal)
    luminosity = np.where(np.isfinite(sigma), expected_absolute_r_mag(sigma), LENS_ABSOLUTE_R_MAG)
    mags = apparent_mags(luminosity, redshift=anchors.z_lens)
    given = np.isfinite(anchors.r_mag)
    mags = mags + np.where(given, anchors.r_mag - mags[:, BANDS.index("r")], 0.0)[:, None]
    assumed, reasons = [], []
    for i in range(len(anchors)):
        words = ["colours"] if given[i] else ["magnitudes"]
        if not np.isfinite(anchors.theta_e_arcsec[i]):
            words.append("theta_E (isothermal, from sigma_v)")
        assumed.append(", ".join(words))
        reasons.append(_unbuildable(str(anchors.kind[i]), float(theta_e[i]), float(anchors.z_lens[i])))
    return Published(anchors, theta_e, mags, np.array(assumed), np.array(reasons, dtype=object).astype(str))


def _unbuildable(kind: str, theta_e_arcsec: float, z_lens: float) -> str:
    if kind != "lens":
        return f"not a lens: {kind}"
    if not np.isfinite(theta_e_arcsec):
        return "neither theta_E nor sigma_v with both redshifts"
    return "" if np.isfinite(z_lens) else "no redshift of the lens"


def simulated_items(
    lenses: Published,
    *,
    chosen: SimulatedAnchors,
    config: InjectionRoot,
    source: Source,
    sky: Galaxies,
    stamp_size_px: int,
) -> RecipeItems:
    """The stamps of every lens that can be built, ``chosen.realisations`` of each in turn.

    ``sky`` gives seeing and depth: a galaxy of it is drawn for each stamp. ValueError where nothing can be built.
    """
    which = np.repeat(lenses.buildable, chosen.realisations)
    if len(which) == 0:
        raise ValueError(f"anchors = simulated: {lenses.anchors.origin} has no lens with theta_E and a redshift")
    turn = np.tile(np.arange(chosen.realisations), len(lenses.buildable))
    rngs = [
        keyed_rng(chosen.seed, Purpose.ANCHORS, int(t), _number(lenses, i)) for i, t in zip(which, turn, strict=True)
    ]
    hosts = draw_hosts(lenses, which=which, rngs=rngs, sky=sky, mock=_mock_sky(config, size_px=stamp_size_px))
    psf = MoffatPsf.model_validate({"name": "moffat"}) if isinstance(config.psf, SurveyPsf) else config.psf
    hosts = with_psf_ellipticity(hosts, psf=psf)
    renderer = build_renderer(config.renderer, source=source, psf=psf, size_px=stamp_size_px)
    painter = Painter(hosts, renderer=renderer, source=source, lens=config.lens, inject=config.inject)
    numbers = [_number(lenses, i) for i in which]
    recipes = _recipes(
        hosts,
        theta_e=lenses.theta_e_arcsec[which],
        z_source=lenses.anchors.z_source[which],
        chosen=chosen,
        turn=turn,
        number=numbers,
        config=config,
        source=source,
    )
    recipes = replace(recipes, z_lens=lenses.anchors.z_lens[which], z_source=lenses.anchors.z_source[which])
    fwhm_r = hosts.psf_fwhm_arcsec[:, BANDS.index("r")]
    columns = {
        "lens": lenses.anchors.name[which],
        "survey": lenses.anchors.survey[which],
        "theta_e_arcsec": lenses.theta_e_arcsec[which].astype(np.float32),
        "theta_e_over_psf": (lenses.theta_e_arcsec[which] / fwhm_r).astype(np.float32),
        "lens_r_mag": lenses.mags[which, BANDS.index("r")].astype(np.float32),
        "assumed": lenses.assumed[which],
    }
    return RecipeItems(painter, recipes, columns=columns, identity=_identity(lenses, chosen=chosen, sky=sky))


def draw_hosts(
    lenses: Published, *, which: np.ndarray, rngs: list[np.random.Generator], sky: Galaxies, mock: MockSky
) -> CutoutSet:
    """The mock galaxies of the lenses ``which`` (P,), each under the seeing and depth of a galaxy of ``sky``."""
    import galsim

    galsim.set_omp_threads(1)
    fwhm, depth = np.asarray(sky.psf_fwhm_arcsec), np.asarray(sky.psf_depth_mag)
    known = np.flatnonzero(np.isfinite(fwhm).all(axis=1) & np.isfinite(depth).all(axis=1))
    if len(known) == 0:
        raise ValueError("anchors = simulated: no galaxy of the run's sky has a seeing and depth in every band")
    drawn = []
    for i, rng in zip(which, rngs, strict=True):
        row = known[int(rng.random() * len(known))]
        drawn.append(
            draw_mock_lrg(
                mock,
                rng=rng,
                mags=lenses.mags[i],
                redshift=float(lenses.anchors.z_lens[i]),
                conditions=Conditions(
                    float(lenses.anchors.ra_deg[i]), float(lenses.anchors.dec_deg[i]), fwhm[row], depth[row]
                ),
            )
        )
    return _cutouts(drawn)


def _cutouts(drawn: list[MockGalaxy]) -> CutoutSet:
    columns = {name: np.stack([getattr(galaxy, name) for galaxy in drawn]) for name in vars(drawn[0])}
    sigma, no_data = columns.pop("noise_sigma_nmgy"), columns.pop("no_data")
    invvar = np.where(no_data, 0.0, (sigma**-2.0)[:, :, None, None]).astype(np.float32)
    n = len(drawn)
    single = ("axis_ratio", "position_angle_rad", "redshift", "centre_x_arcsec", "centre_y_arcsec")
    return CutoutSet(
        target_id=np.arange(n, dtype=np.int64),
        images=columns.pop("image"),
        invvar=invvar,
        split=np.full(n, SPLITS.index("test"), np.int8),
        kind=columns.pop("kind").astype(np.int8),
        **{name: values.astype(np.float32) if name in single else values for name, values in columns.items()},
    )


def _recipes(
    hosts: CutoutSet,
    *,
    theta_e: np.ndarray,
    z_source: np.ndarray,
    chosen: SimulatedAnchors,
    turn: np.ndarray,
    number: list[int],
    config: InjectionRoot,
    source: Source,
) -> RecipeBatch:
    rows = np.arange(len(hosts))
    own = (Purpose.LENS_OF_ANCHOR, Purpose.PHOTOMETRY)
    geometry_rngs, photometry_rngs = (
        [derived_rng(chosen.seed, purpose, int(t), i, of=Purpose.ANCHORS) for t, i in zip(turn, number, strict=True)]
        for purpose in own
    )
    geometry = draw_geometry(
        geometry_rngs,
        galaxies=galaxies_of(hosts, rows),
        lens=config.lens,
        strength=build_strength(config.lens),
        choose_source=source.choose,
        given={"theta_e_arcsec": np.asarray(theta_e, np.float64)},
    )
    own_mag = source_magnitudes(source, colour=config.colour)
    mags = draw_magnitudes(
        photometry_rngs,
        colour=config.colour,
        n_draws=1,
        z_source=z_source,
        own_mag=None if own_mag is None else own_mag[geometry.source_index],
    )[:, 0]
    recipes = recipes_from(hosts, rows, geometry=geometry, source_mag=mags)
    keys = np.zeros((len(rows), 4), np.int64)
    keys[:, 0], keys[:, 1], keys[:, 2], keys[:, 3] = chosen.seed, int(Purpose.ANCHORS), turn, number
    return replace(recipes, key=keys)


def _number(lenses: Published, i: int) -> int:
    """Of a lens in random streams: its name's, so that a list may grow."""
    return stable_hash(str(lenses.anchors.name[i])) >> 8


def _mock_sky(config: InjectionRoot, *, size_px: int) -> MockSky:
    """Field and noise: the run's own where it was trained on a mock sky."""
    if isinstance(config.sky, MockSky):
        return config.sky
    settings = {"name": "mock", "n_galaxies": 20, "seed": 0, "class_weights": {}, "split": {}}
    return MockSky.model_validate(settings | {"stamp_size_px": size_px})


def _identity(lenses: Published, *, chosen: SimulatedAnchors, sky: Galaxies) -> str:
    digest = hashlib.sha256(chosen.model_dump_json().encode())
    for values in (*vars(lenses.anchors).values(), sky.psf_fwhm_arcsec, sky.psf_depth_mag):
        digest.update(str(np.asarray(values).tolist()).encode())
    return digest.hexdigest()
