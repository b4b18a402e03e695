"""Schema of `evaluate.gates`: does the finder look at the arc, or at something that only goes with it in training?

Thresholds and their reasons: docs/gates.md. Radii in pixels are those of a 64-pixel stamp and scale with its size.
"""

from typing import Annotated

from pydantic import Field, model_validator

from dhs.config.base import Fraction, PositiveFloat, Section
from dhs.constants import BANDS

Share = Annotated[float, Field(ge=0, le=1.5)]
"""Of the finder's separation of lenses from their own galaxies; an intervention may even raise it."""


class CoreGate(Section):
    """The lens's core on its own galaxy must not look like a lens."""

    radius_arcsec: Annotated[float, Field(gt=0, le=4)] = 0.8
    """Of the core."""
    max_retained: Share = 0.25


class AnnulusGate(Section):
    """The arc's ring on its own galaxy must still look like a lens."""

    min_retained: Share = 0.6


class ArcGate(Section):
    """The lens with its arc's ring put back to the galaxy's own pixels must no longer look like one."""

    inner_px: Annotated[float, Field(gt=0)] = 10.0
    """The ring reaches at least this far in."""
    outer_px: Annotated[float, Field(gt=0)] = 25.0
    """And at least this far out."""
    arc_light: Annotated[float, Field(gt=0.5, lt=1)] = 0.98
    """Share of the arc's light that the ring is widened to hold."""
    max_mean_p: Fraction = 0.3
    max_retained: Share = 0.25

    @model_validator(mode="after")
    def _ordered(self) -> "ArcGate":
        if self.inner_px >= self.outer_px:
            raise ValueError(f"inner_px = {self.inner_px:g}: must be below outer_px = {self.outer_px:g}")
        return self


class NullGate(Section):
    """The whole pipeline with a source of no light."""

    max_difference: Fraction = 0.02
    """Of the mean p from that of the galaxies."""


class ShuffleGate(Section):
    """Pixels of every one-pixel ring permuted at random: no shape is left, but profile and colours are."""

    max_retained: Share = 0.7


class BandGate(Section):
    """Bands in another order: red arcs around blue galaxies."""

    order: tuple[str, ...] = ("z", "r", "g")
    """What the finder is given as g, r, z."""
    max_retained: Share = 0.9
    max_mean_p_galaxies: Fraction = 0.5
    """Of galaxies without arcs, permuted likewise."""

    @model_validator(mode="after")
    def _a_permutation(self) -> "BandGate":
        if sorted(self.order) != sorted(BANDS) or self.order == BANDS:
            raise ValueError(f"order = {', '.join(self.order)}: must be {', '.join(BANDS)} in another order")
        return self


class ArcColourGate(Section):
    """The same arcs at the same S/N in other colours that real sources have."""

    g_r_mean: float = 0.3
    g_r_sigma: PositiveFloat = 0.25
    r_z_mean: float = 0.3
    r_z_sigma: PositiveFloat = 0.3
    min_retained: Share = 0.7


class FrameGate(Section):
    """The same lens turned, mirrored and moved a little."""

    max_shift_px: Annotated[int, Field(ge=0, le=8)] = 1
    min_retained: Share = 0.85


class NormalisationGate(Section):
    """Level and noise of the ring that normalisation divides by."""

    n_stamps: Annotated[int, Field(ge=20)] = 2000
    """Arcs as the priors give them, visible or not."""
    max_cohens_d: PositiveFloat = 0.1


class BrightnessGate(Section):
    """Light of the core in z, lens over its own galaxy."""

    radius_arcsec: Annotated[float, Field(gt=0, le=4)] = 0.5
    max_excess: PositiveFloat = 0.05
    """Of the median ratio above 1, in z."""


class ConditionsGate(Section):
    """Seeing and depth alone."""

    n_stamps: Annotated[int, Field(ge=200)] = 20_000
    """Training stamps whose galaxies are compared."""
    max_auc: Annotated[float, Field(ge=0.5, le=1)] = 0.6
    """Of classifiers that see nothing else."""
    max_correlation: Fraction = 0.3
    """Spearman, of the scores of galaxies without arcs."""


class GatesConfig(Section):
    """Shortcut gates on the trained finder; exit code 1 when one fails, 3 when one cannot be told (docs/gates.md)."""

    enabled: bool = True
    n_pairs: Annotated[int, Field(ge=20)] = 400
    """Visible lenses, each with its galaxy without arc."""
    n_candidates: Annotated[int, Field(ge=20)] = 12_000
    """Arcs drawn on the test galaxies at most, to find visible ones."""
    resamples: Annotated[int, Field(ge=200, le=100_000)] = 2000
    """Of the bootstrap over galaxies."""
    min_auc: Annotated[float, Field(ge=0.5, le=1)] = 0.7
    """Lenses against their own galaxies; a finder below it has nothing that a gate could take away."""
    n_shown: Annotated[int, Field(ge=1, le=12)] = 6
    """Pairs in the figure of the interventions."""
    core_only: CoreGate = CoreGate()
    annulus_only: AnnulusGate = AnnulusGate()
    arc_suppressed: ArcGate = ArcGate()
    null_injection: NullGate = NullGate()
    azimuthal_shuffle: ShuffleGate = ShuffleGate()
    band_permutation: BandGate = BandGate()
    arc_colour: ArcColourGate = ArcColourGate()
    frame_position: FrameGate = FrameGate()
    normalisation: NormalisationGate = NormalisationGate()
    core_brightness: BrightnessGate = BrightnessGate()
    conditions: ConditionsGate = ConditionsGate()
