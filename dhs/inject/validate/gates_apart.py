"""Gates between the splits and between rows: the same galaxy, sky, task, pixels or source twice."""

import itertools

import numpy as np
from astropy import units
from astropy_healpix import HEALPix

from dhs.inject.validate.evidence import Evidence
from dhs.inject.validate.gate import Gate, Question
from dhs.inject.validate.gates_files import rows_named
from dhs.sky.sky_match import SkyIndex

NSIDE = 128
"""Of the sky splits (SCIENCE section 4): pixels of 27 arcmin."""
SAME_GALAXY_ARCSEC = 1.0
ONE_SPLIT = "the set has one split"

GALAXIES = Question(
    "galaxies_apart",
    "No galaxy in two splits",
    "The network has seen the test galaxies in training: its scores on them say nothing.",
    "Split by sky position (task=manifest does), never by row or by file.",
)
SKY = Question(
    "sky_apart",
    "No piece of sky in two splits",
    "Neighbouring galaxies share coadd, seeing, artefacts and companions; a companion is then in two splits.",
    "Split whole HEALPix pixels of nside 128 (SCIENCE section 4).",
)
TASKS = Question(
    "task_ids",
    "Every task id once",
    "A part was written twice, or a job was started twice into one folder.",
    "Remove the second copy; task=stamps refuses to write into another job's folder.",
)
PIXELS_ACROSS = Question(
    "pixels_apart",
    "No pixels in two splits",
    "The very same stamp is trained on and tested with, whatever its ids say.",
    "Find the rows in validate.json; a galaxy with two ids, or files copied into another split's folder.",
)
PIXELS_WITHIN = Question(
    "pixels_once",
    "Few repeated stamps within a split",
    "Repeated rows weigh more than others and make the set look larger; usually controls that replicates copy.",
    "Give controls one replicate, or more galaxies; task.limits.max_duplicate_fraction where it is meant.",
)
SOURCES = Question(
    "sources_apart",
    "Sources of test that train has too",
    "A network may learn the shapes of the bank's galaxies. The design shares its sources over the splits; a real lens "
    "never has a source from the bank.",
    "For a test of unseen sources build a second bank from other galaxies (source.build.seed is not enough).",
)


def galaxies_apart(e: Evidence) -> Gate:
    """Ids in two splits, and positions of two splits within an arcsecond."""
    if "split" not in e.keys:
        return GALAXIES.lacks(["split or region_split"])
    if len(e.splits) < 2:
        return GALAXIES.not_applicable(ONE_SPLIT)
    by_id, by_position = "target_id" in e.keys, "ra_deg" in e.keys and "dec_deg" in e.keys
    if not by_id and not by_position:
        return GALAXIES.lacks(["target_id (or ra and dec)"])
    shared_ids = _shared(e, e.keys["target_id"]) if by_id else np.zeros(0, np.int64)
    close = _close_pairs(e) if by_position else {}
    n_close = sum(close.values())
    said = [f"{len(shared_ids):,} ids in two splits"] if by_id else []
    said += [f"{n_close:,} positions within {SAME_GALAXY_ARCSEC:g} arcsec of another split's"] if by_position else []
    numbers = {"shared_ids": shared_ids[:50].tolist(), "n_shared_ids": len(shared_ids), "close_positions": close}
    good = max(len(shared_ids), n_close) <= e.limits.max_shared_galaxies
    return GALAXIES.judged(", ".join(said), good=good, allowed=f"<= {e.limits.max_shared_galaxies}", numbers=numbers)


def sky_apart(e: Evidence) -> Gate:
    """HEALPix pixels with rows of two splits."""
    if "split" not in e.keys:
        return SKY.lacks(["split or region_split"])
    if len(e.splits) < 2:
        return SKY.not_applicable(ONE_SPLIT)
    if "ra_deg" not in e.keys or "dec_deg" not in e.keys:
        return SKY.lacks(["ra and dec"])
    grid = HEALPix(nside=NSIDE, order="nested")
    pixels = []
    for split in e.splits:
        ra, dec = positions(e, split)
        pixels.append(np.unique(grid.lonlat_to_healpix(ra * units.deg, dec * units.deg)))
    every, counts = np.unique(np.concatenate(pixels), return_counts=True)
    shared = every[counts > 1]
    measured = f"{len(shared):,} of {len(every):,} HEALPix pixels (nside {NSIDE})"
    numbers = {"nside": NSIDE, "n_pixels": len(every), "n_shared": len(shared), "shared": shared[:50].tolist()}
    good = len(shared) <= e.limits.max_shared_sky
    return SKY.judged(measured, good=good, allowed=f"<= {e.limits.max_shared_sky}", numbers=numbers)


def task_ids(e: Evidence) -> Gate:
    """Task ids that occur twice."""
    if "task_id" not in e.keys:
        return TASKS.lacks(["task_id"])
    again = repeated(e.keys["task_id"], np.ones(e.n_rows, bool))
    n = int(again.sum())
    measured = f"{n:,} of {e.n_rows:,} rows have an earlier row's id" + (f": {rows_named(e, again)}" if n else "")
    return TASKS.judged(measured, good=n == 0, allowed="none", numbers={"n": n})


