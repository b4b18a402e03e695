"""The probe: chance is chance, a planted difference is found, nothing is learned by heart."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from dhs.evaluate.realism.probe import Probed, fold_auc, fold_of_pairs, pairs_needed, principal, probe


def probed(
    real: np.ndarray, matched: np.ndarray, *, seed: int = 0, objects: np.ndarray | None = None, permutations: int = 39
) -> Probed:
    names = np.arange(2 * len(real)).astype(str) if objects is None else objects
    return probe(
        real,
        matched,
        objects=names,
        folds=5,
        regularisation=0.1,
        permutations=permutations,
        resamples=50,
        rng=np.random.default_rng(seed),
    )


def test_chance_gives_a_half_and_p_values_that_mean_what_they_say():
    """24 comparisons of equal populations, 20 features of 30 pairs."""
    rng, results = np.random.default_rng(1), []
    for seed in range(24):
        results.append(probed(rng.normal(size=(30, 20)), rng.normal(size=(30, 20)), seed=seed, permutations=19))
    assert np.mean([one.auc for one in results]) == pytest.approx(0.5, abs=0.05)
    assert sum(one.p_value <= 0.05 for one in results) <= 4  # 1.2 expected; 5 have p = 0.007
    assert sum(one.low <= 0.5 <= one.high for one in results) >= 20  # 22.8 expected


def test_a_planted_difference_is_found_and_its_interval_excludes_a_half():
    rng = np.random.default_rng(2)
    real, matched = rng.normal(size=(60, 20)), rng.normal(size=(60, 20))
    real[:, 3] += 1.5
    found = probed(real, matched)
    assert found.auc > 0.75 and found.low > 0.5 and found.p_value == pytest.approx(1 / 40)
    assert found.chance_high < found.auc


def test_auc_in_folds_is_scikit_learns():
    rng = np.random.default_rng(3)
    score, label, fold = rng.normal(size=80).round(1), np.tile([1.0, 0.0], 40), np.repeat(np.arange(4), 20)
    each = [roc_auc_score(label[fold == i], score[fold == i]) for i in range(4)]
    assert fold_auc(score, label, fold=fold) == pytest.approx(np.mean(each))


def test_principal_axes_change_no_prediction_of_the_ridge():
    rng = np.random.default_rng(4)
    values, label = rng.normal(size=(40, 200)) * rng.uniform(0.1, 9, 200), np.tile([1, 0], 20)
    turned, plain = principal(values), StandardScaler().fit_transform(values)
    assert turned.shape == (40, 40)
    fits = [LogisticRegression(C=0.1, max_iter=5000, tol=1e-10).fit(x[:30], label[:30]) for x in (turned, plain)]
    one, other = (fit.decision_function(x[30:]) for fit, x in zip(fits, (turned, plain), strict=True))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_features_that_do_not_vary_are_nothing_to_tell_by():
    with pytest.raises(ValueError, match="no feature varies"):
        probed(np.ones((20, 3)), np.ones((20, 3)))


def test_a_galaxy_on_both_sides_is_in_one_fold():
    rng = np.random.default_rng(5)
    objects = np.concatenate([np.arange(40), np.repeat(np.arange(100, 120), 2)]).astype(str)
    fold = fold_of_pairs(objects, folds=2, rng=rng)
    of_row = np.tile(fold, 2)
    for name in np.unique(objects):
        assert len(np.unique(of_row[objects == name])) == 1


def test_what_is_learned_by_heart_does_not_count():
    """Each galaxy has a fingerprint and every copy of it one label: with copies split over folds the AUC would be 1."""
    rng = np.random.default_rng(6)
    prints = rng.normal(size=(24, 60))
    real, matched = np.repeat(prints[:12], 5, axis=0), np.repeat(prints[12:], 5, axis=0)
    objects = np.concatenate([np.repeat(np.arange(12), 5), 12 + np.repeat(np.arange(12), 5)]).astype(str)
    grouped = [probed(real, matched, seed=s, objects=objects, permutations=9).auc for s in range(6)]
    naive = probed(real, matched, permutations=9).auc
    assert naive > 0.95
    assert np.mean(grouped) < 0.75


def test_too_few_groups_are_an_error():
    with pytest.raises(ValueError, match="5 folds need as many"):
        fold_of_pairs(np.array(["a", "b", "c", "d", "e", "f"]), folds=5, rng=np.random.default_rng(0))


def test_the_pairs_that_it_takes_follow_the_power_of_mann_and_whitney():
    """By simulation: Gaussian scores of AUC 0.7, tested at 95%, are told from 0.5 in about 80% of the samples."""
    from scipy import stats

    m = pairs_needed(0.7)
    assert m == 33
    rng, shift = np.random.default_rng(7), np.sqrt(2) * stats.norm.ppf(0.7)
    power = [stats.mannwhitneyu(rng.normal(shift, 1, m), rng.normal(0, 1, m)).pvalue < 0.05 for _ in range(600)]
    assert 0.74 < np.mean(power) < 0.90
