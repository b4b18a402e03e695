"""Schema of `inject.negatives` and `inject.real_positives`: what a training epoch is made of beside injected arcs.

The fixed validation and test sets are not touched by any of it: every run of one sky is tested on the same stamps.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from dhs.config.base import Fraction, Section
from dhs.constants import CLASSES

MIN_RATIO, MAX_RATIO = 1.0, 100.0
"""Negatives a positive. Fewer than one: `inject.positive_fraction`."""

Weight = Annotated[float, Field(ge=0)]
ClassShares = dict[str, Weight]


def require_shares(name: str, weights: ClassShares | None) -> None:
    """ValueError unless ``weights`` are of classes that there are and sum to something."""
    if weights is None:
        return
    unknown = sorted(set(weights) - set(CLASSES))
    if unknown:
        raise ValueError(
            f"{name}.{unknown[0]} = {weights[unknown[0]]:g}: no such class; there are {', '.join(CLASSES)}"
        )
    if sum(weights.values()) == 0:
        raise ValueError(f"{name} = {weights}: the weights sum to nothing; raise one, or null (as the sky has them)")


class HardNegatives(Section):
    """Negatives that a finder took for lenses, or that somebody labelled: a share of every epoch's negatives."""

    path: Path | None = Field(
        None,
        description="Parquet list of evaluate.py task=mine, or a store of cutouts with a column label (its rows of "
        "label 0); null: none",
    )
    fraction: Annotated[float, Field(gt=0, le=1)] = Field(0.2, description="of the negatives, where path is given")
    class_weights: ClassShares | None = Field(
        None, description="relative frequency of the classes among them; null: as the list has them"
    )

    @model_validator(mode="after")
    def _shares_possible(self) -> "HardNegatives":
        require_shares("class_weights", self.class_weights)
        if self.path is None and self.class_weights is not None:
            raise ValueError("class_weights: there is no list that they could weigh; give path too")
        return self


class NegativesConfig(Section):
    """Which negatives a training epoch has, and how many."""

    ratio: Annotated[float, Field(ge=MIN_RATIO, le=MAX_RATIO)] | None = Field(
        None, description="negatives a positive; null: positive_fraction says it, or else 1"
    )
    class_weights: ClassShares | None = Field(
        None, description="relative frequency of the classes named, no other is drawn; null: as the sky has them"
    )
    hard: HardNegatives = Field(default_factory=lambda: HardNegatives.model_validate({}))

    @property
    def changes_the_mix(self) -> bool:
        """Whether other negatives are drawn than the sky's own, each as often as any."""
        return self.class_weights is not None or self.hard.path is not None

    @model_validator(mode="after")
    def _shares_possible(self) -> "NegativesConfig":
        require_shares("class_weights", self.class_weights)
        return self


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
