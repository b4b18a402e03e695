"""The gates that need no finder: do injections differ from their galaxies in anything but the arc?

`inject.py task=validate` asks the same of a finished set (`dhs.inject.validate.gates_match`), between different
galaxies. Here every arc has its own galaxy beside it, so a hundredth of the scatter between galaxies shows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from dhs.config.gates import GatesConfig
from dhs.constants import BANDS
from dhs.evaluate.gates import questions as q
from dhs.evaluate.gates.judge import Gate, at_most, not_applicable, not_asked, within
from dhs.evaluate.gates.model_gates import PairScores
from dhs.evaluate.gates.pairs import Pairs
from dhs.evaluate.gates.statistics import PairBootstrap, auc, cohens_d, spearman
from dhs.evaluate.gates.variants import GALAXY, LENS
from dhs.evaluate.intervals import Estimate
from dhs.evaluate.table import DEPTH_COLUMNS, PSF_COLUMNS, column
from dhs.inject.supply import StampSupply
from dhs.rng import Purpose, keyed_rng
from dhs.train.masked import ring_level

CHUNK = 256
FOLDS = 5
MIN_GALAXIES = 50
"""Of each label; fewer cannot be cross-validated to any purpose."""

Progress = Callable[[int, int], None]


class Named(NamedTuple):
    """An estimate and what it is of."""

    name: str
    estimate: Estimate


def ring_table(pairs: Pairs, *, inner_fraction: float, progress: Progress | None = None) -> pa.Table:
    """Level and noise of the normalisation ring of every lens (label 1) and of its galaxy (label 0), in nMgy."""
    parts = []
    for start in range(0, len(pairs), CHUNK):
        chunk = np.arange(start, min(start + CHUNK, len(pairs)))
        for label, stamps in ((1, pairs.lenses(chunk)), (0, pairs.galaxies(chunk))):
            columns = {"target_id": stamps.recipes.target_id, "label": np.full(len(chunk), label, np.int8)}
            parts.append(pa.table(columns | _rings(stamps.images, stamps.good, inner_fraction=inner_fraction)))
        if progress is not None:
            progress(len(chunk) + start, len(pairs))
    return pa.concat_tables(parts)


def _rings(images: torch.Tensor, good: torch.Tensor, *, inner_fraction: float) -> dict[str, np.ndarray]:
    level = ring_level(images, good=good, inner_fraction=inner_fraction)
    out = {}
    for i, band in enumerate(BANDS):
        out[f"ring_level_{band}_nmgy"] = level.centre[:, i].numpy()
        out[f"ring_sigma_{band}_nmgy"] = level.sigma[:, i].numpy()
    return out


def normalisation(rings: pa.Table, *, settings: GatesConfig, seed: int) -> Gate:
    """Cohen's d of level and noise, band by band: the worst decides."""
    if len(rings) == 0:
        return not_asked(q.NORMALISATION, "no arc has its own galaxy without an arc in this set")
    label, ids = column(rings, "label"), column(rings, "target_id")
    found = []
    for i, band in enumerate(BANDS):
        level, sigma = column(rings, f"ring_level_{band}_nmgy"), column(rings, f"ring_sigma_{band}_nmgy")
        with np.errstate(invalid="ignore", divide="ignore"):
            for j, (name, values) in enumerate(((f"level {band}", level), (f"ln noise {band}", np.log(sigma)))):
                estimate = cohens_d(
                    values[label == 1],
                    values[label == 0],
                    positive_id=ids[label == 1],
                    negative_id=ids[label == 0],
                    resamples=settings.resamples,
                    rng=keyed_rng(seed, Purpose.GATES, 2, 2 * i + j),
                )
                found.append(Named(f"d of {name}", estimate))
    found.sort(key=lambda one: -abs(one.estimate.value or 0.0))
    limit = settings.normalisation.max_cohens_d
    return Gate(q.NORMALISATION, tuple(within(name, estimate, limit) for name, estimate in found))


def core_brightness(scores: PairScores, *, settings: GatesConfig) -> Gate:
    """Light of the core in z, lens over its own galaxy; g and r, where arcs and counter-images reach, are told too."""
    ratio = {
        band: scores.bootstrap.median_ratio(*(scores.columns[of][f"core_{band}_nmgy"] for of in (LENS, GALAXY)))
        for band in BANDS
    }
    told = ", ".join(f"{band} {ratio[band].value:.3f}" for band in BANDS[:-1] if ratio[band].value is not None)
    name, limit = "median ratio in z", settings.core_brightness.max_excess
    return Gate(
        q.CORE_BRIGHTNESS, (within(name, ratio["z"], limit, about=1.0),), note=f"the same in other bands: {told}"
    )


