"""Schema of `psf= inject= renderer=`: what is painted on a galaxy, and how."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import PerBand, Section
from dhs.config.negatives import NegativesConfig, RealPositives
from dhs.constants import DARK_SKY_MAG_ARCSEC2


class PsfCommon(Section):
    """A kernel is effective (already includes the pixel, as DR10's psfsize does) or optical (does not)."""

    convention: Literal["effective", "optical"] = "effective"


class AnalyticPsf(PsfCommon):
    """A profile of the galaxy's own FWHM in each band."""

    kernel_size_px: Annotated[int, Field(ge=9, le=255)] = Field(33, description="odd")
    ellipticity_sigma: Annotated[float, Field(ge=0, le=0.2)] = Field(
        0.0, description="per component of (1-q)/(1+q) (cos 2phi, sin 2phi), drawn once for each galaxy and band"
    )

    @model_validator(mode="after")
    def _odd(self) -> "AnalyticPsf":
        if self.kernel_size_px % 2 == 0:
            raise ValueError(f"kernel_size_px = {self.kernel_size_px}: must be odd, or the kernel has no centre pixel")
        return self


class MoffatPsf(AnalyticPsf):
    name: Literal["moffat"]
    beta: Annotated[float, Field(gt=1, le=20)] = 3.5


class GaussianPsf(AnalyticPsf):
    name: Literal["gaussian"]


class SurveyPsf(PsfCommon):
    """The sky's own PSF images, one per object and band: effective, as every PSF measured on pixels."""

    name: Literal["survey"]
    convention: Literal["effective"] = "effective"


PsfConfig = Annotated[MoffatPsf | GaussianPsf | SurveyPsf, Field(discriminator="name")]


class Acceptance(Section):
    """What an arc must be to serve as a training positive; rejects stay in the test set, graded."""

    min_magnification: Annotated[float, Field(ge=0)] = 3.0
    min_arc_snr_sum: Annotated[float, Field(ge=0)] = Field(10.0, description="best band, over the arc's footprint")
    min_theta_e_over_psf: Annotated[float, Field(ge=0)] = Field(0.0, description="theta_E / FWHM_r")
    max_tries: Annotated[int, Field(ge=1, le=1000)] = Field(
        20, description="draws of lens and source; the last one is kept as it is"
    )


class InjectConfig(Section):
    """Which galaxies get an arc, and how many stamps there are."""

    positive_fraction: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="share of training positives; null: negatives.ratio says it, or else 1/2"
    )
    controls: Literal["unpaired", "paired"] = Field(
        "unpaired",
        description="unpaired: a hash of the galaxy's id decides control or injection, for ever; paired: every "
        "injected training stamp is followed by the same galaxy without an arc",
    )
    negatives: NegativesConfig = Field(default_factory=lambda: NegativesConfig.model_validate({}))
    real_positives: RealPositives = Field(default_factory=lambda: RealPositives.model_validate({}))
    samples_per_epoch: Annotated[int, Field(ge=2)] = Field(5000, description="positives and negatives together")
    n_val_positives: Annotated[int, Field(ge=1)] = 500
    n_test_positives: Annotated[int, Field(ge=1)] = 2000
    arc_noise: Literal["none", "poisson", "poisson_correlated"] = Field(
        "none", description="Poisson noise of the arc, from the gain of each stamp and band"
    )
    arc_noise_lag1: Annotated[float, Field(ge=0, le=0.48)] = Field(
        0.13, description="lag-1 correlation of arc_noise=poisson_correlated; DR9 coadds 0.12-0.14, some 0.15-0.47"
    )
    sky_mag_arcsec2: PerBand = Field(
        DARK_SKY_MAG_ARCSEC2, description="g, r, z sky that the gain is derived from: gain = sky * invvar"
    )
    acceptance: Acceptance

    @property
    def positive_share(self) -> float:
        """Share of positives, injected and real, in a training epoch."""
        if self.negatives.ratio is not None:
            return 1.0 / (1.0 + self.negatives.ratio)
        return 0.5 if self.positive_fraction is None else self.positive_fraction

    @model_validator(mode="after")
    def _one_balance(self) -> "InjectConfig":
        if self.positive_fraction is not None and self.negatives.ratio is not None:
            raise ValueError(
                f"negatives.ratio = {self.negatives.ratio:g}: and inject.positive_fraction = "
                f"{self.positive_fraction:g}: both say how many positives there are; give one (ratio = (1 - f) / f)"
            )
        if self.controls == "paired" and self.positive_share > 0.5:
            raise ValueError(
                f"positive_fraction = {self.positive_share:g}: controls=paired gives every positive its own control; "
                "must be 0.5 at most"
            )
        if self.controls == "paired" and self.positive_share == 0.5 and self.negatives.changes_the_mix:
            raise ValueError(
                "negatives.ratio = 1: controls=paired then has the positives' own hosts as negatives and no other, so "
                "class_weights and hard have nothing to decide; raise it, or inject.controls=unpaired"
            )
        return self


class RendererConfig(Section):
    """fast: batched; compiled and culled on the CPU, dense on a GPU. lenstronomy: the slow reference."""

    name: Literal["fast", "lenstronomy"]
    device: Literal["cpu", "cuda", "accelerator"] = Field(
        "cpu",
        description="cpu: in the loader's workers; accelerator: train.py renders on the device that trains, whatever "
        "it is (evaluation on the CPU); cuda: one process renders all on the GPU, for inject.py",
    )
    resident_sky: bool = Field(
        True, description="device=accelerator: the galaxies too lie in its memory; false: workers send them"
    )
    supersampling: Literal[1, 2, 4, 6, 8, "adaptive"] = Field(4, description="rays a side of each survey pixel")
    max_error: Annotated[float, Field(ge=1e-5, le=0.1)] = Field(
        1e-3, description="supersampling=adaptive: of the arc's peak before the PSF, against 16 x 16 rays"
    )
    chunk_size: Annotated[int, Field(ge=1, le=4096)] = Field(16, description="stamps at once; big batches page-fault")
    compile: bool = Field(True, description="on a GPU: compile the dense tracer")

    @model_validator(mode="after")
    def _possible(self) -> "RendererConfig":
        if self.name == "lenstronomy" and self.device != "cpu":
            raise ValueError(f"device = {self.device}: name=lenstronomy renders on a CPU; use device=cpu or name=fast")
        if self.supersampling == "adaptive" and (self.name == "lenstronomy" or self.device != "cpu"):
            raise ValueError(
                "supersampling = adaptive: needs name=fast and device=cpu (lenstronomy and static shapes take a fixed "
                "number)"
            )
        return self
