"""The mistakes of the user's history (SCIENCE section 7) and their relatives, each planted through the interfaces the
program uses: the renderer's protocol, the source's, the injector's. `MISTAKES` names the checks that must notice.

    python -m tests.inject.selfcheck.mistakes     # the table of sizes in docs/conventions.md, measured
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from dhs.config.base import Range
from dhs.config.injection import GaussianPsf, PsfConfig, RendererConfig
from dhs.inject.injector import Injector
from dhs.inject.recipe import RecipeBatch
from dhs.inject.renderer import Renderer, build_renderer
from dhs.inject.selfcheck.physics import Physics, plain_injector
from dhs.inject.stamp_batch import StampBatch
from dhs.lens.photometry import arc_snr
from dhs.rng import Purpose
from dhs.sky.cutouts import CutoutSet
from dhs.source.base import Source, Templates

Change = Callable[[RecipeBatch], RecipeBatch]
Images = torch.Tensor


@dataclass(frozen=True)
class Mistake:
    """What is wrong, how it is planted, and which checks must fail."""

    plant: Callable[[Physics], Physics]
    caught_by: tuple[str, ...]


def same(value):
    return value


@dataclass
class BentRenderer:
    """A renderer with one thing wrong."""

    inner: Renderer
    before_trace: Change = same
    after_trace: Callable[[Images], Images] = same
    before_psf: Change = same
    after_psf: Callable[[Images, Images, Renderer, RecipeBatch], Images] | None = None

    @property
    def n_channels(self) -> int:
        return self.inner.n_channels

    def trace(self, recipes: RecipeBatch) -> Images:
        return self.after_trace(self.inner.trace(self.before_trace(recipes)))

    def observe(self, traced: Images, *, recipes: RecipeBatch) -> Images:
        images = self.inner.observe(traced, recipes=self.before_psf(recipes))
        return images if self.after_psf is None else self.after_psf(images, traced, self.inner, recipes)


def bent(**wrong) -> Callable[[Physics], Physics]:
    """Every renderer of the physics gets ``wrong``."""

    def make(config: RendererConfig, *, source: Source, psf: PsfConfig, **rest) -> Renderer:
        return BentRenderer(build_renderer(config, source=source, psf=psf, **rest), **wrong)

    return lambda physics: replace(physics, make_renderer=make)


def recipe_with(**wrong: Callable[[RecipeBatch], np.ndarray]) -> Change:
    """Recipes with columns replaced on the way to the renderer."""
    return lambda recipes: replace(recipes, **{name: value(recipes) for name, value in wrong.items()})


def lens_with(**wrong: Callable[[RecipeBatch], np.ndarray]) -> Callable[[Physics], Physics]:
    return bent(before_trace=recipe_with(**wrong))


def built_with(
    *,
    config: Callable[[RendererConfig], RendererConfig] = same,
    source: Callable[[Source], Source] = same,
    psf: Callable[[PsfConfig], PsfConfig] = same,
) -> Callable[[Physics], Physics]:
    """Renderers are built from another configuration, source or PSF than asked for."""
    change_config, change_source, change_psf = config, source, psf

    def make(config: RendererConfig, *, source: Source, psf: PsfConfig, **rest) -> Renderer:
        return build_renderer(change_config(config), source=change_source(source), psf=change_psf(psf), **rest)

    return lambda physics: replace(physics, make_renderer=make)


class BentSource:
    """A source with one thing wrong; all else is the inner one's."""

    def __init__(self, inner: Source, *, image=same, support: float = 1.0, half_light: float = 1.0) -> None:
        self._inner, self._image, self._support, self._half_light = inner, image, support, half_light

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    def templates(self, indices: np.ndarray) -> Templates:
        found = self._inner.templates(indices)
        images = self._image(found.each()).contiguous()
        return Templates(images, torch.arange(len(images)), found.support_radius_arcsec * self._support)

    def half_light_radius_arcsec(self, indices: np.ndarray) -> np.ndarray:
        return self._inner.half_light_radius_arcsec(indices) * self._half_light


def source_with(**wrong) -> Callable[[Physics], Physics]:
    """The configured source itself is wrong (the renderer and the table see the same)."""
    return lambda physics: replace(physics, source=BentSource(physics.source, **wrong))


