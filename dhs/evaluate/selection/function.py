"""`SelectionFunction`: the published completeness of a finder, for those who model a lens sample.

Needs numpy, scipy and pyarrow, and the Parquet file that evaluate.py wrote; no network, no torch, no survey.

    from dhs.evaluate.selection.function import SelectionFunction

    finder = SelectionFunction.read("selection_function.parquet")
    value, error = finder.completeness([1.0, 1.4], 1.2, 24.3)      # theta_E and seeing in arcsec, r-band depth in mag

Between the nodes completeness is linear in each coordinate: exact at the nodes, never beyond its neighbours.
Outside the nodes, and where a neighbour with any weight is an empty cell, it is NaN: nothing is extrapolated.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike
from scipy.interpolate import RegularGridInterpolator

from dhs.evaluate.selection.grid import SelectionGrid

METADATA_KEY = b"dhs.selection_function"
FORMAT_VERSION = 1

COLUMNS: dict[str, tuple[pa.DataType, str, str]] = {
    "threshold": (pa.string(), "", "operating point, explained in the metadata: thresholds"),
    "theta_e_arcsec": (pa.float64(), "arcsec", "Einstein radius (geometric mean, SIE) of the injected lenses"),
    "psf_fwhm_r_low_arcsec": (pa.float64(), "arcsec", "lower edge of the hosts' r-band seeing (effective PSF FWHM)"),
    "psf_fwhm_r_high_arcsec": (pa.float64(), "arcsec", "upper edge, exclusive"),
    "psf_depth_r_low_mag": (pa.float64(), "mag AB", "lower edge of the hosts' r-band 5-sigma point-source depth"),
    "psf_depth_r_high_mag": (pa.float64(), "mag AB", "upper edge, exclusive"),
    "n_injected": (pa.int64(), "", "injections; 0: an empty cell"),
    "n_found": (pa.int64(), "", "injections above the threshold"),
    "n_hosts": (pa.int64(), "", "different galaxies that carried them"),
    "n_effective": (pa.float64(), "", "independent injections, the repeats of galaxies taken into account"),
    "completeness": (pa.float64(), "", "n_found / n_injected; NaN in an empty cell"),
    "low": (pa.float64(), "", "95% Wilson interval with n_effective"),
    "high": (pa.float64(), "", "95% Wilson interval with n_effective"),
    "error": (pa.float64(), "", "one standard deviation: (high - low) / 3.92"),
}
"""Name: (type, unit, meaning). A row is a cell at a threshold."""

VALUES = ("completeness", "error", "low", "high")


class Interpolated(NamedTuple):
    """Of any shape; NaN where it was not measured."""

    value: np.ndarray
    error: np.ndarray
    """One standard deviation."""


@dataclass(frozen=True)
class SelectionFunction:
    """Completeness of one finder at one threshold."""

    grid: SelectionGrid
    threshold: str
    """Which operating point this is, one of ``thresholds``."""
    cells: dict[str, np.ndarray]
    """(T, P, D) of every number in COLUMNS."""
    metadata: dict[str, Any]
    """Where it comes from and what it holds for."""

    @classmethod
    def read(cls, path: Path | str, *, threshold: str | None = None) -> "SelectionFunction":
        """The function in ``path`` at ``threshold``; None: the one the finder is meant to be used at.

        Raises:
            ValueError: (one line) no such file, no selection function, an unknown threshold, or cells that are no grid.
        """
        table = _read(Path(path))
        metadata = json.loads(table.schema.metadata[METADATA_KEY])
        known = list(metadata["thresholds"])
        chosen = metadata["main_threshold"] if threshold is None else threshold
        if chosen not in known:
            raise ValueError(f"{path}: threshold = {chosen!r}: must be one of {', '.join(known)}")
        columns = {
            name: np.asarray(table[name].to_numpy(zero_copy_only=False))[_is(table, chosen)]
            for name in COLUMNS
            if name != "threshold"
        }
        grid = _grid(columns, where=str(path))
        return cls(grid, chosen, {name: values.reshape(grid.shape) for name, values in columns.items()}, metadata)

    @property
    def thresholds(self) -> dict[str, Any]:
        """Operating points that the file holds, by name."""
        return dict(self.metadata["thresholds"])

    def completeness(self, theta_e_arcsec: ArrayLike, psf_fwhm_arcsec: ArrayLike, depth_mag: ArrayLike) -> Interpolated:
        """Share of lenses found and its error; arguments broadcast.

        Einstein radius and r-band seeing in arcsec, r-band 5-sigma point-source depth in AB mag. The error is the
        linear interpolation of the nodes' errors: cells share galaxies, so their errors may not be averaged down.
        """
        points = np.stack(np.broadcast_arrays(theta_e_arcsec, psf_fwhm_arcsec, depth_mag), axis=-1).astype(np.float64)
        return Interpolated(self._interpolate("completeness", points), self._interpolate("error", points))

    def interval(self, theta_e_arcsec: ArrayLike, psf_fwhm_arcsec: ArrayLike, depth_mag: ArrayLike) -> Any:
        """(..., 2) ends of the 95% interval, interpolated like `completeness`: lopsided near 0 and 1, as it should."""
        points = np.stack(np.broadcast_arrays(theta_e_arcsec, psf_fwhm_arcsec, depth_mag), axis=-1).astype(np.float64)
        return np.stack([self._interpolate("low", points), self._interpolate("high", points)], axis=-1)

    def _interpolate(self, name: str, points: np.ndarray) -> np.ndarray:
        """(...,) of (..., 3) points; an axis with one node holds for that node alone."""
        assert name in VALUES
        values = self.cells[name]
        empty = np.isnan(values)
        axes = [place for place, nodes in enumerate(self.grid.nodes) if len(nodes) > 1]
        single = [place for place in range(3) if place not in axes]
        off = np.zeros(points.shape[:-1], bool)
        for place in single:
            off |= points[..., place] != self.grid.nodes[place][0]
        filled, hollow = (np.squeeze(a, axis=tuple(single)) for a in (np.nan_to_num(values), empty.astype(float)))
        if axes:
            nodes = tuple(self.grid.nodes[place] for place in axes)
            measured = _linear(nodes, filled, points[..., axes])
            # A neighbour of weight 0 does not matter: at a node itself the value is its own.
            off = off | (_linear(nodes, hollow, points[..., axes]) > 0)
        else:
            measured = np.full(points.shape[:-1], float(filled))
            off = off | (hollow > 0)
        return np.where(off, np.nan, measured)


def _linear(nodes: tuple[np.ndarray, ...], values: np.ndarray, points: np.ndarray) -> np.ndarray:
    interpolator = RegularGridInterpolator(nodes, values, method="linear", bounds_error=False, fill_value=np.nan)
    return np.asarray(interpolator(points))


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; evaluate.py writes selection_function.parquet") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
    if METADATA_KEY not in (table.schema.metadata or {}):
        raise ValueError(f"{path}: no selection function (its metadata lack {METADATA_KEY.decode()})")
    version = json.loads(table.schema.metadata[METADATA_KEY]).get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: format_version = {version}: this program reads {FORMAT_VERSION}")
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"{path}: missing column(s) {', '.join(missing)}")
    return table


def _is(table: pa.Table, threshold: str) -> np.ndarray:
    return np.array([name == threshold for name in table["threshold"].to_pylist()])


def _grid(columns: dict[str, np.ndarray], *, where: str) -> SelectionGrid:
    """The grid whose cells, row by row, are the rows."""
    theta, psf, depth = (
        np.unique(columns[name]) for name in ("theta_e_arcsec", "psf_fwhm_r_low_arcsec", "psf_depth_r_low_mag")
    )
    grid = SelectionGrid(
        theta,
        np.append(psf, columns["psf_fwhm_r_high_arcsec"].max()),
        np.append(depth, columns["psf_depth_r_high_mag"].max()),
    )
    places = np.meshgrid(theta, psf, depth, indexing="ij")
    names = ("theta_e_arcsec", "psf_fwhm_r_low_arcsec", "psf_depth_r_low_mag")
    rows = len(columns["theta_e_arcsec"])
    if rows != grid.n_cells or any(
        not np.array_equal(columns[name], place.ravel()) for name, place in zip(names, places, strict=True)
    ):
        raise ValueError(f"{where}: {rows} rows are not the {grid.n_cells} cells of a grid, row by row; a damaged file")
    return grid
