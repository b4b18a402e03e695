"""Schema of `evaluate.realism`: can a linear probe tell real lenses from injections of the same brightness?"""

from typing import Annotated, Literal

from pydantic import Field

from dhs.config.base import Section

Covariate = Literal["r_mag", "ring_snr", "theta_e_arcsec", "psf_fwhm_r_arcsec"]


class RealismConfig(Section):
    """Real lenses (of `anchors=`, with cutouts, or degraded HST images) against matched injections of the test sky."""

    enabled: bool = True
    n_pool: Annotated[int, Field(ge=20, description="injections to choose the matches from, at most")] = 2000
    match_on: Annotated[
        tuple[Covariate, ...], Field(min_length=1, description="measured on both sides by the same function")
    ] = ("r_mag", "ring_snr", "theta_e_arcsec")
    caliper_sigma: Annotated[
        float, Field(gt=0, description="a match may differ by this many pooled standard deviations in each")
    ] = 0.5
    min_pairs: Annotated[int, Field(ge=10, description="below it the gate says that it cannot tell")] = 40
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    regularisation: Annotated[
        float, Field(gt=0, description="C of the logistic regression on standardised features")
    ] = 0.1
    permutations: Annotated[int, Field(ge=99, le=100_000, description="of labels inside pairs")] = 199
    resamples: Annotated[int, Field(ge=100, le=100_000, description="of pairs, for the interval")] = 1000
    max_auc: Annotated[float, Field(gt=0.5, lt=1, description="an interval below it passes")] = 0.7
