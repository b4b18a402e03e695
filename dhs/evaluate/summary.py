"""`summarise`: the score table to every number the report states, as one JSON-ready dictionary.

Rules it keeps (SCIENCE section 6): rates come with the number of negatives and an interval; a rate the sample
cannot resolve is None with the reason, never a number; thresholds of by-bin figures come from negatives that are
disjoint from the test set (the validation split's), and the rate they reach on the test set is stated beside them.

    summary = summarise(read_scores(test), read_scores(val), fprs=(1e-2, 1e-3, 1e-4), bootstrap_resamples=1000, seed=1)
    json.dumps(summary, allow_nan=False)
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dhs.constants import CLASSES
from dhs.evaluate.binned import ARC_SNR_SUM_EDGES, THETA_E_OVER_PSF_EDGES, Cell, fpr_by_class, recall_by_bins
from dhs.evaluate.bootstrap import bootstrap
from dhs.evaluate.intervals import CONFIDENCE, Estimate, fpr_upper_bound, not_measured, percentile, proportion
from dhs.evaluate.metrics import (
    HALF_LOGIT,
    OperatingPoint,
    allowed_false_positives,
    auroc,
    hits_at_count,
    partial_auroc,
    resolution,
    resolution_note,
    threshold_at,
    tied_fraction,
    tpr_at_fpr,
)
from dhs.evaluate.table import (
    VISIBLE_MIN_ARC_SNR_SUM_G,
    VISIBLE_MIN_THETA_E_OVER_PSF,
    column,
    theta_e_over_psf,
    validate_scores,
    visible_mask,
)
from dhs.rng import Purpose, keyed_rng

PARTIAL_AUROC_MAX_FPR = 0.1
"""Upper end of the partial AUROC: a search's thresholds all lie below, and a few hundred negatives fill it."""

TIED_WARNING_FRACTION = 0.01
"""Share of tied scores above which ranks are no longer the network's (SCIENCE section 5: bf16 scores tie)."""

TPR_COUNTS = {"tpr0": 0, "tpr10": 9}
"""False positives allowed: none, and "less than ten" (Metcalf+2019 section 6)."""

Summary = dict[str, Any]


@dataclass(frozen=True)
class _Sample:
    """The columns the numbers come from, as arrays of (N,)."""

    logit: np.ndarray
    label: np.ndarray
    galaxy_id: np.ndarray
    kind: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> "_Sample":
        kind = np.asarray(table.column("kind").to_pylist(), dtype=str)
        return cls(column(table, "logit"), column(table, "label"), column(table, "target_id"), kind)

    def where(self, mask: np.ndarray) -> "_Sample":
        return _Sample(self.logit[mask], self.label[mask], self.galaxy_id[mask], self.kind[mask])


@dataclass(frozen=True)
class _Threshold:
    """A threshold at a stated FPR and where it comes from."""

    fpr: float | None
    logit: float
    source: str


def summarise(
    test_table: pa.Table,
    calibration_table: pa.Table | None,
    *,
    fprs: Sequence[float],
    bootstrap_resamples: int,
    seed: int,
    threshold_logit: float | None = None,
) -> Summary:
    """Every claim the test table supports; JSON-serialisable, None where a number cannot be measured.

    ``calibration_table`` is the validation split's score table: its negatives set the thresholds. Without one,
    ``threshold_logit`` must state the threshold of the by-bin figures. Raises ValueError when both or neither are
    given, when the tables share a galaxy, or when a table breaks its contract.
    """
    test_table = validate_scores(test_table, where="test scores")
    sample, visible = _Sample.of(test_table), visible_mask(test_table)
    negatives = sample.where(sample.label == 0)
    calibration = _calibration_negatives(calibration_table, test=sample, threshold_logit=threshold_logit)
    thresholds = [] if calibration is None else _calibrated_thresholds(calibration, fprs=fprs)
    stated = _stated_threshold(
        thresholds, calibration_n=0 if calibration is None else len(calibration), threshold_logit=threshold_logit
    )
    subsets = {
        name: _subset(
            sample.where(mask | (sample.label == 0)),
            thresholds=thresholds,
            fprs=fprs,
            resamples=bootstrap_resamples,
            # one stream a subset: the number of positives changes how many numbers a resample takes
            rng=keyed_rng(seed, Purpose.BOOTSTRAP, 0, index),
        )
        for index, (name, mask) in enumerate((("all", sample.label == 1), ("visible", visible)))
    }
    return {
        "settings": _settings(fprs=fprs, resamples=bootstrap_resamples, seed=seed),
        "counts": _counts(sample, visible=visible),
        **subsets,
        "operating_point": _operating_point(stated, negatives=negatives),
        "by_class": _by_class(negatives, stated=stated),
        "by_theta_e_over_psf": _recall(sample, theta_e_over_psf(test_table), THETA_E_OVER_PSF_EDGES, stated=stated),
        "by_arc_snr_sum": _recall(sample, column(test_table, "arc_snr_sum"), ARC_SNR_SUM_EDGES, stated=stated),
        "calibration": _calibration(calibration, fprs=fprs, thresholds=thresholds, negatives=negatives),
        "warnings": _warnings(sample, visible=visible, fprs=fprs, calibration=calibration),
    }


