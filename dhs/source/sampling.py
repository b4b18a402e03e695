"""Which galaxies of a catalogue make the bank: a keyed order to try them in, and a choice among those accepted.

*Uniform*: the first ``n_sources`` acceptable galaxies of the order. *Stratified*: redshift is known beforehand, size
and clumpiness only of the cleaned template (the catalogue's fits say how large a smooth model would be, and nothing of
clumps), so more galaxies are accepted than needed and the bank is chosen among them, in two steps, both functions of
seed and catalogue alone: every cell of redshift, size and clumpiness gives its first galaxy, then its second, and so on
until there are enough. Rare kinds are then as many as common ones, as far as the catalogue has them.
"""

import numpy as np

from dhs.config.bank_build import Strata
from dhs.rng import Purpose, keyed_rng


def keyed_order(n_galaxies: int, *, seed: int, max_tries: int) -> np.ndarray:
    """(min(n, max_tries),) catalogue rows in the order they are tried: a permutation keyed by ``seed``."""
    return keyed_rng(seed, Purpose.BANK, 0, 0).permutation(n_galaxies)[:max_tries]


def cells(*, zphot: np.ndarray, hlr_arcsec: np.ndarray, clumpiness: np.ndarray, strata: Strata) -> np.ndarray:
    """(N,) number of each galaxy's cell; an unknown redshift (NaN) has cells of its own."""
    z_bin = np.where(np.isfinite(zphot), np.digitize(zphot, strata.zphot), len(strata.zphot) + 1)
    size_bin = np.digitize(hlr_arcsec, strata.half_light_radius_arcsec)
    clump_bin = np.digitize(clumpiness, strata.clumpiness)
    shape = (len(strata.zphot) + 2, len(strata.half_light_radius_arcsec) + 1, len(strata.clumpiness) + 1)
    return np.ravel_multi_index((z_bin, size_bin, clump_bin), shape)


def share_alike(cell: np.ndarray, *, n: int) -> np.ndarray:
    """(min(n, N),) ascending positions in ``cell``: each cell's first member, then each one's second, until ``n``."""
    by_cell = np.argsort(cell, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(cell[by_cell])) + 1])
    rank = np.empty(len(cell), np.int64)
    rank[by_cell] = np.arange(len(cell)) - np.repeat(starts, np.diff([*starts, len(cell)]))
    return np.sort(np.lexsort((np.arange(len(cell)), rank))[:n])