def pixels_apart(e: Evidence) -> Gate:
    """Stamps of one checksum in two splits."""
    if len(e.splits) < 2:
        return PIXELS_ACROSS.not_applicable(ONE_SPLIT)
    if e.n_pixel_rows == 0:
        return PIXELS_ACROSS.not_checked("no pixels were looked at")
    hashes = e.keys["image_hash"]
    shared = _shared(e, hashes, where=hashes != 0)
    bad = np.isin(hashes, shared) & (hashes != 0)
    measured = f"{len(shared):,} stamps, among {_looked_at(e)}" + (f": {rows_named(e, bad)}" if len(shared) else "")
    return PIXELS_ACROSS.judged(measured, good=len(shared) == 0, allowed="none", numbers={"n": len(shared)})


def pixels_once(e: Evidence) -> Gate:
    """Share of a split's stamps that repeat an earlier one, the worst split's."""
    if e.n_pixel_rows == 0:
        return PIXELS_WITHIN.not_checked("no pixels were looked at")
    hashes, shares = e.keys["image_hash"], {}
    worst = np.zeros(e.n_rows, bool)
    for split in e.splits or ("",):
        here = hashes != 0
        if split:
            here &= e.split_codes == e.names["split"].index(split)
        again = repeated(hashes, here)
        shares[split or "all"] = float(again.sum() / max(here.sum(), 1))
        if shares[split or "all"] == max(shares.values()):
            worst = again
    measured = ", ".join(f"{split} {share:.2%}" for split, share in shares.items())
    if worst.any():
        measured += f": {rows_named(e, worst)}"
    limit = e.limits.max_duplicate_fraction
    return PIXELS_WITHIN.judged(
        f"{measured}, among {_looked_at(e)}",
        good=max(shares.values()) <= limit,
        allowed=f"<= {limit:.1%}",
        numbers=shares,
    )


def sources_apart(e: Evidence) -> Gate:
    """Share of the test split's sources that train has as well."""
    if "source_index" not in e.keys or "injected" not in e.keys:
        return SOURCES.lacks(["source_own_index or cosmos_index"])
    if "train" not in e.splits or "test" not in e.splits:
        return SOURCES.not_applicable("no train and test in one set")
    train, test = (sources_of(e, split) for split in ("train", "test"))
    if len(test) == 0 or len(train) == 0:
        return SOURCES.not_checked("no source index in train or test")
    shared = int(np.isin(test, train).sum())
    measured = f"{shared:,} of {len(test):,} sources of test are among the {len(train):,} of train"
    numbers = {"n_shared": shared, "n_test": len(test), "n_train": len(train)}
    if shared and e.task.sources_may_repeat:
        return SOURCES.warn(measured, allowed="a warning", numbers=numbers)
    return SOURCES.judged(measured, good=shared == 0, allowed="none", numbers=numbers)


def sources_of(e: Evidence, split: str) -> np.ndarray:
    """Distinct sources of a split's injections: kind and index in one integer."""
    chosen = (e.keys["injected"] == 1) & (e.split_codes == e.names["split"].index(split))
    index = e.keys["source_index"][chosen]
    kind = e.keys.get("source_kind", np.zeros(e.n_rows, np.int64))[chosen].astype(np.int64)
    known = np.isfinite(index) & (index >= 0)
    return np.unique(kind[known] * (1 << 40) + index[known].astype(np.int64))


def positions(e: Evidence, split: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Distinct finite (ra, dec) of a split; None: of all rows."""
    here = np.isfinite(e.keys["ra_deg"]) & (np.abs(e.keys["dec_deg"]) <= 90)
    if split is not None:
        here &= e.split_codes == e.names["split"].index(split)
    pairs = np.unique(e.keys["ra_deg"][here] + 1j * e.keys["dec_deg"][here])
    return pairs.real, pairs.imag


def repeated(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(n,) bool: an earlier row of ``where`` has the same value."""
    rows = np.flatnonzero(where)
    _, first = np.unique(values[rows], return_index=True)
    again = np.zeros(len(values), bool)
    again[rows] = True
    again[rows[first]] = False
    return again


def _shared(e: Evidence, values: np.ndarray, *, where: np.ndarray | None = None) -> np.ndarray:
    """Values that rows of two splits have."""
    chosen = e.split_codes >= 0 if where is None else (e.split_codes >= 0) & where
    order = np.argsort(values[chosen], kind="stable")
    ordered, codes = values[chosen][order], e.split_codes[chosen][order]
    if len(ordered) == 0:
        return ordered
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return ordered[first][np.minimum.reduceat(codes, first) != np.maximum.reduceat(codes, first)]


def _close_pairs(e: Evidence) -> dict[str, int]:
    """Positions of the second split of each pair that lie within an arcsecond of the first's."""
    found = {}
    for first, second in itertools.combinations(e.splits, 2):
        index = SkyIndex(*positions(e, first))
        row, _ = index.nearest(*positions(e, second), within_arcsec=SAME_GALAXY_ARCSEC)
        found[f"{first} and {second}"] = int((row >= 0).sum())
    return found


def _looked_at(e: Evidence) -> str:
    share = e.n_pixel_rows / max(e.n_rows, 1)
    return f"{e.n_pixel_rows:,} stamps looked at" + ("" if share > 0.9999 else f" ({share:.1%} of the set)")