def _calibration_negatives(
    table: pa.Table | None, *, test: _Sample, threshold_logit: float | None
) -> np.ndarray | None:
    if (table is None) == (threshold_logit is None):
        raise ValueError(
            "give a calibration table or threshold_logit, one of the two: recall needs one stated threshold"
        )
    if table is None:
        return None
    calibration = _Sample.of(validate_scores(table, where="calibration scores"))
    if shared := len(np.intersect1d(calibration.galaxy_id, test.galaxy_id)):
        raise ValueError(
            f"{shared} galaxies are in both the calibration and the test scores: thresholds need disjoint sets"
        )
    return calibration.logit[calibration.label == 0]


def _calibrated_thresholds(negative_logit: np.ndarray, *, fprs: Sequence[float]) -> list[_Threshold]:
    """Thresholds of the rates the calibration negatives resolve, in the order of ``fprs``."""
    n = len(negative_logit)
    return [
        _Threshold(
            fpr,
            threshold_at(negative_logit, n_false_positives=allowed_false_positives(fpr, n_negatives=n)),
            f"{n:,} calibration negatives" + (f" ({note})" if (note := resolution_note(fpr, n_negatives=n)) else ""),
        )
        for fpr in fprs
        if resolution(fpr, n_negatives=n) != "not resolvable"
    ]


def _stated_threshold(thresholds: list[_Threshold], *, calibration_n: int, threshold_logit: float | None) -> _Threshold:
    """The threshold of the by-bin figures: the strictest FPR that the calibration negatives measure well.

    Where all are weak, the loosest of them, which the most negatives fix.
    """
    if threshold_logit is not None:
        return _Threshold(None, threshold_logit, "given explicitly")
    if not thresholds:
        return _Threshold(
            None, HALF_LOGIT, "p > 0.5, because the calibration negatives resolve none of the stated FPRs"
        )
    by_rate = sorted(thresholds, key=lambda threshold: threshold.fpr or 0.0)
    solid = [t for t in by_rate if resolution(t.fpr or 0.0, n_negatives=calibration_n) == "measured"]
    return solid[0] if solid else by_rate[-1]


def _settings(*, fprs: Sequence[float], resamples: int, seed: int) -> Summary:
    return {
        "fprs": [float(fpr) for fpr in fprs],
        "bootstrap_resamples": resamples,
        "seed": seed,
        "confidence": CONFIDENCE,
        "partial_auroc_max_fpr": PARTIAL_AUROC_MAX_FPR,
        "visible_min_theta_e_over_psf": VISIBLE_MIN_THETA_E_OVER_PSF,
        "visible_min_arc_snr_sum_g": VISIBLE_MIN_ARC_SNR_SUM_G,
    }


def _counts(sample: _Sample, *, visible: np.ndarray) -> Summary:
    injected = sample.label == 1
    return {
        "stamps": len(sample.label),
        "galaxies": len(np.unique(sample.galaxy_id)),
        "positives": int(injected.sum()),
        "visible": int(visible.sum()),
        "negatives": int((~injected).sum()),
        "negatives_by_class": {name: int(((sample.kind == name) & ~injected).sum()) for name in CLASSES},
    }


