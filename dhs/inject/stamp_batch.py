"""`StampBatch`: finished stamps, what was put into them and how visible it is."""

from dataclasses import dataclass, fields

import numpy as np
import torch

from dhs.constants import BANDS
from dhs.inject.acceptance import CUTS, ArcBatch
from dhs.inject.measure import ArcMeasures, spread
from dhs.inject.mix import INJECTED, NEGATIVE, POSITIVE_ORIGINS
from dhs.inject.recipe import RecipeBatch


@dataclass(frozen=True)
class StampBatch:
    """B finished stamps with what was put into them and how visible it is."""

    images: torch.Tensor
    """(B, bands, N, N) float32 nMgy: galaxy plus arc (plus the arc's noise, where it is on)."""
    good: torch.Tensor
    """(B, bands, N, N) bool."""
    recipes: RecipeBatch
    magnification: np.ndarray
    """(B,) float32; NaN for controls, as the two that follow."""
    arc_snr: np.ndarray
    """(B, bands) peak signal / sigma of one pixel."""
    arc_snr_sum: np.ndarray
    """(B, bands) integrated over the arc's footprint."""
    reject_reason: np.ndarray
    """(B,) int8 index into acceptance.CUTS of the cut that the arc fails: 0 accepted; -1 for controls."""
    rejected: np.ndarray
    """(B, len(CUTS)) int16: draws thrown away before this arc, by the cut they failed; 0 for controls."""
    measures: ArcMeasures | None = None
    """The costlier measures, where ``stamps(..., measure=True)`` asked for them."""
    drawn: np.ndarray | None = None
    """(B,) int8 index into mix.ORIGINS, where a stream drew the stamps; None: arcs and controls of given recipes."""

    def __len__(self) -> int:
        return len(self.recipes)

    @property
    def origin(self) -> np.ndarray:
        """(B,) int8 index into mix.ORIGINS: whether a positive was injected or is a known lens, and which negative."""
        if self.drawn is not None:
            return self.drawn
        return np.where(self.recipes.injected, INJECTED, NEGATIVE).astype(np.int8)

    @property
    def label(self) -> np.ndarray:
        """(B,) bool: a lens, injected or real."""
        return np.isin(self.origin, POSITIVE_ORIGINS)

    @property
    def accepted(self) -> np.ndarray:
        """(B,) bool: an injection that passes the acceptance cuts."""
        return self.reject_reason == 0

    @property
    def n_tries(self) -> np.ndarray:
        """(B,) draws of geometry and brightness up to the one kept; 0 for controls."""
        return np.where(self.recipes.injected, 1 + self.rejected.sum(axis=1, dtype=np.int64), 0)

    def take(self, index: np.ndarray) -> "StampBatch":
        """The stamps at ``index`` (integers)."""
        chosen = torch.from_numpy(np.asarray(index))
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if name == "measures":
                values[name] = None if value is None else ArcMeasures(*(column[index] for column in value))
            elif name == "recipes":
                values[name] = value.take(index)
            elif value is None:
                continue
            else:
                values[name] = value[chosen] if isinstance(value, torch.Tensor) else value[index]
        return StampBatch(**values)

    def columns(self) -> dict[str, np.ndarray]:
        """Flat columns for tables: the recipes', and all that is measured."""
        out = self.recipes.columns() | {"magnification": self.magnification}
        for i, band in enumerate(BANDS):
            out |= {f"arc_snr_{band}": self.arc_snr[:, i], f"arc_snr_sum_{band}": self.arc_snr_sum[:, i]}
        names = np.array(["", *CUTS])  # nothing is said of a control
        out |= {"n_tries": self.n_tries, "reject_reason": names[self.reject_reason + 1]}
        out |= {f"n_rejected_{cut}": self.rejected[:, i] for i, cut in enumerate(CUTS) if i > 0}
        if self.measures is not None:
            measured = self.measures._asdict()
            arc_mag = measured.pop("arc_mag")
            out |= {f"arc_{band}_mag": arc_mag[:, i] for i, band in enumerate(BANDS)} | measured
        return out


def with_arcs(
    images: torch.Tensor,
    good: torch.Tensor,
    recipes: RecipeBatch,
    *,
    arcs: ArcBatch,
    measures: ArcMeasures | None,
    where: np.ndarray,
) -> StampBatch:
    """``images`` (B, bands, N, N), to which ``arcs`` have been added at the places ``where``, with what is known."""
    length = len(recipes)
    reason = np.full(length, -1, dtype=np.int8)
    reason[where] = arcs.reject_reason
    rejected = np.zeros((length, len(CUTS)), dtype=np.int16)
    rejected[where] = arcs.rejected
    return StampBatch(
        images=images,
        good=good,
        recipes=recipes.with_arcs(arcs.recipes, where=where),
        magnification=_spread(arcs.magnification, where, length),
        arc_snr=_spread(arcs.snr.peak.numpy(), where, length),
        arc_snr_sum=_spread(arcs.snr.integrated.numpy(), where, length),
        reject_reason=reason,
        rejected=rejected,
        measures=None if measures is None else spread(measures, where=where, length=length),
    )


def only_controls(images: torch.Tensor, good: torch.Tensor, recipes: RecipeBatch, *, measure: bool) -> StampBatch:
    """Stamps without any arc."""
    batch, bands = images.shape[:2]
    nothing = np.full((batch, bands), np.nan, dtype=np.float32)
    unmeasured = np.full(batch, np.nan, dtype=np.float32)
    return StampBatch(
        images=images,
        good=good,
        recipes=recipes,
        magnification=unmeasured,
        arc_snr=nothing,
        arc_snr_sum=nothing,
        reject_reason=np.full(batch, -1, dtype=np.int8),
        rejected=np.zeros((batch, len(CUTS)), dtype=np.int16),
        measures=ArcMeasures(nothing, unmeasured, unmeasured, np.full(batch, -1, np.int16)) if measure else None,
    )


def _spread(values: np.ndarray, where: np.ndarray, length: int) -> np.ndarray:
    """Float32 array of ``length`` with ``values`` at ``where`` and NaN elsewhere."""
    out = np.full((length, *values.shape[1:]), np.nan, dtype=np.float32)
    out[where] = values
    return out
