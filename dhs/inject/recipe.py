"""`RecipeBatch`: everything that decides a batch of stamps, as plain numbers in a struct of arrays.

One recipe, one stamp, bit for bit on one machine, whoever asks: training, a test set, a single debug stamp.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from dhs.constants import BANDS
from dhs.inject.prior import Geometry
from dhs.sky.cutouts import CutoutSet


@dataclass(frozen=True)
class RecipeBatch:
    """B recipes. Control stamps (``injected`` False) keep their galaxy; their arc columns are NaN or -1."""

    key: np.ndarray
    """(B, 4) int64: seed, purpose, epoch, index of the random stream."""
    row: np.ndarray
    """(B,) int64: row of the galaxy in its CutoutSet."""
    target_id: np.ndarray
    """(B,) int64."""
    injected: np.ndarray
    """(B,) bool: the label."""
    theta_e_arcsec: np.ndarray
    axis_ratio: np.ndarray
    phi_rad: np.ndarray
    """Major axis of the mass, counter-clockwise from +x."""
    gamma1: np.ndarray
    gamma2: np.ndarray
    lens_x_arcsec: np.ndarray
    lens_y_arcsec: np.ndarray
    sigma_v_km_s: np.ndarray
    """Velocity dispersion that theta_E was computed from; NaN where the prior has none."""
    z_lens: np.ndarray
    """Redshift that theta_E was computed with, else the galaxy's own; NaN where unknown."""
    z_source: np.ndarray
    """NaN where the prior has none."""
    natural_weight: np.ndarray
    """Density of theta_E in nature over that of the prior (`dhs.inject.strength`)."""
    source_index: np.ndarray
    """(B,) int64 into the run's source."""
    source_x_arcsec: np.ndarray
    """Source plane, in the frame's coordinates."""
    source_y_arcsec: np.ndarray
    source_rotation_rad: np.ndarray
    source_mag: np.ndarray
    """(B, bands) unlensed AB magnitudes."""
    psf_fwhm_arcsec: np.ndarray
    """(B, bands)."""
    psf_e1: np.ndarray
    """(B, bands) (1-q)/(1+q) cos 2phi of the PSF."""
    psf_e2: np.ndarray
    """(B, bands) (1-q)/(1+q) sin 2phi."""

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: np.ndarray | slice) -> "RecipeBatch":
        """The recipes at ``index`` (integers, a mask or a slice)."""
        return RecipeBatch(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence["RecipeBatch"]) -> "RecipeBatch":
        """One batch of several (one at least), in order."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def with_arcs(self, arcs: "RecipeBatch", *, where: np.ndarray) -> "RecipeBatch":
        """These recipes with those of ``arcs`` at the places ``where``; keys are kept."""
        merged = {field.name: getattr(self, field.name).copy() for field in fields(self)}
        for name, values in merged.items():
            if name != "key":
                values[where] = getattr(arcs, name)
        return RecipeBatch(**merged)

    def columns(self) -> dict[str, np.ndarray]:
        """Flat columns for tables: per-band arrays are split, the key is spelt out."""
        out: dict[str, np.ndarray] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "key":
                out |= {f"key_{part}": value[:, i] for i, part in enumerate(("seed", "purpose", "epoch", "index"))}
            elif value.ndim == 2:
                stem, _, unit = field.name.rpartition("_")
                out |= {f"{stem}_{band}_{unit}": value[:, i] for i, band in enumerate(BANDS)}
            else:
                out[field.name] = value
        return out

    @classmethod
    def from_columns(cls, columns: Mapping[str, np.ndarray]) -> "RecipeBatch":
        """The inverse of `columns`; what else the table holds is left alone. ValueError when a column is missing."""
        values: dict[str, np.ndarray] = {}
        for field in fields(cls):
            stem, _, unit = field.name.rpartition("_")
            split = [f"{stem}_{band}_{unit}" for band in BANDS]
            if field.name == "key":
                split = [f"key_{part}" for part in ("seed", "purpose", "epoch", "index")]
            if field.name not in columns and not all(name in columns for name in split):
                raise ValueError(f"recipe table: column {field.name!r} (or {', '.join(split)}) is missing")
            one = columns.get(field.name)
            values[field.name] = np.stack([columns[name] for name in split], axis=1) if one is None else one
        return cls(**values)


def recipes_from(
    cutouts: CutoutSet,
    rows: np.ndarray,
    *,
    geometry: Geometry,
    source_mag: np.ndarray | None = None,
) -> RecipeBatch:
    """Recipes of injections into the galaxies ``rows`` (P,); keys are zero, magnitudes NaN without ``source_mag``."""
    return RecipeBatch(
        key=np.zeros((len(rows), 4), dtype=np.int64),
        row=np.asarray(rows, dtype=np.int64),
        target_id=np.asarray(cutouts.target_id[rows]),
        injected=np.ones(len(rows), dtype=bool),
        source_mag=np.full((len(rows), len(BANDS)), np.nan) if source_mag is None else source_mag,
        psf_fwhm_arcsec=np.asarray(cutouts.psf_fwhm_arcsec[rows]),
        psf_e1=_psf_shape(cutouts.psf_e1, rows),
        psf_e2=_psf_shape(cutouts.psf_e2, rows),
        **{name: getattr(geometry, name) for name in Geometry.__dataclass_fields__},
    )


def controls(cutouts: CutoutSet, rows: np.ndarray, *, keys: np.ndarray) -> RecipeBatch:
    """Recipes of (B,) galaxies without arcs, with their stream ``keys`` (B, 4)."""
    nothing = {name: np.full(len(rows), np.nan) for name in Geometry.__dataclass_fields__}
    nothing["source_index"] = np.full(len(rows), -1, dtype=np.int64)
    return RecipeBatch(
        key=keys,
        row=np.asarray(rows, dtype=np.int64),
        target_id=np.asarray(cutouts.target_id[rows]),
        injected=np.zeros(len(rows), dtype=bool),
        source_mag=np.full((len(rows), len(BANDS)), np.nan),
        psf_fwhm_arcsec=np.asarray(cutouts.psf_fwhm_arcsec[rows]),
        psf_e1=_psf_shape(cutouts.psf_e1, rows),
        psf_e2=_psf_shape(cutouts.psf_e2, rows),
        **nothing,
    )


def _psf_shape(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """(B, bands) of the sky's PSF ellipticities; zero where the sky has none."""
    return np.zeros((len(rows), len(BANDS))) if values is None else np.asarray(values[rows], np.float64)
