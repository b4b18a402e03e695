"""What the gates estimate, each with a 95% interval from a bootstrap over galaxies.

Several arcs may lie on one galaxy, and every variant of a lens is scored on the same galaxy: galaxies are resampled
with all that was made of them (`dhs.evaluate.bootstrap.resampled_weights`), so differences are those of pairs.
"""

from collections.abc import Callable

import numpy as np

from dhs.evaluate.bootstrap import bootstrap, resampled_weights
from dhs.evaluate.intervals import Estimate, fpr_upper_bound, not_measured, percentile

WINSOR = 0.01
"""Values beyond these quantiles are moved to them: one bright star must not hide a difference."""
SAME, MIN_UNLIKE = 1e-6, 5
"""With fewer pairs than this that differ by more than that from the median, a bootstrap knows no scatter."""
MIN_SEPARATION = 1e-3
"""Difference of the mean p of lenses and of galaxies below which a share of it means nothing."""


class PairBootstrap:
    """Means of numbers a pair, over resamples of the galaxies that the pairs are of."""

    def __init__(self, galaxy_id: np.ndarray, *, resamples: int, rng: np.random.Generator) -> None:
        ones = np.ones(len(galaxy_id), dtype=np.int8)
        parts = list(resampled_weights(ones, galaxy_id=galaxy_id, resamples=resamples, rng=rng))
        self.weights = np.concatenate(parts).astype(np.float64)
        self.weights /= self.weights.sum(axis=1, keepdims=True)
        self.n = len(galaxy_id)
        self.n_galaxies = len(np.unique(galaxy_id))

    def draws(self, values: np.ndarray) -> np.ndarray:
        """(K,) means of (n,) ``values``."""
        return np.asarray(self.weights @ values)

    def mean(self, values: np.ndarray, *, note: str = "") -> Estimate:
        """Mean of (n,) numbers that lie within 1 of one another.

        Where all but a few pairs have one value, as when a difference is 0 in every pair, resamples hardly move it.
        Then the interval is that of a rate of which n galaxies show none: a bound, not a certainty.
        """
        value = float(values.mean())
        found = percentile(self.draws(values), value=value, n=self.n, note=note)
        if found.low is not None and np.count_nonzero(np.abs(values - np.median(values)) > SAME) >= MIN_UNLIKE:
            return found
        bound = fpr_upper_bound(self.n_galaxies)
        return Estimate(value, value - bound, value + bound, self.n, method="rule of three", note=note)

    def median_ratio(self, above: np.ndarray, below: np.ndarray) -> Estimate:
        """Median of ``above / below`` over the pairs."""
        ratio = above / below
        usable = np.isfinite(ratio)
        if not usable.any():
            return not_measured("no pair has light in both cores")
        order = np.argsort(ratio[usable])
        cumulative = np.cumsum(self.weights[:, usable][:, order], axis=1)
        middle = (cumulative < 0.5 * cumulative[:, -1:]).sum(axis=1).clip(max=usable.sum() - 1)
        return percentile(ratio[usable][order][middle], value=float(np.median(ratio[usable])), n=int(usable.sum()))

    def retained(
        self, treated: np.ndarray, treated_galaxy: np.ndarray, *, lens: np.ndarray, galaxy: np.ndarray
    ) -> Estimate:
        """Share of the finder's separation, mean p of lenses less that of their galaxies, that a treatment leaves.

        (mean treated - mean treated galaxy) / (mean lens - mean galaxy): 0, nothing of it; 1, all. (n,) p each.
        """
        separation = float((lens - galaxy).mean())
        if separation < MIN_SEPARATION:
            return not_measured("the finder does not score lenses above their galaxies", n=self.n)
        value = float((treated - treated_galaxy).mean()) / separation
        below = self.draws(lens - galaxy)
        draws = self.draws(treated - treated_galaxy) / np.where(below > 0, below, np.nan)
        if np.isnan(draws).any():
            return not_measured("the finder's separation is not above 0 beyond its error", n=self.n)
        found = percentile(draws, value=value, n=self.n)
        if found.low is not None:
            return found
        bound = fpr_upper_bound(self.n_galaxies) / separation
        return Estimate(value, value - bound, value + bound, self.n, method="rule of three")