class BentInjector:
    """An injector whose finished stamps have one thing wrong."""

    def __init__(self, inner: Injector, change: Callable[[StampBatch, Images], StampBatch]) -> None:
        self._inner, self._change = inner, change

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    def stamps(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0, measure: bool = False) -> StampBatch:
        batch = self._inner.stamps(indices, purpose=purpose, epoch=epoch, measure=measure)
        galaxies = torch.from_numpy(np.array(self._inner.cutouts.images[batch.recipes.row], dtype=np.float32))
        return self._change(batch, galaxies)


def stamps_with(change: Callable[[StampBatch, Images, CutoutSet], StampBatch]) -> Callable[[Physics], Physics]:
    def make(physics: Physics, cutouts: CutoutSet) -> BentInjector:
        return BentInjector(plain_injector(physics, cutouts), lambda batch, galaxies: change(batch, galaxies, cutouts))

    return lambda physics: replace(physics, make_injector=make)


def arcs_with(change: Callable[[Images], Images]) -> Callable[[Physics], Physics]:
    """Another arc than that of the recipe is added."""
    return stamps_with(lambda batch, galaxies, _: replace(batch, images=galaxies + change(batch.images - galaxies)))


def priors_of(**wrong) -> Callable[[Physics], Physics]:
    """Stamps are drawn from another colour prior than the configured one."""

    def make(physics: Physics, cutouts: CutoutSet) -> Injector:
        config = physics.config
        colour = config.colour.model_copy(update=wrong)
        bad = replace(physics, config=config.model_copy(update={"colour": colour}))
        return plain_injector(bad, cutouts)

    return lambda physics: replace(physics, make_injector=make)


def rolled(band: int, *, rows: int, columns: int):
    def roll(images: Images, *_) -> Images:
        images = images.clone()
        images[:, band] = images[:, band].roll((rows, columns), dims=(-2, -1))
        return images

    return roll


def wrapped(images: Images, traced: Images, inner: Renderer, recipes: RecipeBatch) -> Images:
    """What leaves the stamp on the right enters on the left, as in a circular convolution."""
    half = traced.shape[-1] // 2
    right = torch.zeros_like(traced)
    right[..., :half] = traced[..., -half:]
    out = images.clone()
    out[..., :half] += inner.observe(right, recipes=recipes)[..., half : 2 * half]
    return out


def renormalised_kernel(images: Images, traced: Images, *_) -> Images:
    before = traced.sum(dim=(-2, -1), keepdim=True)
    return images * before / images.sum(dim=(-2, -1), keepdim=True)


def r_band_everywhere(arcs: Images) -> Images:
    return arcs[:, 1:2].expand_as(arcs)


