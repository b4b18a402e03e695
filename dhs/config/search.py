"""Schema of a search file (`train.py --search FILE`): what is varied, how often, and when a trial is given up."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Section, require_ordered

Value = bool | int | float | str


class Axis(Section):
    """What one key may be: one of ``choices``, or a number between ``low`` and ``high`` (whole where both are)."""

    choices: Annotated[tuple[Value, ...], Field(min_length=1)] | None = None
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: Annotated[float, Field(gt=0)] | None = None

    @property
    def ends(self) -> tuple[Value, ...]:
        """All choices, or both limits."""
        return self.choices if self.choices is not None else self.limits

    @property
    def limits(self) -> tuple[int | float, int | float]:
        """Low and high."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @model_validator(mode="after")
    def _one_kind(self) -> "Axis":
        given = [name for name in ("low", "high") if getattr(self, name) is not None]
        if self.choices is not None and (given or self.log or self.step is not None):
            raise ValueError("choices: stand alone, without low, high, log and step")
        if self.choices is None and len(given) < 2:
            raise ValueError("low and high: give both, or choices")
        return self

    @model_validator(mode="after")
    def _possible(self) -> "Axis":
        if self.low is None or self.high is None:
            return self
        require_ordered(self.low, self.high)
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low:g}: must be above 0 where log is true")
        if self.log and self.step is not None:
            raise ValueError(f"step = {self.step:g}: not with log=true; leave one out")
        if self.is_whole and self.step is not None and self.step != int(self.step):
            raise ValueError(f"step = {self.step:g}: must be whole as low and high are")
        return self


class MedianPruner(Section):
    """Ends a trial whose val/pauroc so far is below the median of earlier trials at the same epoch."""

    n_startup_trials: Annotated[int, Field(ge=1)] = Field(4, description="finished ones before any is pruned")
    n_warmup_epochs: Annotated[int, Field(ge=0)] = Field(1, description="of each trial, in which it is not")


class SearchConfig(Section):
    """One search: its trials are runs under <paths.runs_dir> with the objective val/pauroc of the best checkpoint."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    n_trials: Annotated[int, Field(ge=1, le=10_000)]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    sampler: Literal["tpe", "random"] = "tpe"
    overrides: tuple[str, ...] = Field((), description="of every trial")
    space: Annotated[dict[str, Axis], Field(min_length=1)] = Field(description="override key: its values")
    pruner: MedianPruner | None = None

    @model_validator(mode="after")
    def _space_is_varied_alone(self) -> "SearchConfig":
        fixed = {override.lstrip("+").split("=")[0] for override in self.overrides}
        both = sorted(fixed & set(self.space))
        if both:
            raise ValueError(f"space.{both[0]}: is fixed in overrides too; leave one out")
        return self
