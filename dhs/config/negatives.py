"""Schema of `inject.negatives` and `inject.real_positives`: what a training epoch is made of beside injected arcs.

The fixed validation and test sets are not touched by any of it: every run of one sky is tested on the same stamps.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from dhs.config.base import Fraction, Section

MIN_RATIO, MAX_RATIO = 1.0, 100.0
"""Negatives a positive. Fewer than one: `inject.positive_fraction`."""

Weight = Annotated[float, Field(ge=0)] | None


class ClassShares(Section):
    """Relative frequency of each class; null for all: as they come; where one is given, null is 0."""

    lrg: Weight = None
    lrg_companion: Weight = None
    spiral: Weight = None
    ring: Weight = None
    merger: Weight = None
    edge_on: Weight = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_null_for_all(cls, value: object) -> object:
        return {} if value is None else value

    @property
    def given(self) -> dict[str, float] | None:
        """Class -> weight of those that have one; None: as they come."""
        named = {name: weight for name, weight in self if weight is not None}
        return named or None

    @model_validator(mode="after")
    def _sum_to_something(self) -> "ClassShares":
        if self.given is not None and sum(self.given.values()) == 0:
            raise ValueError(f"{next(iter(self.given))} = 0: the weights sum to nothing; raise one, or null for all")
        return self


class HardNegatives(Section):
    """Negatives that a finder took for lenses, or that somebody labelled: a share of every epoch's negatives."""

    path: Path | None = Field(
        None,
        description="Parquet list of evaluate.py task=mine, or a store of cutouts with a column label (its rows of "
        "label 0); null: none",
    )
    fraction: Annotated[float, Field(gt=0, le=1)] = Field(0.2, description="of the negatives, where path is given")
    class_weights: ClassShares = Field(
        default_factory=lambda: ClassShares.model_validate({}),
        description="relative frequency of the classes among them; null for all: as the list has them",
    )

    @model_validator(mode="after")
    def _shares_possible(self) -> "HardNegatives":
        if self.path is None and self.class_weights.given is not None:
            raise ValueError("class_weights: there is no list that they could weigh; give path too")
        return self


class NegativesConfig(Section):
    """Which negatives a training epoch has, and how many."""

    ratio: Annotated[float, Field(ge=MIN_RATIO, le=MAX_RATIO)] | None = Field(
        None, description="negatives a positive; null: positive_fraction says it, or else 1"
    )
    class_weights: ClassShares = Field(
        default_factory=lambda: ClassShares.model_validate({}),
        description="relative frequency of the classes; where one is given, those at null are not drawn; null for all: "
        "as the sky has them",
    )
    hard: HardNegatives = Field(default_factory=lambda: HardNegatives.model_validate({}))

    @property
    def changes_the_mix(self) -> bool:
        """Whether other negatives are drawn than the sky's own, each as often as any."""
        return self.class_weights.given is not None or self.hard.path is not None


class RealPositives(Section):
    """Known lenses that are trained on as they are, beside the injected ones."""

    path: Path | None = Field(
        None, description="store of cutouts with a column label (1: lens, 0: not); its train split serves; null: none"
    )
    fraction: Annotated[Fraction, Field(gt=0)] = Field(0.1, description="of the positives, where path is given")
    hold_out: tuple[str, ...] = Field(
        ("slacs_bells",),
        description="lenses never trained on, so that recall on them is a test: slacs_bells, or CSVs (name, ra_deg, "
        "dec_deg)",
    )
