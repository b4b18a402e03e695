"""Anchors: lists of confirmed lenses, or of hard negatives, that a benchmark stands on.

A list is a table: the one that comes with the package (`slacs_bells`: 125 SLACS, S4TM and BELLS lenses), or the user's
own CSV with at least `name`, `ra_deg`, `dec_deg`. Nothing in a list counts before it has passed the audit
(`dhs.sky.anchor_audit`): the seeds' recall was measured at 68 positions without a lens.
"""

import csv
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

REQUIRED_COLUMNS: tuple[str, ...] = ("name", "ra_deg", "dec_deg")
NUMBERS: tuple[str, ...] = ("ra_deg", "dec_deg", "z_lens", "z_source", "sigma_v_km_s", "theta_e_arcsec", "r_mag")
TEXTS: tuple[str, ...] = ("name", "survey", "sdss_name", "theta_e_source", "kind")
MAX_DEC_DEG = 90.0


@dataclass(frozen=True)
class AnchorList:
    """N objects; text is '' and numbers are NaN where the table says nothing."""

    origin: str
    """File, or the name of a list that comes with the package."""
    name: np.ndarray
    """(N,) str, unique."""
    survey: np.ndarray
    sdss_name: np.ndarray
    """(N,) str, full J-name where there is one; '' means that ``name`` holds it."""
    kind: np.ndarray
    """(N,) str: 'lens', or the class of a hard negative."""
    ra_deg: np.ndarray
    """(N,) float64, ICRS."""
    dec_deg: np.ndarray
    z_lens: np.ndarray
    z_source: np.ndarray
    sigma_v_km_s: np.ndarray
    theta_e_arcsec: np.ndarray
    """(N,) published; NaN where not."""
    theta_e_source: np.ndarray
    r_mag: np.ndarray
    """(N,) of the lens galaxy, AB; NaN where not given."""

    def __len__(self) -> int:
        return len(self.name)


def slacs_bells() -> AnchorList:
    """The 125 verified SLACS, S4TM and BELLS lenses."""
    table = resources.files("dhs.sky.catalogues").joinpath("slacs_s4tm_bells.csv")
    return _parse(table.read_text(), origin="slacs_bells")


def read_anchors(path: Path) -> AnchorList:
    """A user's list.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a required column or value is missing, RA in hours, a declination beyond a pole, a name twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"anchors.path = {path}: no such file; give a CSV with {', '.join(REQUIRED_COLUMNS)}")
    return _parse(path.read_text(encoding="utf-8-sig"), origin=str(path))


def _parse(text: str, *, origin: str) -> AnchorList:
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in REQUIRED_COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{origin}: column {missing[0]} is missing (found: {', '.join(reader.fieldnames or ()) or 'nothing'}); "
            f"an anchor list is a CSV with {', '.join(REQUIRED_COLUMNS)}, positions in degrees"
        )
    rows = list(reader)
    if not rows:
        raise ValueError(f"{origin}: the list is empty; it needs at least one object")
    texts = {column: np.array([(row.get(column) or "").strip() for row in rows]) for column in TEXTS}
    numbers = {column: _numbers(rows, column, origin=origin) for column in NUMBERS}
    texts["kind"] = np.where(texts["kind"] == "", "lens", texts["kind"])
    _check_names(texts["name"], origin=origin)
    _check_positions(texts["name"], numbers["ra_deg"], numbers["dec_deg"], origin=origin)
    return AnchorList(origin=origin, **texts, **numbers)


def _numbers(rows: list[dict[str, str]], column: str, *, origin: str) -> np.ndarray:
    values = np.full(len(rows), np.nan)
    for i, row in enumerate(rows):
        text = (row.get(column) or "").strip()
        try:
            values[i] = float(text) if text else np.nan
        except ValueError:
            raise ValueError(
                f"{origin}: {row['name']}: {column} = {text!r} is no number; leave it empty if unknown"
            ) from None
    return values


def _check_names(names: np.ndarray, *, origin: str) -> None:
    unique, counts = np.unique(names, return_counts=True)
    if (names == "").any():
        raise ValueError(f"{origin}: row {int(np.flatnonzero(names == '')[0]) + 2} has no name; every object needs one")
    if (counts > 1).any():
        raise ValueError(f"{origin}: {unique[counts > 1][0]} is in the list {counts.max()} times; keep one")


def _check_positions(names: np.ndarray, ra_deg: np.ndarray, dec_deg: np.ndarray, *, origin: str) -> None:
    bad = (
        ~(np.isfinite(ra_deg) & np.isfinite(dec_deg)) | (np.abs(dec_deg) > MAX_DEC_DEG) | (ra_deg < 0) | (ra_deg > 360)
    )
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{origin}: {names[i]}: position ({ra_deg[i]:g}, {dec_deg[i]:g}) must be degrees with "
            "0 <= ra_deg <= 360 and -90 <= dec_deg <= 90"
        )
    if len(names) >= MIN_FOR_HOURS and ra_deg.max() <= 24 and np.ptp(dec_deg) > HOURS_DEC_SPREAD_DEG:
        raise ValueError(
            f"{origin}: every ra_deg lies below 24 while the declinations span {np.ptp(dec_deg):.0f} degrees: "
            "right ascension in hours? multiply it by 15"
        )


MIN_FOR_HOURS = 10
"""Shorter lists may lie below RA 24 degrees by chance."""
HOURS_DEC_SPREAD_DEG = 20.0
