"""The realism gate from its table: AUC of the probes, balance of the match, and what may be concluded. Pure."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from dhs.config.realism import RealismConfig
from dhs.evaluate.realism.features import FAMILIES, feature_names
from dhs.evaluate.realism.matching import Balance, balance
from dhs.evaluate.realism.probe import Probed, probe
from dhs.evaluate.realism.samples import COVARIATES

Conclusion = Literal["told apart", "alike", "cannot tell"]
SIGNIFICANT = 0.05
DECIDING = ("fixed", "model")
"""Sets of features that conclude; the families only say where a difference lies."""


@dataclass(frozen=True)
class Realism:
    """What came of it."""

    label: str
    """Of real lenses that are no survey cutouts; else ''."""
    n_real: int
    n_pairs: int
    probes: dict[str, Probed]
    """By set of features: fixed, model (where the finder has features), and the families of the fixed ones; empty with
    too few pairs."""
    balance: list[Balance]
    conclusion: Conclusion
    pictures: list[tuple[str, bytes, str, bytes]]
    """Name and PNG of each real lens and its injection."""


def analyse(table: pa.Table, *, settings: RealismConfig, rng: np.random.Generator) -> Realism:
    """Of the table of `dhs.evaluate.realism.samples.samples_table`."""
    pair, is_real = table.column("pair").to_numpy(), np.array(table.column("is_real").to_pylist(), dtype=bool)
    sides = [np.flatnonzero((pair >= 0) & (is_real == side)) for side in (True, False)]
    real, matched = (rows[np.argsort(pair[rows], kind="stable")] for rows in sides)
    values = np.stack([table.column(name).to_numpy() for name in COVARIATES], axis=1)
    compared = balance(values[real], values[matched], values[~is_real], names=COVARIATES)
    names, pngs = table.column("name").to_pylist(), table.column("png").to_pylist()
    pictures = [(names[i], pngs[i], names[j], pngs[j]) for i, j in zip(real.tolist(), matched.tolist(), strict=True)]
    probes: dict[str, Probed] = {}
    if len(real) >= settings.min_pairs:
        objects = np.array(table.column("object").to_pylist())[np.concatenate([real, matched])]
        probes = _probes(table, real, matched, objects=objects, settings=settings, rng=rng)
    return Realism(
        label=str(table.column("label")[0].as_py()),
        n_real=int(is_real.sum()),
        n_pairs=len(real),
        probes=probes,
        balance=compared,
        conclusion=conclude(probes, max_auc=settings.max_auc),
        pictures=pictures,
    )


def conclude(probes: dict[str, Probed], *, max_auc: float) -> Conclusion:
    """Of the deciding probes: told apart by any, at 5% for all of them; alike when all intervals lie below max_auc."""
    tested = [probes[name] for name in DECIDING if name in probes]
    if any(one.p_value * len(tested) < SIGNIFICANT for one in tested):  # Bonferroni
        return "told apart"
    return "alike" if tested and all(one.high < max_auc for one in tested) else "cannot tell"


def _probes(
    table: pa.Table,
    real: np.ndarray,
    matched: np.ndarray,
    *,
    objects: np.ndarray,
    settings: RealismConfig,
    rng: np.random.Generator,
) -> dict[str, Probed]:
    def tested(features: np.ndarray) -> Probed:
        m = len(real)
        return probe(
            features[:m],
            features[m:],
            objects=objects,
            folds=settings.folds,
            regularisation=settings.regularisation,
            permutations=settings.permutations,
            resamples=settings.resamples,
            rng=rng,
        )

    rows = np.concatenate([real, matched])
    fixed, model = (np.array(table.column(name).take(pa.array(rows)).to_pylist()) for name in ("fixed", "model"))
    found = {"fixed": tested(fixed)}
    if model.shape[1]:
        found["model"] = tested(model)
    family = np.array([name.split(":")[0] for name in feature_names()])
    for name in FAMILIES:
        found[name] = tested(fixed[:, family == name])
    return found
