"""Injections of the same brightness as real lenses: nearest neighbours, each injection's galaxy once, and the balance.

A probe that tells bright from faint says nothing of realism, so each real lens is compared with one injection whose
host magnitude, arc S/N and theta_E are near (measured on both by one function). Pairs are taken nearest first, without
replacement; a real lens without an injection inside the caliper stays out, and is counted. Balance is judged by
standardised mean differences (Austin 2009, Stat. Med. 28, 3083): below 0.1 good, above 0.25 the comparison is suspect.
"""

from typing import NamedTuple

import numpy as np

SUSPECT_DIFFERENCE = 0.25


class Balance(NamedTuple):
    """Of one quantity between the real lenses and their matches."""

    name: str
    mean_real: float
    mean_matched: float
    before: float
    """Standardised difference from the whole pool."""
    after: float
    """And from the matches."""


def match(real: np.ndarray, pool: np.ndarray, *, pool_object: np.ndarray, caliper_sigma: float) -> np.ndarray:
    """(M, 2) pairs (row of ``real``, row of ``pool``), nearest first.

    ``real`` (R, K) and ``pool`` (P, K): a NaN of a real lens leaves that quantity out of its distance; a row of the
    pool with one is never taken. No row, and no ``pool_object`` (P,), is used twice. Distances are Euclidean in units
    of the samples' pooled standard deviation; none of a pair's quantities differs by more than the caliper.
    """
    usable = np.flatnonzero(np.isfinite(pool).all(axis=1))
    if len(usable) == 0 or len(real) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    scaled = (real[:, None, :] - pool[None, usable, :]) / _scale(real, pool[usable])
    known = np.isfinite(real)[:, None, :]
    offset = np.where(known, np.abs(scaled), 0.0)
    distance = np.sqrt((offset**2).sum(axis=2) / np.maximum(known.sum(axis=2), 1))
    near = (offset <= caliper_sigma).all(axis=2) & known.any(axis=2)
    i, j = np.nonzero(near)
    pairs, used_real, used_object = [], set(), set()
    for place in np.argsort(distance[i, j], kind="stable"):
        one, other = int(i[place]), int(usable[j[place]])
        owner = pool_object[other].item()
        if one not in used_real and owner not in used_object:
            pairs.append((one, other))
            used_real.add(one)
            used_object.add(owner)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _scale(real: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """(K,) root mean square of both samples' standard deviations of each quantity; 1 where neither varies."""
    spread = np.zeros(real.shape[1])
    for k in range(real.shape[1]):
        known = real[np.isfinite(real[:, k]), k]
        spread[k] = np.sqrt(0.5 * ((known.var() if len(known) else 0.0) + pool[:, k].var()))
    return np.where(spread > 0, spread, 1.0)


def balance(real: np.ndarray, matched: np.ndarray, pool: np.ndarray, *, names: tuple[str, ...]) -> list[Balance]:
    """Of (M, K) ``real`` and ``matched`` in pairs, and the whole (P, K) ``pool``; pairs with a NaN are left out."""
    rows = []
    for k, name in enumerate(names):
        both = np.isfinite(real[:, k]) & np.isfinite(matched[:, k])
        one, other, every = real[both, k], matched[both, k], pool[np.isfinite(pool[:, k]), k]
        if len(one) < 2 or len(every) < 2:
            means = [float(v.mean()) if len(v) else np.nan for v in (one, other)]
            rows.append(Balance(name, means[0], means[1], np.nan, np.nan))
            continue
        before, after = (float(one.mean() - v.mean()) / _pooled(one, v) for v in (every, other))
        rows.append(Balance(name, float(one.mean()), float(other.mean()), before, after))
    return rows


def _pooled(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(0.5 * (one.var(ddof=1) + other.var(ddof=1)))) or 1.0
