"""The validation and test sets as items to score, and which of their scores calibrate.

Thresholds come from sky that no claim is made on. `source=val` is the validation sky: none of its galaxies is in the
test set, but the checkpoint was chosen on it, so the worst of its negatives may score a little lower than those of new
sky (the report tests that on the test negatives). `source=test_part` takes a part of the test galaxies instead, which
nothing has seen, at the price of that many fewer for the claims; neighbours on the sky may then be in both parts.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dhs.evaluate.score import score_columns
from dhs.evaluate.table import column, validate_scores
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import Galaxies, StampSupply
from dhs.rng import Purpose, stable_fraction

SALT = "calibration"


class HeldOutItems:
    """`dhs.evaluate.scored_set.StampItems` of the VAL or TEST set."""

    def __init__(self, supply: StampSupply, purpose: Purpose) -> None:
        self._supply, self._purpose = supply, purpose

    @property
    def cutouts(self) -> Galaxies:
        return self._supply.cutouts

    @property
    def identity(self) -> str:
        return self._purpose.name

    def __len__(self) -> int:
        return self._supply.n_stamps(self._purpose)

    def stamps(self, indices: np.ndarray) -> StampBatch:
        return self._supply.stamps(indices, purpose=self._purpose)

    def columns(self, stamps: StampBatch, indices: np.ndarray) -> dict[str, np.ndarray]:
        return score_columns(stamps, injector=self._supply) | {"accepted": stamps.accepted}


def require_disjoint(val: pa.Table, test: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Both, checked; ValueError where they share a galaxy."""
    val, test = _checked(val, where="val scores"), _checked(test, where="test scores")
    if shared := len(np.intersect1d(column(val, "target_id"), column(test, "target_id"))):
        raise ValueError(
            f"{shared} galaxies are in both the calibration and the test scores: thresholds need disjoint sets"
        )
    return val, test


def split_test(test: pa.Table, *, fraction: float) -> tuple[pa.Table, pa.Table]:
    """Test scores of ``fraction`` of the galaxies, chosen by the hash of their ids, and those of the others."""
    calibrates = pa.array(_chosen(column(test, "target_id"), fraction=fraction))
    others = pc.invert(calibrates)
    return _checked(test.filter(calibrates), where="calibrating part of test"), _checked(
        test.filter(others), where="rest of test"
    )


def _chosen(target_id: np.ndarray, *, fraction: float) -> np.ndarray:
    ids, inverse = np.unique(target_id, return_inverse=True)
    chosen = np.array([stable_fraction(str(one), salt=SALT) < fraction for one in ids.tolist()], dtype=bool)
    return chosen[inverse]


def _checked(table: pa.Table, *, where: str) -> pa.Table:
    """The columns of a score table, ``index`` (in its set) and ``accepted`` (bool: an arc that training would take)."""
    checked = validate_scores(table, where=where)
    for name in ("index", "accepted"):
        checked = checked.append_column(name, table.column(name))
    return checked
