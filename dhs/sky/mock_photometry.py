"""Magnitudes and colours of the mock survey: LRGs as in DR10, the field, stars.

The LRG numbers were fitted (scikit-learn GaussianMixture, three components; quantiles every 5%) to the 4,408 early
types (TYPE DEV or SER, z > 17.5, 0.4 < r-z < 2.2, 0.7 < g-r < 2.4) of a public DR10 LRG catalogue (relaxed colour
cut, z < 20.4); magnitudes as observed. Field counts and colours are round numbers after the Legacy Survey.
"""

import numpy as np

LRG_Z_QUANTILES_MAG = np.array(
    [17.511, 18.639, 18.917, 19.092, 19.235, 19.361, 19.454, 19.556, 19.636, 19.720, 19.800]
    + [19.873, 19.941, 19.999, 20.058, 20.120, 20.180, 20.235, 20.294, 20.344, 20.399]
)
"""z magnitude at cumulative fractions 0, 0.05 ... 1."""

LRG_WEIGHT_Z_MAG = np.array([18.2, 19.25, 19.75, 20.2])
LRG_WEIGHTS = np.array([[0.30, 0.05, 0.65], [0.25, 0.16, 0.59], [0.28, 0.21, 0.51], [0.35, 0.28, 0.37]])
"""Weight of each component of the mixture at four z magnitudes: bright LRGs are near, and not the reddest."""

LRG_MEANS = np.array([[1.172, 1.238], [1.639, 1.901], [1.259, 1.832]])
LRG_COVARIANCES = np.array(
    [
        [[0.0933, 0.0220], [0.0220, 0.0557]],
        [[0.0522, 0.0140], [0.0140, 0.0421]],
        [[0.0247, 0.0123], [0.0123, 0.0334]],
    ]
)
"""Mixture over (r-z, g-r)."""

LRG_COLOUR_LOW = np.array([0.4, 0.7])
LRG_COLOUR_HIGH = np.array([2.2, 2.4])
"""Where the fit holds; draws outside are drawn again."""

FIELD_FAINT_R_MAG = 24.5
FIELD_BRIGHT_R_MAG = 17.5
FIELD_COUNT_SLOPE = 0.35
"""Galaxy counts: log10 N(<r) = 0.35 r (r-band counts of 20 < r < 25)."""

STAR_BRIGHT_R_MAG = 17.0
STAR_FAINT_R_MAG = 23.0
STAR_COUNT_SLOPE = 0.15
"""High-latitude star counts; brighter stars would saturate, and targets near them are masked out of DR10."""


def lrg_mags(rng: np.random.Generator) -> np.ndarray:
    """(3,) g, r, z of one LRG."""
    z_mag = np.interp(rng.random(), np.linspace(0.0, 1.0, len(LRG_Z_QUANTILES_MAG)), LRG_Z_QUANTILES_MAG)
    weights = [np.interp(z_mag, LRG_WEIGHT_Z_MAG, column) for column in LRG_WEIGHTS.T]
    while True:
        component = rng.choice(len(weights), p=weights)
        deviates = np.linalg.cholesky(LRG_COVARIANCES[component]) @ rng.standard_normal(2)
        colour = LRG_MEANS[component] + deviates
        if np.all((colour > LRG_COLOUR_LOW) & (colour < LRG_COLOUR_HIGH)):
            return mags_of(z_mag + colour[0], g_r=colour[1], r_z=colour[0])


LATE_TYPE_MEAN = np.array([1.37, 1.08])
LATE_TYPE_SIGMA = np.array([0.39, 0.29])
LATE_TYPE_CORRELATION = 0.62
LATE_TYPE_LOW, LATE_TYPE_HIGH = np.array([0.4, 0.4]), np.array([2.4, 2.0])
"""g-r and r-z of the 1,021 galaxies of TYPE EXP in the same catalogue (mean, standard deviation, correlation)."""


def late_type_colour(rng: np.random.Generator) -> tuple[float, float]:
    """g-r and r-z of a disc galaxy that passes the LRG cuts."""
    while True:
        u, v = rng.standard_normal(2)
        v = LATE_TYPE_CORRELATION * u + np.sqrt(1.0 - LATE_TYPE_CORRELATION**2) * v
        colour = LATE_TYPE_MEAN + LATE_TYPE_SIGMA * np.array([u, v])
        if np.all((colour > LATE_TYPE_LOW) & (colour < LATE_TYPE_HIGH)):
            return float(colour[0]), float(colour[1])


def mags_of(r_mag: float, *, g_r: float, r_z: float) -> np.ndarray:
    """(3,) g, r, z of an r magnitude and two colours."""
    return np.array([r_mag + g_r, r_mag, r_mag - r_z])


def blue_colour(rng: np.random.Generator) -> tuple[float, float]:
    """g-r and r-z of a star-forming field galaxy, disc or ring."""
    g_r = float(rng.normal(0.35, 0.22))
    return g_r, 0.30 + 0.35 * (g_r - 0.35) + float(rng.normal(0.0, 0.18))


def faint_blue_colour(rng: np.random.Generator) -> tuple[float, float]:
    """g-r and r-z distributed as those of lensed sources (SCIENCE section 2): a companion as blue as an arc."""
    return float(rng.normal(0.3, 0.25)), float(rng.normal(0.3, 0.3))


def red_colour(rng: np.random.Generator) -> tuple[float, float]:
    """g-r and r-z of a quiescent galaxy at z 0.2-0.8."""
    g_r = float(np.clip(rng.normal(1.5, 0.3), 0.7, 2.2))
    return g_r, float(np.clip(0.35 + 0.45 * g_r + rng.normal(0.0, 0.15), 0.4, 1.8))


def star_colour(rng: np.random.Generator) -> tuple[float, float]:
    """g-r and r-z on the stellar locus: turn-off stars, or M dwarfs where g-r saturates at 1.5."""
    if rng.random() < 0.45:
        return float(rng.normal(1.48, 0.07)), float(rng.uniform(0.7, 2.0))
    g_r = float(np.clip(rng.normal(0.6, 0.25), 0.2, 1.3))
    return g_r, 0.5 * g_r + float(rng.normal(0.0, 0.03))


def field_r_mag(rng: np.random.Generator) -> float:
    """r of a field galaxy between the bright and the faint limit."""
    return _power_counts(rng.random(), FIELD_BRIGHT_R_MAG, FIELD_FAINT_R_MAG, FIELD_COUNT_SLOPE)


def star_r_mag(rng: np.random.Generator) -> float:
    return _power_counts(rng.random(), STAR_BRIGHT_R_MAG, STAR_FAINT_R_MAG, STAR_COUNT_SLOPE)


def _power_counts(u: float, bright_mag: float, faint_mag: float, slope: float) -> float:
    """Inverse of the cumulative counts 10**(slope m) cut at ``bright_mag`` and ``faint_mag``."""
    floor = 10.0 ** (slope * (bright_mag - faint_mag))
    return float(faint_mag + np.log10(floor + u * (1.0 - floor)) / slope)
