"""What the cells of a design ask for: each cell a value, or a small interval, of every axis.

Cells are numbered row by row, the last axis fastest. An axis of the host (seeing, depth) is not given to the lens: it
chooses the galaxies.
"""

from dataclasses import dataclass

import numpy as np

from dhs.config.manifest import BrightArcDesign, DesignConfig, GridDesign, PriorDesign, SelectionDesign

HOST_AXES: tuple[str, ...] = ("psfsize_r_arcsec", "psfdepth_r_mag")
"""Axes that choose galaxies."""


@dataclass(frozen=True)
class Axis:
    """n values of one quantity: intervals [low, high), or points (low = high)."""

    name: str
    low: np.ndarray
    """(n,)"""
    high: np.ndarray
    """(n,)"""

    @property
    def of_host(self) -> bool:
        return self.name in HOST_AXES


@dataclass(frozen=True)
class Design:
    """The cells of a design."""

    label: str
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis.low) for axis in self.axes)

    @property
    def n_cells(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def has_intervals(self) -> bool:
        """An axis is drawn within its cell."""
        return any((axis.low < axis.high).any() for axis in self.axes if not axis.of_host)

    def places(self, cell: np.ndarray) -> dict[str, np.ndarray]:
        """(P,) place on each axis of (P,) cells."""
        if not self.axes:
            return {}
        return dict(zip((axis.name for axis in self.axes), np.unravel_index(cell, self.shape), strict=True))

    def asked(self, cell: np.ndarray, *, within: np.ndarray) -> dict[str, np.ndarray]:
        """(P,) value of each axis; ``within`` (P,) in [0, 1) is the place in an interval. Of a host's, the middle."""
        values = {}
        for axis, place in zip(self.axes, self.places(cell).values(), strict=True):
            low, high = axis.low[place], axis.high[place]
            values[axis.name] = low + (high - low) * (0.5 if axis.of_host else within)
        return values


def build_design(config: DesignConfig) -> Design:
    """The cells that ``config`` describes; `prior` has one, which asks for nothing."""
    match config:
        case GridDesign():
            axes = [_points(name, values) for name, values in config.axes.items()]
        case BrightArcDesign():
            axes = [_intervals("source_r_mag", config.r_mag_edges)]
        case SelectionDesign():
            axes = [
                _points("theta_e_arcsec", config.theta_e_arcsec),
                _intervals("psfsize_r_arcsec", config.psfsize_r_edges_arcsec),
                _intervals("psfdepth_r_mag", config.psfdepth_r_edges_mag),
            ]
        case PriorDesign():
            axes = []
    return Design(config.label, tuple(axes))


def _points(name: str, values: tuple[float, ...]) -> Axis:
    return Axis(name, np.array(values, np.float64), np.array(values, np.float64))


def _intervals(name: str, edges: tuple[float, ...]) -> Axis:
    return Axis(name, np.array(edges[:-1], np.float64), np.array(edges[1:], np.float64))