def conditions_table(supply: StampSupply, *, n_stamps: int) -> pa.Table:
    """Seeing and depth of every galaxy among the first training stamps, once a label."""
    rows, injected = supply.assignments(np.arange(n_stamps), purpose=Purpose.TRAIN)
    unique = np.unique(np.stack([rows, injected.astype(np.int64)], axis=1), axis=0)
    rows, label = unique[:, 0], unique[:, 1].astype(np.int8)
    cutouts = supply.cutouts
    columns = {"target_id": _target_id(cutouts, rows), "label": label}
    for i, band in enumerate(BANDS):
        columns[f"psf_fwhm_{band}_arcsec"] = np.asarray(cutouts.psf_fwhm_arcsec[rows, i], np.float32)
        columns[f"psf_depth_{band}_mag"] = np.asarray(cutouts.psf_depth_mag[rows, i], np.float32)
    return pa.table(columns)


def conditions(galaxies: pa.Table, negatives: pa.Table, *, settings: GatesConfig, seed: int) -> Gate:
    """Classifiers that see seeing and depth alone, cross-validated by galaxy; correlation of the scores with them.

    ``galaxies`` of `conditions_table`, of training; ``negatives``: score table (dhs.evaluate.table) of galaxies of the
    test sky without arcs.
    """
    names = [
        name
        for name in (*PSF_COLUMNS, *DEPTH_COLUMNS)
        if np.isfinite(column(galaxies, name)).all() and np.ptp(column(galaxies, name)) > 0
    ]
    if not names:
        return not_applicable(q.CONDITIONS, "seeing and depth are the same for all galaxies of this sky, or unknown")
    label = column(galaxies, "label")
    if min((label == 1).sum(), (label == 0).sum()) < MIN_GALAXIES:
        return not_asked(q.CONDITIONS, f"fewer than {MIN_GALAXIES} galaxies of a label among the training stamps")
    limits = settings.conditions
    found = classifier_aucs(galaxies, names, resamples=settings.resamples, seed=seed)
    kept = [at_most(f"AUROC, {name}", estimate, limits.max_auc) for name, estimate in found]
    worst = _largest_correlation(negatives, names, resamples=settings.resamples, seed=seed)
    if worst is not None:
        named = f"correlation of negatives' scores with {worst.name}"
        kept.append(within(named, worst.estimate, limits.max_correlation))
    return Gate(q.CONDITIONS, tuple(kept))


def classifier_aucs(galaxies: pa.Table, names: list[str], *, resamples: int, seed: int) -> list[Named]:
    """Cross-validated AUROC of a logistic regression and of boosted trees on the columns ``names``."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.stack([column(galaxies, name) for name in names], axis=1)
    label, ids = column(galaxies, "label"), column(galaxies, "target_id")
    folds = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=seed % 2**32)
    models = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
        "boosted trees": HistGradientBoostingClassifier(max_iter=50, random_state=seed % 2**32),
    }
    found = []
    for i, (name, model) in enumerate(models.items()):
        p = cross_val_predict(model, x, label, groups=ids, cv=folds, method="predict_proba")[:, 1]
        estimate = auc(
            p[label == 1],
            p[label == 0],
            positive_id=ids[label == 1],
            negative_id=ids[label == 0],
            resamples=resamples,
            rng=keyed_rng(seed, Purpose.GATES, 3, i),
        )
        found.append(Named(name, estimate))
    return found


def _largest_correlation(negatives: pa.Table, names: list[str], *, resamples: int, seed: int) -> Named | None:
    """Spearman's, of the scores with one of the columns; None where none varies."""
    if len(negatives) < MIN_GALAXIES:
        return None
    galaxy = PairBootstrap(
        column(negatives, "target_id"), resamples=resamples, rng=keyed_rng(seed, Purpose.GATES, 5, 0)
    )
    logit = column(negatives, "logit")
    found = [Named(name, spearman(column(negatives, name), logit, galaxy=galaxy)) for name in names]
    known = [one for one in found if one.estimate.value is not None]
    return max(known, key=lambda one: abs(one.estimate.value or 0.0)) if known else None


def _target_id(cutouts: object, rows: np.ndarray) -> np.ndarray:
    ids = cutouts.columns["target_id"] if hasattr(cutouts, "columns") else cutouts.target_id  # type: ignore[attr-defined]
    return np.asarray(ids[rows])
