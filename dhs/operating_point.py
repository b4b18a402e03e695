"""TPR at a false-positive rate, and whether a sample can measure it: for training's curves and for evaluation.

Arrays in, numbers out. ``logit`` (N,), higher = more like a lens; ``label`` (N,) with 1 = injected. A stamp is flagged
when its logit is *strictly greater* than the threshold, so that ties never help.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

WEAK_BELOW_FALSE_POSITIVES = 10.0
"""Expected false positives below which a TPR at fixed FPR hangs on a handful of negatives: its threshold
is the score of the n-th worst one, and the relative error of the FPR there is above 1/sqrt(10)."""

Status = Literal["measured", "weak", "not resolvable"]


def allowed_false_positives(fpr: float, *, n_negatives: int) -> int:
    """Largest count whose rate does not exceed ``fpr``; 0.01 * 100 is 1, whatever the rounding."""
    return min(math.floor(fpr * n_negatives + 1e-9), n_negatives)


def threshold_at(negative_logit: np.ndarray, *, n_false_positives: int) -> float:
    """Smallest threshold that at most ``n_false_positives`` negatives strictly exceed.

    It is the score of the next negative down, so negatives tied with it stay out: fewer may pass, never more.
    """
    if n_false_positives >= len(negative_logit):
        return -math.inf
    return float(np.sort(negative_logit)[::-1][n_false_positives])


def resolution(fpr: float, *, n_negatives: int) -> Status:
    """Whether ``n_negatives`` can measure a rate at ``fpr`` at all."""
    expected = fpr * n_negatives + 1e-9
    if expected < 1:
        return "not resolvable"
    return "weak" if expected < WEAK_BELOW_FALSE_POSITIVES else "measured"


def resolution_note(fpr: float, *, n_negatives: int) -> str:
    """The words of `resolution`, with the numbers."""
    status = resolution(fpr, n_negatives=n_negatives)
    if status == "not resolvable":
        return f"not resolvable with {n_negatives:,} negatives (needs at least {math.ceil(1 / fpr - 1e-9):,})"
    if status == "weak":
        return f"weak: {fpr * n_negatives:.1f} expected false positives"
    return ""


@dataclass(frozen=True)
class OperatingPoint:
    """TPR at a false-positive rate, and the threshold that gives it. ``tpr`` is None when not resolvable."""

    fpr: float
    status: Status
    tpr: float | None
    threshold: float | None
    n_true_positives: int | None
    n_false_positives: int | None
    n_positives: int
    n_negatives: int

    @property
    def note(self) -> str:
        return resolution_note(self.fpr, n_negatives=self.n_negatives)


def tpr_at_fpr(logit: np.ndarray, label: np.ndarray, *, fpr: float) -> OperatingPoint:
    """TPR at the smallest threshold whose empirical FPR is at most ``fpr``; nothing when fpr * N < 1.

    Below one expected false positive the sample says nothing of that rate: see `tpr_at_count` for TPR0.
    """
    positive, negative = logit[label == 1], logit[label == 0]
    status = resolution(fpr, n_negatives=len(negative))
    if status == "not resolvable":
        return OperatingPoint(fpr, status, None, None, None, None, len(positive), len(negative))
    threshold = threshold_at(negative, n_false_positives=allowed_false_positives(fpr, n_negatives=len(negative)))
    hits, false = int((positive > threshold).sum()), int((negative > threshold).sum())
    return OperatingPoint(fpr, status, hits / len(positive), threshold, hits, false, len(positive), len(negative))
