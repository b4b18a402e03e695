"""Schema of `evaluate.realism`: can a linear probe tell real lenses from injections of the same brightness?"""

from typing import Annotated, Literal

from pydantic import Field

from dhs.config.base import PositiveFloat, Section

Covariate = Literal["r_mag", "ring_snr", "theta_e_arcsec", "psf_fwhm_r_arcsec"]


class RealismConfig(Section):
    """Real lenses (of `anchors=`, with cutouts, or degraded HST images) against matched injections of the test sky."""

    enabled: bool = True
    n_pool: Annotated[int, Field(ge=20)] = Field(2000, description="injections to choose the matches from, at most")
    match_on: Annotated[tuple[Covariate, ...], Field(min_length=1)] = Field(
        ("r_mag", "ring_snr", "theta_e_arcsec"), description="measured on both sides by the same function"
    )
    caliper_sigma: PositiveFloat = Field(
        0.5, description="a match may differ by this many standard deviations of the real lenses in each quantity"
    )
    min_pairs: Annotated[int, Field(ge=10)] = Field(40, description="below it the gate says that it cannot tell")
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    regularisation: PositiveFloat = Field(0.1, description="C of the logistic regression on standardised features")
    permutations: Annotated[int, Field(ge=99, le=100_000)] = Field(199, description="of labels inside pairs")
    resamples: Annotated[int, Field(ge=100, le=100_000)] = Field(1000, description="of pairs, for the interval")
    max_auc: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.7, description="an interval below it passes")
