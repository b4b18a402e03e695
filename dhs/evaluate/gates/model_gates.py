"""The gates that ask the finder: its scores of every variant of every pair -> answers. Pure functions of the table.

Numbers are of p = sigmoid(logit), the finder's own. "Separation" is the mean p of the lenses less that of their
galaxies; "kept" is the share of it that a variant leaves (`PairBootstrap.retained`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.special import expit

from dhs.config.gates import GatesConfig
from dhs.constants import BANDS
from dhs.evaluate.gates import questions as q
from dhs.evaluate.gates.judge import Condition, Gate, at_least, at_most, not_applicable, not_asked, within
from dhs.evaluate.gates.statistics import PairBootstrap, auc
from dhs.evaluate.gates.variants import GALAXY, LENS, NULL
from dhs.evaluate.intervals import Estimate
from dhs.evaluate.table import column
from dhs.inject.validate.gate import Question
from dhs.rng import Purpose, keyed_rng

MIN_PAIRS = 10
"""Fewer have no interval worth the name."""


@dataclass(frozen=True)
class PairScores:
    """Scores of n pairs in every variant."""

    logit: dict[str, np.ndarray]
    """(n,) each, pairs in one order."""
    target_id: np.ndarray
    columns: dict[str, dict[str, np.ndarray]]
    """The other columns by variant."""
    bootstrap: PairBootstrap

    @classmethod
    def of(cls, table: pa.Table, *, resamples: int, seed: int) -> "PairScores":
        """From the table of `PairItems`."""
        variant, pair = (table.column(name).to_numpy(zero_copy_only=False) for name in ("variant", "pair"))
        names = [name for name in table.column_names if name not in ("variant", "pair", "index")]
        columns: dict[str, dict[str, np.ndarray]] = {}
        for name in np.unique(variant):
            rows = np.flatnonzero(variant == name)
            rows = rows[np.argsort(pair[rows])]
            columns[str(name)] = {key: column(table, key)[rows] for key in names}
        galaxy = columns[LENS]["target_id"]
        rng = keyed_rng(seed, Purpose.GATES, 0, 0)
        return cls(
            logit={name: values["logit"] for name, values in columns.items()},
            target_id=galaxy,
            columns=columns,
            bootstrap=PairBootstrap(galaxy, resamples=resamples, rng=rng),
        )

    def __len__(self) -> int:
        return len(self.target_id)

    def p(self, variant: str) -> np.ndarray:
        """(n,) float64."""
        return np.asarray(expit(self.logit[variant]))

    def mean(self, variant: str) -> Estimate:
        """Mean p."""
        return self.bootstrap.mean(self.p(variant))

    def kept(self, variant: str, *, against: str = GALAXY) -> Estimate:
        """Share of the separation that ``variant`` keeps; ``against``: the galaxies, treated likewise."""
        return self.bootstrap.retained(self.p(variant), self.p(against), lens=self.p(LENS), galaxy=self.p(GALAXY))


def separation_auc(scores: PairScores, *, resamples: int, seed: int) -> Estimate:
    """AUROC of the lenses against their own galaxies."""
    return auc(
        scores.logit[LENS],
        scores.logit[GALAXY],
        positive_id=scores.target_id,
        negative_id=scores.target_id,
        resamples=resamples,
        rng=keyed_rng(seed, Purpose.GATES, 1, 0),
    )


def model_gates(scores: PairScores, *, separation: Estimate, settings: GatesConfig, bands_seen: set[str]) -> list[Gate]:
    """Every gate that asks the finder."""
    gates = [_null(scores, settings)]
    lacking = _nothing_to_take_away(separation, settings)
    for question, conditions in _INTERVENTIONS:
        if question is q.BAND_PERMUTATION and len(bands_seen) < 2:
            gates.append(not_applicable(question, f"the finder sees one band only ({', '.join(bands_seen)})"))
        elif lacking:
            gates.append(not_asked(question, lacking))
        else:
            gates.append(Gate(question, tuple(conditions(scores, settings))))
    return gates


def bands_of_channels(channels: tuple[str, ...]) -> set[str]:
    """Bands that go into a finder's channels (g, g-r, residual_z)."""
    return {band for band in BANDS for name in channels if band in name.removeprefix("residual_").split("-")}


def _nothing_to_take_away(separation: Estimate, settings: GatesConfig) -> str:
    if separation.low is not None and separation.low >= settings.min_auc:
        return ""
    interval = "" if separation.low is None else f" [{separation.low:.3g}, {separation.high:.3g}]"
    return (
        f"the finder hardly tells these lenses from their own galaxies: AUROC {separation.value:.3g}{interval}, "
        f"min_auc {settings.min_auc:g}; there is nothing that an intervention could take away"
    )


def _null(scores: PairScores, settings: GatesConfig) -> Gate:
    if NULL not in scores.logit:
        return not_asked(q.NULL_INJECTION, "a finished set holds no injection of zero flux; ask a run on its own sky")
    difference = scores.p(NULL) - scores.p(GALAXY)
    same = int((scores.logit[NULL] == scores.logit[GALAXY]).sum())
    estimate = scores.bootstrap.mean(difference)
    condition = within("mean p less that of the galaxies", estimate, settings.null_injection.max_difference)
    return Gate(q.NULL_INJECTION, (condition,), note=f"{same:,} of {len(scores):,} scores are the galaxy's to the bit")


def _core_only(scores: PairScores, settings: GatesConfig) -> list[Condition]:
    return [at_most("separation kept", scores.kept("core_only"), settings.core_only.max_retained)]


def _annulus_only(scores: PairScores, settings: GatesConfig) -> list[Condition]:
    return [at_least("separation kept", scores.kept("annulus_only"), settings.annulus_only.min_retained)]


def _arc_suppressed(scores: PairScores, settings: GatesConfig) -> list[Condition]:
    limits = settings.arc_suppressed
    return [
        at_most("mean p", scores.mean("arc_suppressed"), limits.max_mean_p),
        at_most("separation kept", scores.kept("arc_suppressed"), limits.max_retained),
    ]


def _azimuthal_shuffle(scores: PairScores, settings: GatesConfig) -> list[Condition]:
    kept = scores.kept("shuffled", against="shuffled_galaxy")
    return [at_most("separation kept", kept, settings.azimuthal_shuffle.max_retained)]


def _band_permutation(scores: PairScores, settings: GatesConfig) -> list[Condition]:
    limits = settings.band_permutation
    return [
        at_most("separation kept", scores.kept("permuted", against="permuted_galaxy"), limits.max_retained),
        at_most("mean p of galaxies so permuted", scores.mean("permuted_galaxy"), limits.max_mean_p_galaxies),
    ]


def _arc_colour(scores: PairScores, settings: GatesConfig) -> list[Condition]:
    return [at_least("separation kept", scores.kept("recoloured"), settings.arc_colour.min_retained)]


def _frame_position(scores: PairScores, settings: GatesConfig) -> list[Condition]:
    kept = scores.kept("moved", against="moved_galaxy")
    return [at_least("separation kept", kept, settings.frame_position.min_retained)]


_INTERVENTIONS: tuple[tuple[Question, Callable[[PairScores, GatesConfig], list[Condition]]], ...] = (
    (q.CORE_ONLY, _core_only),
    (q.ANNULUS_ONLY, _annulus_only),
    (q.ARC_SUPPRESSED, _arc_suppressed),
    (q.AZIMUTHAL_SHUFFLE, _azimuthal_shuffle),
    (q.BAND_PERMUTATION, _band_permutation),
    (q.ARC_COLOUR, _arc_colour),
    (q.FRAME_POSITION, _frame_position),
)
