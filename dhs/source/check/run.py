"""From a path to a verdict: read, measure every source, compare with smooth twins and noise, judge.

    report = check_bank(Path("cosmos_20k.h5"), task=config.task, grid=Grid(96, 0.03))
    report.passed, report.checks

The images pass through once, a few at a time: memory holds figures, not pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dhs.config.bank_check import BankCheckTask
from dhs.rng import Purpose, keyed_rng
from dhs.source.check.measure import Measured, Ruler, joined
from dhs.source.check.read import BankFile, iterate_images, read_bank_file, read_images
from dhs.source.check.reference import MatchedSersic, NoiseReference, match_sersic, noise_reference
from dhs.source.check.verdict import Check, Evidence, Grid, passed, run_checks

MATCHED_AT_ONCE = 200
Progress = Callable[[int, int], None]
"""Called with (sources done, sources in all)."""


@dataclass(frozen=True)
class BankReport:
    """A judged bank."""

    evidence: Evidence
    growth_radii_arcsec: np.ndarray
    """(K,) of `Measured.growth`."""
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """True when no check failed."""
        return passed(self.checks)

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.outcome == "fail"]


def check_bank(path: Path, *, task: BankCheckTask, grid: Grid, progress: Progress | None = None) -> BankReport:
    """Judge the bank at ``path``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no bank at all (see `dhs.source.check.read.read_bank_file`), or damaged images.
    """
    bank = read_bank_file(path)
    ruler = Ruler(bank.size_px, pixel_scale_arcsec=bank.pixel_scale_arcsec)
    measured = _measure(bank, ruler, progress=progress)
    noise = noise_reference(bank, seed=task.seed)
    stated = bank.hlr_filter()
    evidence = Evidence(
        bank=bank,
        measured=measured,
        noise=noise,
        sersic=_twins(bank, measured, noise=noise, task=task),
        grid=grid,
        hlr_filter=stated or task.hlr_filter_arcsec,
        hlr_filter_is_stated=stated is not None,
        limits=task.limits,
    )
    return BankReport(evidence, ruler.growth_radii_arcsec, run_checks(evidence))


def _measure(bank: BankFile, ruler: Ruler, *, progress: Progress | None) -> Measured:
    pieces = []
    for start, images in iterate_images(bank):
        pieces.append(ruler.measure(images))
        if progress is not None:
            progress(start + len(images), bank.n_sources)
    return joined(pieces)


def _twins(bank: BankFile, measured: Measured, *, noise: NoiseReference, task: BankCheckTask) -> MatchedSersic | None:
    """Smooth twins of a random sample of the usable sources; None when no source is usable."""
    rows = chosen_rows(np.flatnonzero(measured.usable), n=task.n_matched, seed=task.seed)
    parts = [
        match_sersic(
            bank,
            rows=part,
            images=read_images(bank, part).mean(axis=1),
            clumpiness=measured.clumpiness[part],
            noise=noise,
        )
        for part in np.array_split(rows, max(1, -(-len(rows) // MATCHED_AT_ONCE)))
        if len(part)
    ]
    if not parts:
        return None
    keys = MatchedSersic.__dataclass_fields__
    return MatchedSersic(**{key: np.concatenate([getattr(part, key) for part in parts]) for key in keys})


def chosen_rows(rows: np.ndarray, *, n: int, seed: int) -> np.ndarray:
    """At most ``n`` of ``rows``, drawn without replacement, in rising order."""
    return np.sort(keyed_rng(seed, Purpose.BANK, 2, 0).permutation(rows)[:n])
