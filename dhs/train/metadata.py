"""What a network is told beside the pixels: seeing and depth, scaled; and a check that they do not tell the label."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from dhs.config.network import MetadataColumn
from dhs.constants import BANDS
from dhs.inject.supply import Galaxies, StampSupply
from dhs.rng import Purpose
from dhs.train.augment import AugmentDraws
from dhs.train.perturb import seeing_and_depth

METADATA_SCALE: dict[str, tuple[float, float]] = {"psfsize": (1.2, 0.2), "psfdepth": (24.5, 0.7)}
"""Centre and width that bring each column to order one: arcsec, AB magnitude (DR10's own spread)."""
N_CHECKED = 4096
"""Training stamps whose labels are compared with their metadata."""
Z_95 = 1.959964
"""Two-sided 95% of a normal distribution."""


def metadata_table(cutouts: Galaxies, *, columns: tuple[MetadataColumn, ...]) -> np.ndarray:
    """(N, len(columns)) float32, scaled to order one; ValueError names columns that a galaxy lacks."""
    table = scaled(cutouts.psf_fwhm_arcsec, cutouts.psf_depth_mag, columns=columns)
    if not np.isfinite(table).all():
        missing = [column for j, column in enumerate(columns) if not np.isfinite(table[:, j]).all()]
        raise ValueError(
            f"model.metadata: {', '.join(missing)} is not known for every galaxy of this sky; leave it out"
        )
    return table


def scaled(
    psf_fwhm_arcsec: np.ndarray, psf_depth_mag: np.ndarray, *, columns: tuple[MetadataColumn, ...]
) -> np.ndarray:
    """(N, len(columns)) float32 from (N, bands) seeing and depth."""
    table = np.zeros((len(psf_fwhm_arcsec), len(columns)), dtype=np.float32)
    for j, column in enumerate(columns):
        quantity, band = column.split("_")
        values = psf_fwhm_arcsec if quantity == "psfsize" else psf_depth_mag
        centre, width = METADATA_SCALE[quantity]
        table[:, j] = (values[:, BANDS.index(band)] - centre) / width
    return table


def perturbed_metadata(
    cutouts: Galaxies, rows: np.ndarray, *, draws: AugmentDraws, columns: tuple[MetadataColumn, ...]
) -> np.ndarray:
    """As `metadata_table` for (B,) ``rows``, of stamps whose seeing and depth an augmentation has changed."""
    fwhm, depth = seeing_and_depth(
        torch.from_numpy(np.array(cutouts.psf_fwhm_arcsec[rows])),
        torch.from_numpy(np.array(cutouts.psf_depth_mag[rows])),
        draws=draws,
    )
    return scaled(fwhm.numpy(), depth.numpy(), columns=columns)


@dataclass(frozen=True)
class Separation:
    """How well one column alone tells positives from negatives: 0.5 is not at all."""

    auc: float
    """Of the better of the two directions, at least 0.5."""
    low: float
    high: float
    """95% interval of Hanley & McNeil (1982), with as many positives and negatives as are independent."""


def separation(values: np.ndarray, labels: np.ndarray, *, clusters: np.ndarray) -> Separation:
    """Separation of (n,) bool ``labels`` by (n,) ``values``; stamps of one of the ``clusters`` count once."""
    auc = float(roc_auc_score(labels, values))
    auc = max(auc, 1 - auc)
    n_positive, n_negative = (_effective_number(clusters[labels == truth]) for truth in (True, False))
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    error = np.sqrt(max(variance, 0.0) / (n_positive * n_negative))
    return Separation(auc, float(max(auc - Z_95 * error, 0.0)), float(min(auc + Z_95 * error, 1.0)))


def _effective_number(clusters: np.ndarray) -> float:
    """Kish's number of independent members, (sum n)^2 / sum n^2 over the clusters' sizes n."""
    _, sizes = np.unique(clusters, return_counts=True)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def require_metadata_keeps_the_secret(
    supply: StampSupply, *, columns: tuple[MetadataColumn, ...], max_auc: float
) -> dict[str, Separation]:
    """Separation of the training set by each column; ValueError where one is above ``max_auc`` beyond its interval.

    Stamps with the same value (of one galaxy, or of one exposure of the sky) count as one in the interval.
    """
    if not columns:
        return {}
    rows, labels = supply.assignments(np.arange(N_CHECKED), purpose=Purpose.TRAIN)
    table = metadata_table(supply.cutouts, columns=columns)[rows]
    found: dict[str, Separation] = {
        column: separation(table[:, j], labels, clusters=table[:, j]) for j, column in enumerate(columns)
    }
    for column, result in found.items():
        if result.low > max_auc:
            raise ValueError(
                f"model.metadata = {column}: leaks: alone it tells positives from negatives with an AUC of "
                f"{result.auc:.3f} (95%: {result.low:.3f}-{result.high:.3f}), above model.metadata_max_auc = "
                f"{max_auc:g}; "
                "leave it out, or take hosts and negatives from the same conditions"
            )
    return found
