"""Thresholds at stated false-positive rates and logit -> probability, from sky that no claim is made on.

A threshold is the score that the allowed number of calibration negatives exceed; a probability is the share of lenses
among calibration stamps of that score, so it holds for the *mix* of lenses and negatives of the calibration sky, unless
another share of lenses is stated (a survey has fewer than one in 1,000, and its probabilities are far lower). Isotonic
regression (Zadrozny & Elkan 2002) bends the scores as the data ask; temperature scaling (Guo+2017, arXiv:1706.04599)
divides logits by one number.

    calibration = calibrate(val_scores, fprs=(1e-2, 1e-3), settings=CalibrationConfig())
    calibration.threshold(1e-2).logit, calibration.probability(logits)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from dhs.config.evaluation import CalibrationConfig
from dhs.evaluate.metrics import allowed_false_positives, resolution, resolution_note, threshold_at
from dhs.evaluate.reliability import at_share
from dhs.evaluate.table import column


class Calibrator(Protocol):
    """logit -> probability, never falling."""

    @property
    def words(self) -> str:
        """How it was fitted."""

    def probability(self, logit: np.ndarray) -> np.ndarray:
        """(N,) float64 in [0, 1] of (N,) logits."""


@dataclass(frozen=True)
class Threshold:
    """A threshold at a stated FPR; a stamp is flagged when its logit is above it."""

    fpr: float
    logit: float
    n_negatives: int
    """Calibration negatives that set it."""
    note: str
    """What makes it weak; '' for a good one."""

    @property
    def words(self) -> str:
        return f"{self.n_negatives:,} calibration negatives" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Calibration:
    """What the calibration sky gives."""

    thresholds: tuple[Threshold, ...]
    """Of the stated rates that its negatives resolve."""
    unresolved: dict[float, str]
    """Why there is no threshold at each of the others."""
    calibrator: Calibrator
    n_positives: int
    n_negatives: int
    only_accepted: bool
    """Only lenses that pass the cuts of training were used: probabilities are for such lenses."""
    lens_share: float
    """Of the stamps that probabilities are for."""

    def threshold(self, fpr: float) -> Threshold | None:
        """None where the calibration negatives cannot resolve ``fpr``, or where it is none of the stated rates."""
        return next((threshold for threshold in self.thresholds if threshold.fpr == fpr), None)

    def probability(self, logit: np.ndarray) -> np.ndarray:
        """(N,) calibrated probabilities, for a share `lens_share` of lenses."""
        return self.probability_at(logit, lens_share=self.lens_share)

    def probability_at(self, logit: np.ndarray, *, lens_share: float) -> np.ndarray:
        """(N,) calibrated probabilities where ``lens_share`` of the stamps are lenses."""
        fitted = self.n_positives / (self.n_positives + self.n_negatives)
        return at_share(self.calibrator.probability(np.asarray(logit, np.float64)), fitted=fitted, wanted=lens_share)


def calibrate(table: pa.Table, *, fprs: Sequence[float], settings: CalibrationConfig) -> Calibration:
    """Thresholds and calibrator of a score table (dhs.evaluate.held_out) that has both labels."""
    logit, label = column(table, "logit"), column(table, "label")
    negative = logit[label == 0]
    found, unresolved = thresholds_of(negative, fprs=fprs)
    fit = fit_isotonic if settings.method == "isotonic" else fit_temperature
    accepted = table.column("accepted").to_numpy()
    # The test sky has arcs that training rejects, the validation sky hardly any: p is of those that training takes.
    only_accepted = settings.source == "val" and bool(accepted.any())
    kept = (label == 0) | (accepted if only_accepted else True)
    logit, label = logit[kept], label[kept]
    n_positives = int((label == 1).sum())
    share = settings.lens_share or n_positives / len(label)
    return Calibration(found, unresolved, fit(logit, label), n_positives, len(negative), only_accepted, share)


def thresholds_of(
    negative_logit: np.ndarray, *, fprs: Sequence[float]
) -> tuple[tuple[Threshold, ...], dict[float, str]]:
    """Thresholds of the rates that (N,) negatives resolve, in the order of ``fprs``; and why not, of the others."""
    n = len(negative_logit)
    found, unresolved = [], {}
    for fpr in map(float, fprs):
        note = resolution_note(fpr, n_negatives=n)
        if resolution(fpr, n_negatives=n) == "not resolvable":
            unresolved[fpr] = note
            continue
        allowed = allowed_false_positives(fpr, n_negatives=n)
        found.append(Threshold(fpr, threshold_at(negative_logit, n_false_positives=allowed), n, note))
    return tuple(found), unresolved


@dataclass(frozen=True)
class Isotonic:
    """Straight lines between (logit, probability) knots; the end values beyond them."""

    logit: np.ndarray
    p: np.ndarray
    n: int

    @property
    def words(self) -> str:
        return f"isotonic regression of {self.n:,} calibration stamps, {len(np.unique(self.p))} levels"

    def probability(self, logit: np.ndarray) -> np.ndarray:
        return np.interp(logit, self.logit, self.p)


def fit_isotonic(logit: np.ndarray, label: np.ndarray) -> Isotonic:
    """Non-decreasing least squares (scikit-learn) of (N,) labels 0/1 on (N,) logits."""
    from sklearn.isotonic import IsotonicRegression

    fit = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(logit, label.astype(np.float64))
    return Isotonic(np.asarray(fit.X_thresholds_), np.asarray(fit.y_thresholds_), len(logit))


@dataclass(frozen=True)
class Temperature:
    """p = sigmoid(logit / temperature)."""

    temperature: float
    n: int

    @property
    def words(self) -> str:
        return f"temperature {self.temperature:.3g}, fitted to {self.n:,} calibration stamps"

    def probability(self, logit: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        return np.asarray(expit(np.asarray(logit, np.float64) / self.temperature))


LOG_TEMPERATURE_BOUNDS = (-5.0, 5.0)
"""A temperature at an end of it is no calibration: the scores are wrong in sign, or separate the labels."""


def fit_temperature(logit: np.ndarray, label: np.ndarray) -> Temperature:
    """The temperature of least cross-entropy; ValueError where there is none inside exp(-5) .. exp(5)."""
    from scipy.optimize import minimize_scalar

    def cross_entropy(log_temperature: float) -> float:
        scaled = logit * np.exp(-log_temperature)
        return float(np.mean(np.logaddexp(0.0, scaled) - label * scaled))

    found = minimize_scalar(cross_entropy, bounds=LOG_TEMPERATURE_BOUNDS, method="bounded", options={"xatol": 1e-6})
    low, high = LOG_TEMPERATURE_BOUNDS
    if not low + 1e-3 < found.x < high - 1e-3:
        raise ValueError(
            f"evaluate.calibration.method = temperature: no temperature fits the calibration scores (it runs to "
            f"{np.exp(found.x):.3g}): they rank no better than chance or separate the labels; use method=isotonic"
        )
    return Temperature(float(np.exp(found.x)), len(logit))
