"""The page of `task=mine`: the worst negatives of each class, to be looked at before a network is taught with them."""

import numpy as np

from dhs.constants import BANDS
from dhs.display import stamp_png
from dhs.evaluate.mine import Mined, probability
from dhs.evaluate.wording import CLASS_NAMES
from dhs.page import document, section, stamp_grid, table
from dhs.sky.gallery_page import origin_line, viewer_link


def mine_page(mined: Mined, *, n_shown: int) -> str:
    """HTML: counts by class, then at most ``n_shown`` stamps of each, the worst first."""
    provenance = mined.provenance
    kinds = np.asarray(mined.table["class"].to_pylist(), dtype=str)
    left_out = ", ".join(f"{n:,} {why}" for why, n in provenance["left_out"].items()) or "none"
    verdict = (
        f"{len(kinds):,} of {sum(provenance['scored'].values()):,} negatives of the {_splits(mined)} sky, the worst of "
        "each class.",
        f"Scored: {provenance['origin']}. Left out: {left_out}.",
        "Look for arcs before you train with these: a lens that no catalogue knows scores high too, and would be "
        "taught as a negative. p is the network's own, not calibrated.",
    )
    body = section("By class", _counts(mined, kinds))
    for name in provenance["scored"]:
        rows = np.flatnonzero(kinds == name)[:n_shown]
        title = f"{CLASS_NAMES[name]} ({len(rows)} of {int((kinds == name).sum())} in the list)"
        body += section(title, _grid(mined, rows))
    made = (("checkpoint", provenance["checkpoint"]), ("SHA-256", provenance["checkpoint_sha256"]))
    body += section("Made with", table(("", ""), [*made, ("made", provenance["created_utc"])], css="run"))
    return document("Hard negatives", eyebrow="Dark Halo Scope \u00b7 mining", verdict=verdict, body=body)


def _splits(mined: Mined) -> str:
    return " and ".join(mined.provenance["task"]["splits"])


def _counts(mined: Mined, kinds: np.ndarray) -> str:
    score = mined.table["score"].to_numpy()
    rows = []
    for name, n_scored in mined.provenance["scored"].items():
        mine = score[kinds == name]
        rows.append(
            (
                CLASS_NAMES[name],
                f"{n_scored:,}",
                f"{len(mine):,}",
                f"{probability(mine.max()):.3f}",
                f"{probability(mine.min()):.3f}",
                f"{(mine > 0).sum():,}",
            )
        )
    return table(("class", "scored", "in the list", "highest p", "lowest p of the list", "p > 0.5"), rows)


def _grid(mined: Mined, places: np.ndarray) -> str:
    cutouts, r = mined.cutouts, BANDS.index("r")
    cells, links = [], []
    for place in places.tolist():
        row = int(mined.rows[place])
        p = probability(mined.table["score"][place].as_py())
        split, seeing = mined.table["split"][place].as_py(), cutouts.psf_fwhm_arcsec[row, r]
        lines = (
            f"{mined.table['rank'][place]}. p = {p:.3f}",
            f"{cutouts.target_id[row]}, {split}",
            f"seeing {seeing:.2f}\u2033",
        )
        cells.append((stamp_png(np.array(cutouts.images[row])), (*lines, *origin_line(cutouts, row))))
        links.append(viewer_link(ra_deg=float(cutouts.ra_deg[row]), dec_deg=float(cutouts.dec_deg[row])))
    return stamp_grid(cells, links=links)
