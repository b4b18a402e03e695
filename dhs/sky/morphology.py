"""Volunteers' votes as classes of negatives: Galaxy Zoo DECaLS, Galaxy Zoo DESI, or any table of fractions.

The table (CSV, Parquet or FITS) is read column by column; only the galaxies that a rule takes are kept, so a catalogue
of millions costs little. Targets are matched by position.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dhs.config.targets import MorphologyCatalogue
from dhs.sky.sky_match import SkyIndex, check_positions
from dhs.sky.sweeps import FITS_SUFFIXES, open_sweep

ROWS_PER_BLOCK = 200_000


class Votes:
    """Galaxies that some rule of one catalogue takes."""

    def __init__(self, catalogue: MorphologyCatalogue) -> None:
        self.catalogue = catalogue
        columns = sorted({name for rule in catalogue.rules for name in rule.minimum})
        table = _read(catalogue.path, [catalogue.ra_column, catalogue.dec_column, *columns])
        self.n_rows = len(table[catalogue.ra_column])
        rule = _first_rule(table, catalogue=catalogue, n=self.n_rows)
        taken = rule >= 0
        ra, dec = table[catalogue.ra_column][taken], table[catalogue.dec_column][taken]
        check_positions(ra, dec, where=str(catalogue.path))
        self._rule = rule[taken]
        self._index = SkyIndex(ra, dec)

    def __len__(self) -> int:
        return len(self._index)

    def rule_of(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        """(N,) int: index of the rule of the catalogue's galaxy at each position, -1 where there is none."""
        row, _ = self._index.nearest(ra_deg, dec_deg, within_arcsec=self.catalogue.radius_arcsec)
        rule = np.full(len(row), -1)
        rule[row >= 0] = self._rule[row[row >= 0]]
        return rule


def _first_rule(table: dict[str, np.ndarray], *, catalogue: MorphologyCatalogue, n: int) -> np.ndarray:
    chosen = np.full(n, -1)
    for index, rule in enumerate(catalogue.rules):
        holds = np.ones(n, bool)
        for name, minimum in rule.minimum.items():
            _require_fraction_like(table[name], name=name, path=catalogue.path)
            holds &= table[name] >= minimum
        chosen[(chosen < 0) & holds] = index
    return chosen


def _require_fraction_like(values: np.ndarray, *, name: str, path: Path) -> None:
    if name.endswith("_fraction") and np.nanmax(values, initial=0.0) > 1.0:
        raise ValueError(f"{path}: column {name} goes up to {np.nanmax(values):g}: not fractions (0 to 1) but counts?")


def _read(path: Path, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """``columns`` of a CSV, Parquet or FITS table as float64."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give a table of votes (CSV, Parquet or FITS)")
    if path.name.endswith(FITS_SUFFIXES):
        return _read_fits(path, columns)
    if path.suffix in (".parquet", ".csv"):
        return _read_arrow(path, columns)
    raise ValueError(f"{path}: suffix {path.suffix!r}; allowed: .csv, .parquet, {', '.join(FITS_SUFFIXES)}")


def _read_fits(path: Path, columns: Sequence[str]) -> dict[str, np.ndarray]:
    table = open_sweep(str(path))
    upper = {name: name.upper() for name in columns}
    table.require(list(upper.values()))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    for rows in table.blocks(rows_per_block=ROWS_PER_BLOCK):
        for name, stored in upper.items():
            parts[name].append(rows[stored].astype(float))
    return {name: np.concatenate(values) if values else np.empty(0) for name, values in parts.items()}


def _read_arrow(path: Path, columns: Sequence[str]) -> dict[str, np.ndarray]:
    import pyarrow.dataset

    dataset: Any = pyarrow.dataset.dataset(path, format=path.suffix[1:])
    if missing := [name for name in columns if name not in dataset.schema.names]:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; name the table's own in task.negatives.morphology.rules, "
            "ra_column and dec_column"
        )
    table = dataset.to_table(columns=list(columns))
    return {name: table[name].to_numpy().astype(float) for name in columns}