def auc(
    positive: np.ndarray,
    negative: np.ndarray,
    *,
    positive_id: np.ndarray,
    negative_id: np.ndarray,
    resamples: int,
    rng: np.random.Generator,
) -> Estimate:
    """AUROC of two sets of numbers, galaxies resampled with all their rows; at least 0.5 is not enforced."""
    from dhs.evaluate.metrics import auroc

    values = np.concatenate([positive, negative])
    label = np.repeat(np.array([1, 0], np.int8), [len(positive), len(negative)])
    galaxy_id = np.concatenate([positive_id, negative_id])
    draws = bootstrap(values, label, galaxy_id=galaxy_id, fprs=np.array([]), max_fpr=0.1, resamples=resamples, rng=rng)
    found = percentile(draws.auroc, value=auroc(values, label), n=len(values))
    if found.low is not None:
        return found
    bound = fpr_upper_bound(len(np.unique(galaxy_id)))
    value = auroc(values, label)
    return Estimate(value, max(value - bound, 0.0), min(value + bound, 1.0), len(values), method="rule of three")


def cohens_d(
    positive: np.ndarray,
    negative: np.ndarray,
    *,
    positive_id: np.ndarray,
    negative_id: np.ndarray,
    resamples: int,
    rng: np.random.Generator,
) -> Estimate:
    """(mean positive - mean negative) / sqrt of the mean variance, values winsorised; pairs stay pairs."""
    values = np.concatenate([positive, negative]).astype(np.float64)
    label = np.repeat(np.array([1, 0], np.int8), [len(positive), len(negative)])
    galaxy_id = np.concatenate([positive_id, negative_id])
    usable = np.isfinite(values)
    values, label, galaxy_id = values[usable], label[usable], galaxy_id[usable]
    if min((label == 1).sum(), (label == 0).sum()) < 2:
        return not_measured("fewer than two stamps of a kind", n=len(values))
    values = np.clip(values, *np.quantile(values, (WINSOR, 1 - WINSOR)))
    draws = np.concatenate(
        [
            _d(weights.astype(np.float64), values, label)
            for weights in resampled_weights(label, galaxy_id=galaxy_id, resamples=resamples, rng=rng)
        ]
    )
    value = float(_d(np.ones((1, len(values))), values, label)[0])
    found = percentile(draws, value=value, n=len(values))
    if found.low is not None:
        return found
    return Estimate(value, value, value, len(values), note="the same in every stamp")


def _d(weights: np.ndarray, values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(K,) Cohen's d under (K, n) weights."""
    moments = []
    for truth in (1, 0):
        w, v = weights[:, label == truth], values[label == truth]
        total = w.sum(axis=1)
        mean = w @ v / total
        moments.append((mean, w @ v**2 / total - mean**2))
    (mean_1, var_1), (mean_0, var_0) = moments
    spread = np.sqrt(np.maximum(0.5 * (var_1 + var_0), 0.0))
    return np.divide(mean_1 - mean_0, spread, out=np.zeros_like(spread), where=spread > 0)


def spearman(a: np.ndarray, b: np.ndarray, *, galaxy: PairBootstrap) -> Estimate:
    """Rank correlation of (n,) numbers; the ranks are those of the sample, reweighted in each resample."""
    from scipy.stats import rankdata, spearmanr

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return not_measured("one of the two does not vary", n=len(a))
    value = float(spearmanr(a, b).statistic)
    x, y = (rankdata(values) for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    mean: Callable[[np.ndarray], np.ndarray] = galaxy.draws
    covariance = mean(x * y) - mean(x) * mean(y)
    variances = (mean(x**2) - mean(x) ** 2) * (mean(y**2) - mean(y) ** 2)
    return percentile(covariance / np.sqrt(variances), value=value, n=len(a))
