"""Catalogue rows to targets: quality cuts, LRG cut, classes of negatives, known lenses; every loss is counted."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dhs.config.sky import SplitConfig
from dhs.config.targets import CatalogueRule, TargetsTask, VoteRule
from dhs.constants import CLASSES
from dhs.sky.catalogue_checks import require_degrees, require_invvar, require_magnitudes
from dhs.sky.exclusion import known_lenses, near_known_lens
from dhs.sky.lrg_cuts import LRG_CUTS, lrg_bits, magnitude
from dhs.sky.morphology import Votes
from dhs.sky.negatives import Appearance, first_rule, sersic_index
from dhs.sky.splits import split_of_position
from dhs.sky.sweeps import Rows, open_sweep
from dhs.sky.target_table import build_table
from dhs.sky.tractor_shapes import axis_ratio_and_angle

GALAXY_TYPES = ("REX", "DEV", "EXP", "SER")
"""Extended Tractor models; PSF is a star or quasar, DUP a Gaia source fitted otherwise."""

CUTS = (
    "not_primary",
    "not_a_galaxy",
    "outside_footprint",
    "maskbits",
    "fitbits",
    "nobs",
    "no_depth_or_psf",
    "no_flux",
    "no_class",
    "known_lens",
)
"""Reasons a row is left out, in the order they are applied: a row counts for the first that takes it."""

R_BAND_EXTINCTION = 2.165
"""A_r / E(B-V)_SFD of DECam (legacysurvey.org/dr10/catalogs, Galactic extinction coefficients)."""

TRANSMISSION_TOLERANCE = 0.03

_GRZ = ("G", "R", "Z")
_CHECKED_ROWS = 2000


class Selector:
    """What is loaded once for all files: known lenses, votes, bricks of the footprint."""

    def __init__(self, task: TargetsTask, *, split: SplitConfig, survey_bricks: str | None) -> None:
        self._task, self._split = task, split
        self._lenses = known_lenses(task.exclusion)
        self._votes = [Votes(catalogue) for catalogue in task.negatives.morphology]
        self._bricks = None if survey_bricks is None else read_brick_names(survey_bricks)

    def select(self, rows: Rows, *, z_phot: np.ndarray, where: str) -> tuple[pa.Table, Counter[str]]:
        """Targets among ``rows`` and the number of rows lost to each of CUTS.

        Sum over losses plus the number of targets is the number of rows. ValueError (one line, beginning with
        ``where``) for wrong units.
        """
        check_units(rows, where=where)
        lost: Counter[str] = Counter()
        alive = np.arange(len(rows))
        for name, keep in self._quality(rows):
            lost[name] += int((~keep[alive]).sum())
            alive = alive[keep[alive]]
        rows, z_phot = rows.take(alive), z_phot[alive]
        kind, subclass, bits = self._classify(rows)
        classed = kind >= 0
        near = np.zeros(len(rows), bool)
        near[classed] = near_known_lens(
            rows["RA"][classed],
            rows["DEC"][classed],
            lenses=self._lenses,
            radius_arcsec=self._task.exclusion.radius_arcsec,
        )
        lost["no_class"] += int((~classed).sum())
        lost["known_lens"] += int(near.sum())
        lost["known_lens_hosts"] += int((near & (kind == CLASSES.index("lrg"))).sum())
        kept = classed & ~near
        rows = rows.take(kept)
        table = build_table(
            rows,
            kind=kind[kept],
            subclass=subclass[kept],
            split=split_of_position(rows["RA"], rows["DEC"], config=self._split),
            lrg=bits[kept],
            z_phot=z_phot[kept],
        )
        return table, lost

    def _quality(self, rows: Rows) -> Sequence[tuple[str, np.ndarray]]:
        """Cut name and (N,) bool of the rows that pass it, in order."""
        quality = self._task.quality
        n = len(rows)
        ra, dec = rows["RA"], rows["DEC"]
        low, high = quality.dec_deg
        inside = np.isfinite(ra) & (ra >= 0) & (ra <= 360) & (dec >= low) & (dec <= high)
        if self._bricks is not None:
            inside &= np.isin(rows["BRICKNAME"], self._bricks)
        enough = np.ones(n, bool)
        measured = np.ones(n, bool)
        for band, minimum in zip(_GRZ, quality.min_nobs, strict=True):
            enough &= rows[f"NOBS_{band}"] >= minimum
            measured &= (rows[f"PSFDEPTH_{band}"] > 0) & (rows[f"PSFSIZE_{band}"] > 0)
        return (
            ("not_primary", rows["BRICK_PRIMARY"] if "BRICK_PRIMARY" in rows else np.ones(n, bool)),
            ("not_a_galaxy", np.isin(rows["TYPE"], GALAXY_TYPES)),
            ("outside_footprint", inside),
            ("maskbits", (rows["MASKBITS"].astype(np.int32) & _bits(quality.bad_maskbits)) == 0),
            ("fitbits", (rows["FITBITS"].astype(np.int32) & _bits(quality.bad_fitbits)) == 0),
            ("nobs", enough),
            ("no_depth_or_psf", measured),
            ("no_flux", (rows["FLUX_R"] > 0) & (rows["FLUX_Z"] > 0)),
        )

    def _classify(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Class (index into CLASSES, -1: none), name of the rule that took a negative, and LRG bits; (N,) each.

        Votes decide first, then rules with ``before_lrg``, then the LRG cut, then the other rules.
        """
        mags = {band: self._magnitude(rows, band) for band in ("G", "R", "Z", "W1")}
        bits = lrg_bits(mags["R"], mags["Z"], mags["W1"])
        is_lrg = (bits >> list(LRG_CUTS).index(self._task.lrg.cut)) & 1 == 1
        kind, subclass = np.full(len(rows), -1), np.full(len(rows), "", dtype="U32")
        for votes in self._votes:
            _assign(kind, subclass, votes.rule_of(rows["RA"], rows["DEC"]), rules=votes.catalogue.rules)
        rules = self._task.negatives.rules
        galaxies = self._appearance(rows, mags)
        early = [rule for rule in rules if rule.before_lrg]
        _assign(kind, subclass, first_rule(galaxies, rules=early), rules=early)
        kind[(kind < 0) & is_lrg] = CLASSES.index("lrg")
        late = [rule for rule in rules if not rule.before_lrg]
        _assign(kind, subclass, first_rule(galaxies, rules=late), rules=late)
        return kind, subclass, bits

    def _magnitude(self, rows: Rows, band: str) -> np.ndarray:
        dereddened = self._task.lrg.magnitudes == "dereddened"
        return magnitude(rows[f"FLUX_{band}"], transmission=rows[f"MW_TRANSMISSION_{band}"] if dereddened else None)

    def _appearance(self, rows: Rows, mags: dict[str, np.ndarray]) -> Appearance:
        tractor_type = rows["TYPE"]
        has_shape = np.isin(tractor_type, ("DEV", "EXP", "SER"))
        ratio, _ = axis_ratio_and_angle(rows["SHAPE_E1"], rows["SHAPE_E2"], has_shape=has_shape)
        return Appearance(
            type=tractor_type,
            g_mag=mags["G"],
            r_mag=mags["R"],
            shape_r_arcsec=rows["SHAPE_R"],
            axis_ratio=ratio,
            sersic=sersic_index(tractor_type, rows["SERSIC"]),
        )