def noisy(batch: StampBatch, galaxies: Images, _: CutoutSet) -> StampBatch:
    noise = torch.randn(batch.images.shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    hit = torch.from_numpy(batch.recipes.injected)[:, None, None, None]
    return replace(batch, images=torch.where(hit, batch.images + noise, batch.images))


def batch_dependent(batch: StampBatch, galaxies: Images, _: CutoutSet) -> StampBatch:
    return replace(batch, images=batch.images + 1e-4 * torch.arange(len(batch))[:, None, None, None])


def smoothed_controls(batch: StampBatch, galaxies: Images, _: CutoutSet) -> StampBatch:
    hit = torch.from_numpy(batch.recipes.injected)[:, None, None, None]
    smooth = torch.nn.functional.avg_pool2d(batch.images, 3, stride=1, padding=1)
    return replace(batch, images=torch.where(hit, batch.images, smooth))


def radii_exchanged(batch: StampBatch, galaxies: Images, _: CutoutSet) -> StampBatch:
    if (said := batch.measures) is None:
        return batch
    return replace(batch, measures=said._replace(source_hlr_arcsec=said.lensed_hlr_arcsec))


def bad_pixels_counted(batch: StampBatch, galaxies: Images, cutouts: CutoutSet) -> StampBatch:
    invvar = torch.from_numpy(np.asarray(cutouts.invvar[batch.recipes.row]))
    snr = arc_snr(batch.images - galaxies, invvar=invvar, good=torch.ones_like(batch.good))
    return replace(batch, arc_snr=snr.peak.numpy(), arc_snr_sum=snr.integrated.numpy())


def lens_shear_shift(recipes: RecipeBatch, component: str) -> np.ndarray:
    """Shear about the lens: the deflection loses Gamma times the lens's place."""
    g1, g2, x, y = recipes.gamma1, recipes.gamma2, recipes.lens_x_arcsec, recipes.lens_y_arcsec
    if component == "x":
        return recipes.source_x_arcsec - (g1 * x + g2 * y)
    return recipes.source_y_arcsec - (g2 * x - g1 * y)


def moffat_core_as_half_fwhm(recipes: RecipeBatch) -> np.ndarray:
    """a = FWHM / 2 for beta 3.5."""
    return recipes.psf_fwhm_arcsec * np.float32(np.sqrt(2 ** (1 / 3.5) - 1))


MISTAKES: dict[str, Mistake] = {
    "sqrt(q) missing in the SIE": Mistake(
        lens_with(theta_e_arcsec=lambda r: r.theta_e_arcsec / np.sqrt(r.axis_ratio)),
        ("lenstronomy", "magnification", "einstein_ring"),
    ),
    "theta_E of gravlens, theta_E sqrt(2q / (1 + q^2))": Mistake(
        lens_with(theta_e_arcsec=lambda r: r.theta_e_arcsec * np.sqrt(2 * r.axis_ratio / (1 + r.axis_ratio**2))),
        ("lenstronomy", "einstein_ring"),
    ),
    "ellipticity read as (1 - q^2) / (1 + q^2)": Mistake(
        lens_with(axis_ratio=lambda r: r.axis_ratio**2), ("lenstronomy", "einstein_ring", "magnification")
    ),
    "phi clockwise": Mistake(lens_with(phi_rad=lambda r: -r.phi_rad), ("lenstronomy", "orientation", "einstein_ring")),
    "phi from +y": Mistake(lens_with(phi_rad=lambda r: r.phi_rad + np.pi / 2), ("lenstronomy", "orientation")),
    "shear with the other sign": Mistake(
        lens_with(gamma1=lambda r: -r.gamma1, gamma2=lambda r: -r.gamma2), ("lenstronomy", "orientation")
    ),
    "g2 with the other sign": Mistake(lens_with(gamma2=lambda r: -r.gamma2), ("lenstronomy", "orientation")),
    "shear about the lens, not the frame": Mistake(
        lens_with(
            source_x_arcsec=lambda r: lens_shear_shift(r, "x"), source_y_arcsec=lambda r: lens_shear_shift(r, "y")
        ),
        ("lenstronomy", "orientation"),
    ),
    "source transposed": Mistake(
        built_with(source=lambda s: BentSource(s, image=lambda i: i.transpose(-2, -1))), ("lenstronomy", "orientation")
    ),
    "source upside down": Mistake(
        built_with(source=lambda s: BentSource(s, image=lambda i: i.flip(-2))), ("lenstronomy", "orientation")
    ),
    "source turned clockwise": Mistake(
        lens_with(source_rotation_rad=lambda r: -r.source_rotation_rad), ("lenstronomy", "orientation")
    ),
    "half a source pixel off": Mistake(
        lens_with(source_x_arcsec=lambda r: r.source_x_arcsec + 0.015),
        ("lenstronomy", "orientation", "point_source"),
    ),
    "half a survey pixel off": Mistake(
        lens_with(source_x_arcsec=lambda r: r.source_x_arcsec + 0.131, lens_x_arcsec=lambda r: r.lens_x_arcsec + 0.131),
        ("lenstronomy", "orientation", "point_source"),
    ),
    "flux per pixel taken for surface brightness": Mistake(
        bent(after_trace=lambda t: t * 0.03**2),
        ("lenstronomy", "magnification", "flux_without_lens", "units"),
    ),
    "lensed flux renormalised": Mistake(
        bent(after_trace=lambda t: t / t.sum(dim=(-2, -1), keepdim=True)), ("lenstronomy", "magnification")
    ),
    "one ray a pixel (source undersampled)": Mistake(
        built_with(config=lambda c: c if c.supersampling == 16 else c.model_copy(update={"supersampling": 1})),
        ("lenstronomy", "convergence", "flux_without_lens"),
    ),
    "support radius too small": Mistake(source_with(support=0.6), ("templates", "flux_without_lens")),
    "template not of unit flux": Mistake(source_with(image=lambda i: 1.02 * i), ("templates", "units")),
    "kernel rolled by one pixel in g": Mistake(
        bent(after_psf=rolled(0, rows=0, columns=1)), ("lenstronomy", "point_source")
    ),
    "kernel mis-centred by ifftshift in z": Mistake(
        bent(after_psf=rolled(2, rows=-11, columns=4)), ("lenstronomy", "point_source")
    ),
    "circular convolution": Mistake(bent(after_psf=wrapped), ("wrap_around",)),
    "kernel renormalised": Mistake(bent(after_psf=renormalised_kernel), ("kernel_light", "lenstronomy")),
    "pixel counted twice": Mistake(
        built_with(psf=lambda p: p.model_copy(update={"convention": "optical"})),
        ("psf_fwhm", "pixel_counted_once", "lenstronomy"),
    ),
    "PSF of the next band": Mistake(
        bent(before_psf=recipe_with(psf_fwhm_arcsec=lambda r: np.roll(r.psf_fwhm_arcsec, 1, axis=1))),
        ("psf_fwhm", "lenstronomy"),
    ),
    "PSF of the next galaxy of the batch": Mistake(
        bent(before_psf=recipe_with(psf_fwhm_arcsec=lambda r: np.roll(r.psf_fwhm_arcsec, 1, axis=0))),
        ("psf_fwhm", "lenstronomy", "same_stamp"),
    ),
    "Moffat core a = FWHM / 2": Mistake(
        bent(before_psf=recipe_with(psf_fwhm_arcsec=moffat_core_as_half_fwhm)), ("psf_fwhm", "lenstronomy")
    ),
    "Gaussian for a Moffat": Mistake(
        built_with(
            psf=lambda p: GaussianPsf(name="gaussian", convention=p.convention, kernel_size_px=p.kernel_size_px)
        ),
        ("kernel_light", "lenstronomy"),
    ),
    "colours drawn but not painted": Mistake(arcs_with(r_band_everywhere), ("colours", "units", "background")),
    "one colour for all arcs": Mistake(priors_of(g_r_sigma=0.0, r_z_sigma=0.0, red_fraction=0.0), ("colours",)),
    "source as bright as its lens": Mistake(priors_of(r_mag=Range(low=17.5, high=19.5)), ("brightness",)),
    "arc three times too bright": Mistake(arcs_with(lambda a: 3 * a), ("units", "brightness", "background")),
    "magnification in the table is the square root": Mistake(
        stamps_with(lambda b, g, c: replace(b, magnification=np.sqrt(b.magnification))), ("units",)
    ),
    "noise on positives only": Mistake(stamps_with(noisy), ("noise", "background", "same_stamp")),
    "pedestal under positives": Mistake(arcs_with(lambda a: a + 1e-5), ("background",)),
    "stamp depends on its place in the batch": Mistake(stamps_with(batch_dependent), ("same_stamp", "background")),
    "controls resampled": Mistake(stamps_with(smoothed_controls), ("background",)),
    "half-light radii of sources 2.5 times too large": Mistake(source_with(half_light=2.5), ("templates", "measures")),
    "lensed half-light radius in the source's column": Mistake(stamps_with(radii_exchanged), ("measures",)),
    "peak S/N given as integrated": Mistake(stamps_with(lambda b, g, c: replace(b, arc_snr_sum=b.arc_snr)), ("snr",)),
    "bad pixels counted in the S/N": Mistake(stamps_with(bad_pixels_counted), ("snr",)),
}


def noise_from(**wrong) -> Callable[[Physics], Physics]:
    """The arcs' noise is drawn with other settings than the configured ones."""

    def make(physics: Physics, cutouts: CutoutSet) -> Injector:
        config = physics.config
        inject = config.inject.model_copy(update=wrong if config.inject.arc_noise != "none" else {})
        return plain_injector(replace(physics, config=config.model_copy(update={"inject": inject})), cutouts)

    return lambda physics: replace(physics, make_injector=make)


NOISE_MISTAKES: dict[str, Mistake] = {
    "arc noise twice too large": Mistake(
        noise_from(sky_mag_arcsec2=(22.04 + 1.505, 20.91 + 1.505, 18.46 + 1.505)), ("noise",)
    ),
    "arc noise of 150 electrons a nanomaggy": Mistake(
        noise_from(sky_mag_arcsec2=(28.0, 27.0, 25.0)), ("noise", "background")
    ),
    "arc noise left out": Mistake(noise_from(arc_noise="none"), ("noise",)),
    "arc noise not correlated": Mistake(noise_from(arc_noise="poisson"), ("noise",)),
    "arc noise also where no arc is": Mistake(stamps_with(noisy), ("noise", "background", "same_stamp")),
}
"""With ``inject.arc_noise=poisson_correlated``."""
