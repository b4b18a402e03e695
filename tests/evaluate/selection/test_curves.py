"""Completeness over one quantity: weighted shares, intervals, and what falls into no bin."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from dhs.evaluate.selection.curves import completeness_curve


def test_equal_weights_give_counts_with_statsmodels_wilson():
    values = np.array([0.5, 1.0, 1.5, 1.9, 2.0, 7.0, np.nan, -1.0])
    found = np.array([True, True, False, True, False, True, True, True])
    curve = completeness_curve(
        values,
        edges=np.array([0.0, 1.0, 2.0, 3.0, 4.0]),
        found=found,
        weight=np.full(8, 0.2),
        host=np.arange(8),
        rho=0.0,
    )
    assert curve.n.tolist() == [1, 3, 1, 0]
    assert curve.value[:3] == pytest.approx([1.0, 2 / 3, 0.0]) and np.isnan(curve.value[3])
    low, high = proportion_confint(np.array([1, 2, 0]), np.array([1, 3, 1]), method="wilson")
    assert curve.low[:3] == pytest.approx(np.clip(low, 0, 1)) and curve.high[:3] == pytest.approx(np.clip(high, 0, 1))
    assert np.isnan(curve.low[3])
    assert curve.n_outside == 3 and curve.share_outside == pytest.approx(3 / 8)


def test_weights_move_the_value_and_widen_the_interval():
    rng = np.random.default_rng(4)
    found, weight = rng.random(400) < 0.5, rng.lognormal(0, 1, 400)
    edges, values, host = np.array([0.0, 1.0]), np.full(400, 0.5), np.arange(400)
    curve = completeness_curve(values, edges=edges, found=found, weight=weight, host=host, rho=0.0)
    flat = completeness_curve(values, edges=edges, found=found, weight=np.ones(400), host=host, rho=0.0)
    repeated = completeness_curve(values, edges=edges, found=found, weight=weight, host=host % 20, rho=0.1)
    assert curve.value[0] == pytest.approx(weight[found].sum() / weight.sum())
    assert curve.n_effective[0] == pytest.approx(weight.sum() ** 2 / (weight**2).sum()) and flat.n_effective[0] == 400
    widths = [(c.high - c.low)[0] for c in (flat, curve, repeated)]
    assert widths[0] < widths[1] < widths[2]