def check_units(rows: Rows, *, where: str) -> None:
    """Raise ValueError where depths are magnitudes, RA is in hours, or dust transmission is none."""
    sample = rows.take(np.unique(np.linspace(0, len(rows) - 1, _CHECKED_ROWS).astype(int))) if len(rows) else rows
    if len(sample) == 0:
        return
    depth = np.stack([sample[f"PSFDEPTH_{band}"] for band in _GRZ])
    require_invvar(depth, np.stack([sample[f"GALDEPTH_{band}"] for band in _GRZ]), where=where)
    require_degrees(sample["RA"], sample["DEC"], sample["BRICKNAME"], where=where)
    expected = 10.0 ** (-0.4 * R_BAND_EXTINCTION * sample["EBV"])
    if np.nanmedian(np.abs(sample["MW_TRANSMISSION_R"] - expected)) > TRANSMISSION_TOLERANCE:
        raise ValueError(
            f"{where}: MW_TRANSMISSION_R (median {np.nanmedian(sample['MW_TRANSMISSION_R']):.3f}) does not follow EBV "
            f"(median {np.nanmedian(sample['EBV']):.3f}): allowed are transmissions in (0, 1], not extinctions in mag"
        )


def read_brick_names(path: str) -> np.ndarray:
    """Names of the bricks of a survey-brick table (BRICKNAME, PSFDEPTH_R in AB mag); ValueError for wrong units."""
    table = open_sweep(path)
    table.require(("BRICKNAME", "PSFDEPTH_R"))
    names, depths = [], []
    for rows in table.blocks(rows_per_block=200_000):
        names.append(rows["BRICKNAME"])
        depths.append(rows["PSFDEPTH_R"])
    if not names:
        raise ValueError(f"{path}: has no bricks; allowed: survey-bricks-dr10-south.fits.gz")
    require_magnitudes(np.concatenate(depths), where=path)
    return np.concatenate(names)


def _assign(
    kind: np.ndarray, subclass: np.ndarray, chosen: np.ndarray, *, rules: Sequence[CatalogueRule | VoteRule]
) -> None:
    """Give galaxies without a class that of the rule chosen for them (in place)."""
    for index, rule in enumerate(rules):
        mine = (kind < 0) & (chosen == index)
        kind[mine] = CLASSES.index(rule.kind)
        subclass[mine] = rule.name


def _bits(bits: Sequence[int]) -> int:
    return sum(1 << bit for bit in bits)
