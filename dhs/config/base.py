"""Base of every schema: no unknown keys, frozen, numbers finite, units in the descriptions."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """One group of the configuration. YAML holds the values, this class the rules."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PerBand = tuple[PositiveFloat, PositiveFloat, PositiveFloat]


def require_ordered(low: float, high: float) -> None:
    """Raise ValueError unless ``low <= high``."""
    if low > high:
        raise ValueError(f"low = {low}: must not be above high = {high}")


class Range(Section):
    """A closed interval; a scalar draw is uniform in it unless its owner says otherwise."""

    low: float
    high: float

    def model_post_init(self, _context: object) -> None:
        require_ordered(self.low, self.high)


def require_range(name: str, value: Range, *, low: float, high: float, unit: str = "") -> None:
    """Raise ValueError unless the whole of ``value`` lies in [low, high]."""
    if value.low < low or value.high > high:
        suffix = f" {unit}" if unit else ""
        raise ValueError(f"{name} = [{value.low}, {value.high}]: must lie in [{low}, {high}]{suffix}")