def _subset(
    sample: _Sample, *, thresholds: list[_Threshold], fprs: Sequence[float], resamples: int, rng: np.random.Generator
) -> Summary:
    """Ranking statistics of some positives against all negatives."""
    n_positives, n_negatives = int((sample.label == 1).sum()), int((sample.label == 0).sum())
    head = {"n_positives": n_positives, "n_negatives": n_negatives}
    if n_positives == 0:
        return head | _empty_subset(fprs)
    rates = np.asarray(fprs, dtype=float)
    draws = bootstrap(
        sample.logit, sample.label, galaxy_id=sample.galaxy_id, fprs=rates,
        max_fpr=PARTIAL_AUROC_MAX_FPR, resamples=resamples, rng=rng,
    )  # fmt: skip
    area = auroc(sample.logit, sample.label)
    partial = partial_auroc(sample.logit, sample.label, max_fpr=PARTIAL_AUROC_MAX_FPR)
    against = f"against {n_negatives:,} negatives"
    positive_logit = sample.logit[sample.label == 1]
    points = [tpr_at_fpr(sample.logit, sample.label, fpr=float(fpr)) for fpr in fprs]
    return head | {
        "auroc": percentile(draws.auroc, value=area, n=n_positives, note=against).as_dict(),
        "partial_auroc": percentile(draws.partial_auroc, value=partial, n=n_positives, note=against).as_dict(),
        "tpr_at_fpr": [_tpr_entry(point, draws=draws.tpr[:, i]) for i, point in enumerate(points)],
        **{name: _tpr_at_count(sample, allowed=allowed) for name, allowed in TPR_COUNTS.items()},
        "recall_at_half": proportion(int((positive_logit > HALF_LOGIT).sum()), n=n_positives).as_dict(),
        "recall_calibrated": [
            {"fpr": threshold.fpr, "threshold_logit": threshold.logit, "threshold_from": threshold.source}
            | proportion(int((positive_logit > threshold.logit).sum()), n=n_positives).as_dict()
            for threshold in thresholds
        ],
    }


def _empty_subset(fprs: Sequence[float]) -> Summary:
    nothing = not_measured("no lenses of this kind in the sample").as_dict()
    return {
        "auroc": nothing,
        "partial_auroc": nothing,
        "tpr_at_fpr": [{"fpr": float(fpr), "status": "not resolvable", **nothing} for fpr in fprs],
        **dict.fromkeys(TPR_COUNTS, nothing),
        "recall_at_half": nothing,
        "recall_calibrated": [],
    }


def _tpr_entry(point: OperatingPoint, *, draws: np.ndarray) -> Summary:
    if point.tpr is None:
        estimate = not_measured(point.note, n=point.n_positives)
    else:
        estimate = percentile(draws, value=point.tpr, n=point.n_positives, note=point.note)
    return estimate.as_dict() | {
        "fpr": point.fpr,
        "status": point.status,
        "threshold_logit": point.threshold,
        "k": point.n_true_positives,
        "n_false_positives": point.n_false_positives,
        "n_negatives": point.n_negatives,
    }


def _tpr_at_count(sample: _Sample, *, allowed: int) -> Summary:
    """TPR0 and TPR10: Wilson at the threshold as it is, because a bootstrap cannot see past the worst negative."""
    n_positives, n_negatives = int((sample.label == 1).sum()), int((sample.label == 0).sum())
    if n_negatives <= allowed:
        return not_measured(f"needs more than {allowed} negatives", n=n_positives).as_dict()
    note = f"at most {allowed} of {n_negatives:,} negatives above the threshold, which they set themselves"
    if allowed == 0:
        note += f"; none in {n_negatives:,} only bounds the FPR below {fpr_upper_bound(n_negatives):.1e} (95%)"
    hits = hits_at_count(sample.logit, sample.label, n_false_positives=allowed)
    return proportion(hits, n=n_positives, note=note).as_dict()


