"""Which stamps the report shows, and how: found lenses, missed visible lenses, worst false positives.

Chosen by rule, never by eye. Found lenses are a random draw, so the gallery is typical and not a
selection of the prettiest; misses and false positives are the worst, because that is what they are looked at for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dhs.display import stamp_png
from dhs.evaluate.table import column, visible_mask
from dhs.evaluate.wording import CLASS_NAMES
from dhs.rng import Purpose, keyed_rng

GALLERY_SIZE = 24

Summary = dict[str, Any]
StampImages = Callable[[np.ndarray], np.ndarray]
"""Row numbers of the score table (n,) -> stamps (n, 3, H, W) in nMgy."""


@dataclass(frozen=True)
class Gallery:
    """Rows of the score table to show, and the words about them."""

    title: str
    explanation: str
    rows: np.ndarray


@dataclass(frozen=True)
class Stamp:
    """One picture with its caption lines."""

    png: bytes
    caption: tuple[str, ...]


def galleries(table: pa.Table, summary: Summary) -> list[Gallery]:
    """The three galleries of the report; ``rows`` is empty where there is nothing to show."""
    logit, negative = column(table, "logit"), column(table, "label") == 0
    threshold, visible = summary["operating_point"]["threshold_logit"], visible_mask(table)
    found, missed = np.flatnonzero(visible & (logit > threshold)), np.flatnonzero(visible & (logit <= threshold))
    false = np.flatnonzero(negative & (logit > threshold))
    rng = keyed_rng(summary["settings"]["seed"], Purpose.SHEET, 0, 0)
    some = np.sort(rng.permutation(found)[:GALLERY_SIZE])
    worst = np.flatnonzero(negative)[np.argsort(-logit[negative], kind="stable")][:GALLERY_SIZE]
    return [
        Gallery(
            "Found", f"{len(some)} of the {len(found):,} visible lenses above the threshold, drawn at random.", some
        ),
        Gallery(
            "Missed",
            f"Of the {len(missed):,} visible lenses below the threshold, those with the lowest scores.",
            missed[np.argsort(logit[missed], kind="stable")][:GALLERY_SIZE],
        ),
        Gallery(
            "Highest-scoring negatives",
            f"The worst false positives first; {len(false):,} of {int(negative.sum()):,} negatives pass the threshold.",
            worst,
        ),
    ]


def stamps(gallery: Gallery, *, table: pa.Table, stamp_images: StampImages) -> list[Stamp]:
    """Pictures of a gallery, north up, with class, score and what is known of the arc."""
    if not len(gallery.rows):
        return []
    images = stamp_images(gallery.rows)
    return [Stamp(stamp_png(image), caption(table, int(row))) for row, image in zip(gallery.rows, images, strict=True)]


def caption(table: pa.Table, row: int) -> tuple[str, ...]:
    """Class and probability; for a lens theta_E, seeing and the integrated S/N in the best band too."""
    values = {name: table.column(name)[row].as_py() for name in _CAPTION_COLUMNS}
    name, p = CLASS_NAMES[values["kind"]], f"p = {_probability(values['logit'])}"
    if not values["label"]:
        return name, f"{p}, seeing {values['psf_fwhm_r_arcsec']:.2f}\u2033"
    return (
        f"{name}, {p}",
        f"\u03b8E {values['theta_e_arcsec']:.2f}\u2033, seeing {values['psf_fwhm_r_arcsec']:.2f}\u2033",
        f"arc S/N {values['arc_snr_sum']:.0f}, \u03bc = {values['magnification']:.1f}",
    )


_CAPTION_COLUMNS = (
    "label", "kind", "logit", "theta_e_arcsec", "psf_fwhm_r_arcsec", "arc_snr_sum", "magnification",
)  # fmt: skip


def _probability(logit: float) -> str:
    """Three digits that do not round a confident score to 1.000 or 0.000."""
    p = 1 / (1 + np.exp(-np.float64(logit)))
    if p > 0.9995:
        return ">0.999"
    return "<0.001" if p < 0.0005 else f"{p:.3f}"
