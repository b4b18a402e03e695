"""A page of stamps: any sky, or the objects of a list in it, in the Legacy Survey viewer's colours.

Stamps are grouped by class; each opens the viewer at its position where that is known. For looking, before training.
"""

import numpy as np

from dhs.constants import BANDS, CLASSES, SPLITS
from dhs.display import stamp_png
from dhs.page import document, section, stamp_grid
from dhs.sky.anchor_audit import find_cutouts
from dhs.sky.anchors import AnchorList
from dhs.sky.cutouts import CutoutSet, good_pixels

VIEWER = "https://www.legacysurvey.org/viewer?ra={ra:.6f}&dec={dec:.6f}&layer=ls-dr10&zoom=16"
"""The Legacy Survey sky viewer, for a human's second look; no page loads anything by itself."""


def viewer_link(*, ra_deg: float, dec_deg: float) -> str:
    """Address of the position in the viewer; the viewer itself where the position is unknown."""
    if not (np.isfinite(ra_deg) and np.isfinite(dec_deg)):
        return "https://www.legacysurvey.org/viewer"
    return VIEWER.format(ra=ra_deg, dec=dec_deg)


def gallery_page(cutouts: CutoutSet, *, listed: AnchorList | None, n_stamps: int, title: str) -> str:
    """HTML of at most ``n_stamps`` galaxies, evenly through the set, or of the objects of ``listed``."""
    if listed is not None:
        rows = find_cutouts(listed, cutouts)
        body = _listed(cutouts, listed, rows)
        shown = int((rows >= 0).sum())
        verdict = (f"{shown} of {len(listed)} objects of {listed.origin} have a cutout here.",)
    else:
        chosen = np.unique(np.linspace(0, len(cutouts) - 1, min(n_stamps, len(cutouts))).astype(int))
        body = _by_class(cutouts, chosen)
        verdict = (f"{len(chosen):,} of {len(cutouts):,} galaxies, evenly through the set.",)
    return document(title, eyebrow="Dark Halo Scope \u00b7 gallery", verdict=verdict, body=body)


def _by_class(cutouts: CutoutSet, rows: np.ndarray) -> str:
    body = ""
    for code, name in enumerate(CLASSES):
        mine = rows[cutouts.kind[rows] == code]
        if len(mine):
            names = [str(cutouts.target_id[row]) for row in mine]
            body += section(f"{name.replace('_', ' ')} ({len(mine)})", _grid(cutouts, mine, names))
    return body


def _listed(cutouts: CutoutSet, listed: AnchorList, rows: np.ndarray) -> str:
    there = np.flatnonzero(rows >= 0)
    body = section("Objects", _grid(cutouts, rows[there], [str(listed.name[i]) for i in there]))
    missing = [str(listed.name[i]) for i in np.flatnonzero(rows < 0)]
    if missing:
        body += section(f"Without a cutout ({len(missing)})", f"<p class=note>{', '.join(missing)}</p>")
    return body


def _grid(cutouts: CutoutSet, rows: np.ndarray, names: list[str]) -> str:
    cells = [
        (stamp_png(np.array(cutouts.images[row])), _caption(cutouts, int(row), name))
        for row, name in zip(rows, names, strict=True)
    ]
    links = [viewer_link(ra_deg=float(cutouts.ra_deg[row]), dec_deg=float(cutouts.dec_deg[row])) for row in rows]
    return stamp_grid(cells, links=links)


def _caption(cutouts: CutoutSet, row: int, name: str) -> tuple[str, ...]:
    r = BANDS.index("r")
    mag = f"r = {cutouts.mag[row, r]:.1f}, " if np.isfinite(cutouts.mag[row, r]) else ""
    good = good_pixels(cutouts.invvar[row], cutouts.maskbits[row])[r].mean()
    bad = "" if good > 0.999 else f", {1 - good:.1%} masked"
    split = SPLITS[cutouts.split[row]]
    seeing, depth = cutouts.psf_fwhm_arcsec[row, r], cutouts.psf_depth_mag[row, r]
    lines = (name, f"{mag}{split}{bad}", f"seeing {seeing:.2f}\u2033, depth {depth:.1f}")
    return (*lines, *origin_line(cutouts, row))


def origin_line(cutouts: CutoutSet, row: int) -> tuple[str, ...]:
    """What a stamp is when it is no survey cutout, for its caption; nothing when it is one."""
    said = "" if cutouts.origin is None else str(cutouts.origin[row])
    return (said,) if said else ()