def _operating_point(stated: _Threshold, *, negatives: _Sample) -> Summary:
    """The threshold of the by-bin figures, and what it lets through on the test negatives."""
    passed = int((negatives.logit > stated.logit).sum())
    return {
        "fpr": stated.fpr,
        "threshold_logit": stated.logit,
        "threshold_from": stated.source,
        "fpr_on_test": proportion(passed, n=len(negatives.logit), method="clopper-pearson").as_dict(),
    }


def _by_class(negatives: _Sample, *, stated: _Threshold) -> Summary:
    return {
        "at_operating_point": _cells(fpr_by_class(negatives.logit, kind=negatives.kind, threshold=stated.logit)),
        "at_half": _cells(fpr_by_class(negatives.logit, kind=negatives.kind, threshold=HALF_LOGIT)),
    }


def _recall(sample: _Sample, values: np.ndarray, edges: tuple[float, ...], *, stated: _Threshold) -> list[Summary]:
    injected = sample.label == 1
    return _cells(recall_by_bins(sample.logit[injected], values=values[injected], edges=edges, threshold=stated.logit))


def _cells(cells: list[Cell]) -> list[Summary]:
    return [{"name": cell.name} | cell.rate.as_dict() for cell in cells]


def _calibration(
    calibration: np.ndarray | None, *, fprs: Sequence[float], thresholds: list[_Threshold], negatives: _Sample
) -> Summary:
    """For each stated FPR: the threshold the calibration negatives give, and the FPR it reaches on the test set."""
    if calibration is None:
        return {"n_negatives": None, "note": "no calibration set: the threshold was given explicitly", "rates": []}
    known = {threshold.fpr: threshold for threshold in thresholds}
    return {
        "n_negatives": len(calibration),
        "note": "thresholds from negatives of another split, disjoint in galaxies",
        "rates": [_calibration_rate(float(fpr), known.get(fpr), n=len(calibration), test=negatives) for fpr in fprs],
    }


def _calibration_rate(fpr: float, threshold: _Threshold | None, *, n: int, test: _Sample) -> Summary:
    note = resolution_note(fpr, n_negatives=n)
    status = resolution(fpr, n_negatives=n)
    if threshold is None:
        return {"fpr": fpr, "status": status, "threshold_logit": None, "fpr_on_test": not_measured(note).as_dict()}
    passed = int((test.logit > threshold.logit).sum())
    reached: Estimate = proportion(passed, n=len(test.logit), method="clopper-pearson", note=note)
    return {"fpr": fpr, "status": status, "threshold_logit": threshold.logit, "fpr_on_test": asdict(reached)}


def _warnings(
    sample: _Sample, *, visible: np.ndarray, fprs: Sequence[float], calibration: np.ndarray | None
) -> list[str]:
    """What a reader must know before quoting a number."""
    n_negatives = int((sample.label == 0).sum())
    found = [f"FPR {fpr:g}: {note}" for fpr in fprs if (note := resolution_note(float(fpr), n_negatives=n_negatives))]
    if not visible.any():
        found.append("no visible lenses in the sample (theta_E > 1.2 FWHM_r and g-band arc S/N > 25)")
    if empty := [name for name in CLASSES if not ((sample.kind == name) & (sample.label == 0)).any()]:
        found.append(f"no negatives of class {', '.join(empty)}: contamination by them is unknown")
    if (tied := tied_fraction(sample.logit)) > TIED_WARNING_FRACTION:
        found.append(
            f"{tied:.1%} of the scores are tied: ranks are not the network's own (bf16 scores, or a dead network)"
        )
    if calibration is not None and (tied := tied_fraction(calibration)) > TIED_WARNING_FRACTION:
        found.append(f"{tied:.1%} of the calibration scores are tied: thresholds are coarser than stated")
    for value, name in ((1, "positives"), (0, "negatives")):
        ids = sample.galaxy_id[sample.label == value]
        if (repeats := len(ids) - len(np.unique(ids))) > 0:
            found.append(
                f"{repeats} of {len(ids)} {name} repeat a galaxy: the bootstrap resamples galaxies, "
                "but Wilson and Clopper-Pearson intervals count stamps and are too narrow"
            )
    return found
