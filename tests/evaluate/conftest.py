"""Synthetic score tables: a finder whose score rises with theta_E/seeing and arc S/N, as real ones do."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from dhs.constants import CLASSES
from dhs.evaluate.table import ARC_COLUMNS, SCORE_SCHEMA, validate_scores
from dhs.rng import Purpose, keyed_rng

CLASS_SHARES = (0.5, 0.15, 0.1, 0.08, 0.09, 0.08)
CLASS_MEAN_LOGIT = (-3.0, -1.5, -2.2, -1.2, -1.6, -2.0)

TableMaker = Callable[..., pa.Table]


def synthetic_scores(*, n_positives: int, n_negatives: int, seed: int, first_id: int = 0) -> pa.Table:
    rng = keyed_rng(seed, Purpose.BENCHMARK, 0, 0)
    n = n_positives + n_negatives
    injected = np.arange(n) < n_positives
    kind = np.where(injected, 0, rng.choice(len(CLASSES), size=n, p=CLASS_SHARES))
    columns = {
        "theta_e_arcsec": rng.uniform(0.5, 2.5, n),
        "magnification": rng.gamma(3.0, 3.0, n) + 2,
        "source_mag_r": rng.uniform(22.5, 26.0, n),
        "arc_snr": rng.lognormal(1.5, 0.7, n),
        "arc_snr_sum": rng.lognormal(3.6, 0.8, n) + 5,
        "psf_fwhm_g_arcsec": rng.normal(1.29, 0.12, n),
        "psf_fwhm_r_arcsec": rng.normal(1.18, 0.12, n),
        "psf_fwhm_z_arcsec": rng.normal(1.11, 0.12, n),
        "psf_depth_g_mag": rng.normal(24.8, 0.3, n),
        "psf_depth_r_mag": rng.normal(24.4, 0.3, n),
        "psf_depth_z_mag": rng.normal(23.4, 0.3, n),
    }
    columns["arc_snr_sum_g"] = columns["arc_snr_sum"] * rng.uniform(0.4, 1.0, n)
    seen = 1.8 * np.log10(columns["arc_snr_sum"]) + 1.5 * columns["theta_e_arcsec"] / columns["psf_fwhm_r_arcsec"] - 4.2
    mean = np.where(injected, seen, np.asarray(CLASS_MEAN_LOGIT)[kind])
    logit = rng.normal(mean, 1.6)
    for name in ARC_COLUMNS:
        columns[name] = np.where(injected, columns[name], np.nan)
    columns |= {"target_id": first_id + np.arange(n), "label": injected, "logit": logit}
    columns["kind"] = [CLASSES[code] for code in kind]
    arrays = {name: _array(columns[name], SCORE_SCHEMA.field(name).type) for name in SCORE_SCHEMA.names}
    return validate_scores(pa.table(arrays, schema=SCORE_SCHEMA), where="synthetic")


def _array(values: np.ndarray | list[str], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return pa.array(values, type=kind)
    return pa.array(np.asarray(values).astype(kind.to_pandas_dtype()))


def as_held_out(table: pa.Table) -> pa.Table:
    """The table with the two columns that `dhs.evaluate.held_out` keeps beside those of a score table."""
    accepted = table.column("label").to_numpy() == 1
    return table.append_column("index", pa.array(np.arange(len(table)))).append_column("accepted", pa.array(accepted))


@pytest.fixture(scope="session")
def make_scores() -> TableMaker:
    return synthetic_scores


@pytest.fixture(scope="session")
def test_scores() -> pa.Table:
    return synthetic_scores(n_positives=900, n_negatives=1200, seed=3)


@pytest.fixture(scope="session")
def val_scores() -> pa.Table:
    return synthetic_scores(n_positives=300, n_negatives=1100, seed=4, first_id=1_000_000)
