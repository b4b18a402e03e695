"""Functional core: rates of a ranked sample. Arrays in, numbers out; no files, no configuration.

Conventions: ``logit`` (N,) float64, higher = more like a lens; ``label`` (N,) with 1 = injected. A stamp is
flagged when its logit is *strictly greater* than the threshold, so that ties never help.
scikit-learn gives AUROC and partial AUROC; the tests compare `dhs.evaluate.bootstrap` with it.
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from dhs.operating_point import (
    OperatingPoint,
    Status,
    allowed_false_positives,
    resolution,
    resolution_note,
    threshold_at,
    tpr_at_fpr,
)

__all__ = [
    "HALF_LOGIT",
    "OperatingPoint",
    "Status",
    "allowed_false_positives",
    "auroc",
    "hits_at_count",
    "partial_auroc",
    "resolution",
    "resolution_note",
    "threshold_at",
    "tied_fraction",
    "tpr_at_fpr",
]

HALF_LOGIT = 0.0
"""Logit of p = 0.5."""


def auroc(logit: np.ndarray, label: np.ndarray) -> float:
    """Area under the ROC curve; a tie counts one half (Mann-Whitney)."""
    return float(roc_auc_score(label, logit))


def partial_auroc(logit: np.ndarray, label: np.ndarray, *, max_fpr: float) -> float:
    """Area up to ``max_fpr``, McClish (1989) standardised: 0.5 is chance, 1 is perfect."""
    return float(roc_auc_score(label, logit, max_fpr=max_fpr))


def hits_at_count(logit: np.ndarray, label: np.ndarray, *, n_false_positives: int) -> int:
    """Positives above the threshold that lets at most ``n_false_positives`` negatives through.

    TPR0 is this with 0; TPR10 ("less than ten false positives", Metcalf+2019 section 6) is this with 9.
    """
    threshold = threshold_at(logit[label == 0], n_false_positives=n_false_positives)
    return int((logit[label == 1] > threshold).sum())


def tied_fraction(logit: np.ndarray) -> float:
    """Share of scores that at least one other stamp has too; bf16 scores tie, float32 ones hardly ever."""
    _, counts = np.unique(logit, return_counts=True)
    return float(counts[counts > 1].sum() / len(logit))
