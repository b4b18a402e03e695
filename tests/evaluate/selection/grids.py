"""Injections without a network: a grid of cells, hosts with their conditions, a finder with a known law."""

from collections.abc import Callable

import numpy as np

from dhs.evaluate.selection.cells import Injections
from dhs.evaluate.selection.grid import SelectionGrid

GRID = SelectionGrid(np.array([0.5, 1.0, 1.8, 2.5]), np.array([0.9, 1.1, 1.4]), np.array([23.5, 24.2, 24.8, 26.0]))
HOSTS = np.array([[4, 30, 60], [12, 0, 25]])
"""(P, D) galaxies with each seeing and depth; one condition has none."""

Law = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""theta_E, seeing, depth, host effect -> probability to be found."""


def truth(theta: np.ndarray, psf: np.ndarray, depth: np.ndarray, host: np.ndarray) -> np.ndarray:
    """Larger, sharper and deeper is easier."""
    return 1 / (1 + np.exp(-(1.8 * (theta / psf - 1.2) + 0.9 * (depth - 24.6) + host)))


def injections(
    rng: np.random.Generator, *, per_cell: int = 60, host_scatter: float = 0.0, hosts: np.ndarray = HOSTS
) -> tuple[Injections, np.ndarray]:
    """Scored injections (found: logit > 0), and (N,) the probability of each to be found; every host serves in turn."""
    cell, host, available, first = [], [], [], 0
    for p, d in np.argwhere(hosts > 0):
        n_hosts = hosts[p, d]
        for t in range(len(GRID.theta_e_arcsec)):
            cell.append(np.full(per_cell, np.ravel_multi_index((t, p, d), GRID.shape)))
            host.append(first + np.arange(per_cell) % n_hosts)
            available.append(np.full(per_cell, n_hosts))
        first += n_hosts
    cells, ids = np.concatenate(cell), np.concatenate(host)
    t, p, d = np.unravel_index(cells, GRID.shape)
    theta, psf, depth = (nodes[place] for nodes, place in zip(GRID.nodes, (t, p, d), strict=True))
    chance = truth(theta, psf, depth, rng.normal(0, host_scatter, first)[ids])
    found = rng.random(len(cells)) < chance
    made = Injections(
        grid=GRID,
        cell=cells,
        host=ids,
        hosts_available=np.concatenate(available),
        hosts_of_sky=first + 3,
        logit=np.where(found, 1.0, -1.0),
        arc_snr_sum=rng.lognormal(3.0, 0.8, len(cells)),
        source_r_mag=rng.uniform(22.5, 26.0, len(cells)),
        lens_r_mag=rng.normal(18.5, 0.6, first)[ids],
    )
    return made, chance
