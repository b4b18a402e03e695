"""Stage `explain`: occlusion maps of hits, misses and false positives of the test sky, and of the anchors.

python evaluate.py checkpoint=RUN task=all "evaluate.stages=[explain]"
"""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from dhs.config.anchors import SimulatedAnchors
from dhs.evaluate.anchors.sample import LABELS, open_sample
from dhs.evaluate.anchors.stage import anchor_items, stamp_size_px
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.explain.figures import Explained, explain_figure
from dhs.evaluate.explain.occlusion import OcclusionItems, corners, occlusion_maps, share_inside
from dhs.evaluate.held_out import HeldOutItems
from dhs.evaluate.rows import Row
from dhs.evaluate.scored_set import StampItems
from dhs.evaluate.section import Section
from dhs.evaluate.table import column, visible_mask
from dhs.page import table as html_table
from dhs.rng import Purpose, keyed_rng
from dhs.sky.cutouts import CutoutSet

KEY, TITLE = "explain", "Where the finder looks"
ARC_LIGHT = 0.9
"""The arc's footprint holds this share of its r light, brightest pixels first."""

NOTES = (
    "A map shows the mean change of the logit when a patch over a pixel is replaced by the galaxy's own azimuthal "
    "median and sky noise: red pixels speak for a lens, blue ones against. Dashed: theta_E of the lens. Each map has "
    "its own scale, printed on it.",
    "Maps illustrate, they prove nothing: evidence spread wider than a patch, or held twice, hardly shows, and a map "
    "drawn from a network of random weights can look as sensible (Adebayo+2018). The shortcut gates are the test.",
)


@dataclass(frozen=True)
class _Group:
    """Stamps of one kind."""

    key: str
    title: str
    index: np.ndarray
    """Of the items."""
    caption: list[str]
    theta_e_arcsec: np.ndarray
    items: Callable[[], StampItems]
    label: str = ""


def run(context: EvaluationContext) -> Section:
    """The section: a figure for each kind of stamp, and how much of the evidence lies on the arc."""
    figures: dict[str, Figure] = {}
    captions: dict[str, str] = {}
    rows: list[Row] = []
    lines: list[tuple[str, ...]] = []
    for group in _groups(context):
        if len(group.index) == 0:
            lines.append((group.title, "none", ""))
            continue
        stamps, inside, area = _explain(context, group)
        figures[group.key] = explain_figure(stamps, title=group.title, label=group.label)
        captions[group.key] = f"{group.title}. Left: g, r, z composite, bar 5 arcsec. Right: occlusion map over r."
        known = inside[np.isfinite(inside)]
        share = (
            f"{known.mean():.0%} of the positive evidence on {np.nanmean(area):.0%} of the area" if len(known) else ""
        )
        lines.append((group.title, str(len(stamps)), share))
        if len(known):
            note = f"mean of {len(known)} stamps; the arc covers {np.nanmean(area):.3f} of the stamp"
            rows.append(
                Row(f"occlusion_share_on_arc_{group.key}", "test", float(known.mean()), None, None, len(known), note)
            )
    html = html_table(("stamps", "shown", "on the arc's footprint"), lines)
    html += "".join(f"<p class=note>{escape(text)}</p>" for text in NOTES)
    data = {"groups": [{"title": title, "n": n, "on_arc": share} for title, n, share in lines]}
    return Section(KEY, TITLE, html, rows=rows, data=data, figures=figures, captions=captions)


def _groups(context: EvaluationContext) -> list[_Group]:
    """Found lenses at random, missed visible ones and negatives with the worst scores; and the anchors' own."""
    table = context.test_scores
    threshold, words = _threshold(context)
    n = context.settings.explain.n_each
    logit, positive = column(table, "logit"), column(table, "label") == 1
    seen = visible_mask(table) & positive
    rng = keyed_rng(context.config.seed, Purpose.EXPLAIN, 1, 0)
    hits, misses = np.flatnonzero(seen & (logit > threshold)), np.flatnonzero(seen & (logit <= threshold))
    false = np.flatnonzero(~positive & (logit > threshold))
    theta_e, index = column(table, "theta_e_arcsec"), column(table, "index").astype(np.int64)
    kind = table.column("kind").to_pylist()

    def group(key: str, title: str, chosen: np.ndarray) -> _Group:
        caption = [
            f"logit {logit[i]:.1f}" + (f", \u03b8E {theta_e[i]:.2f}\u2033" if positive[i] else f", {kind[i]}")
            for i in chosen
        ]
        items = lambda: HeldOutItems(context.supply, Purpose.TEST)  # noqa: E731
        return _Group(key, title, index[chosen], caption, np.where(positive, theta_e, np.nan)[chosen], items)

    return [
        group("found", f"Found visible lenses, {words}", np.sort(rng.permutation(hits)[:n])),
        group("missed", f"Missed visible lenses, {words}", misses[np.argsort(logit[misses], kind="stable")][:n]),
        group("false", f"False positives, {words}", false[np.argsort(-logit[false], kind="stable")][:n]),
        *_anchor_groups(context, threshold=threshold, words=words),
    ]


def _anchor_groups(context: EvaluationContext, *, threshold: float, words: str) -> list[_Group]:
    """Hits and misses of the anchors that count, where there are any; simulated ones are like the test set's lenses."""
    sample = None
    if context.has_network:
        chosen = context.anchors
        if chosen is None or isinstance(chosen, SimulatedAnchors) or not chosen.cutouts:
            return []
        sample = open_sample(chosen, stamp_size_px=stamp_size_px(context))
        if len(sample.counting) == 0:
            return []
        label = LABELS[sample.provenance]
    elif not context.path("anchors").is_file() or not context.path("anchors_list").is_file():
        return []
    else:
        label = LABELS[context.table("anchors_list", _never, identity="").column("provenance")[0].as_py()]
        if label == LABELS["simulated"]:
            return []

    def items() -> StampItems:
        assert sample is not None, "task=report makes nothing"
        return anchor_items(sample)

    scores = context.score("anchors", items)
    logit, names = scores.column("logit").to_numpy(), scores.column("lens").to_pylist()
    theta_e = scores.column("theta_e_arcsec").to_numpy()
    n = context.settings.explain.n_each
    hits, misses = np.flatnonzero(logit > threshold), np.flatnonzero(logit <= threshold)
    found = []
    for key, title, rows in (
        ("anchors_found", "Found lenses of the list", hits[np.argsort(-logit[hits], kind="stable")][:n]),
        ("anchors_missed", "Missed lenses of the list", misses[np.argsort(logit[misses], kind="stable")][:n]),
    ):
        caption = [f"{names[i]}, logit {logit[i]:.1f}" for i in rows]
        found.append(_Group(key, f"{title}, {words}", rows, caption, theta_e[rows], items, label))
    return found


def _threshold(context: EvaluationContext) -> tuple[float, str]:
    """Of evaluate.bin_fpr where the calibration sky resolves it, else p > 0.5 as the logit 0."""
    cut = context.calibration.threshold(context.settings.bin_fpr)
    return (0.0, "logit > 0") if cut is None else (cut.logit, f"FPR {cut.fpr:g}")


def _explain(context: EvaluationContext, group: _Group) -> tuple[list[Explained], np.ndarray, np.ndarray]:
    """Maps of the stamps, share of their evidence on the arc, and the arc's share of the area; NaN without arc."""
    settings = context.settings.explain
    chosen = group.index

    def make() -> pa.Table:
        return stamps_table(group.items(), chosen)

    identity = f"{group.key} {chosen.tolist()} {group.items().identity if context.has_network else ''}"
    stamps = context.table(f"explain_{group.key}_stamps", make, identity=identity)
    images, footprint = read_stamps(stamps)
    size = images.shape[-1]

    def occluded() -> OcclusionItems:
        return OcclusionItems(
            group.items(),
            chosen=chosen,
            size_px=size,
            patch_px=settings.patch_px,
            stride_px=settings.stride_px,
            seed=context.config.seed,
        )

    scores = context.score(f"explain_{group.key}", occluded)
    n_patches = len(scores) // len(chosen) - 1
    where = corners(size, patch_px=settings.patch_px, stride_px=settings.stride_px)
    if len(where) != n_patches:
        raise ValueError(
            f"evaluate.explain: the scores are of {n_patches} patches, patch_px = {settings.patch_px} and stride_px = "
            f"{settings.stride_px} make {len(where)}; give those of the run, or run task=all again"
        )
    maps = occlusion_maps(scores.column("logit").to_numpy(), corners_px=where, size_px=size, patch_px=settings.patch_px)
    shown = [
        Explained(image, one, caption, float(theta_e))
        for image, one, caption, theta_e in zip(images, maps, group.caption, group.theta_e_arcsec, strict=True)
    ]
    area = footprint.mean(axis=(1, 2))
    inside = np.where(area > 0, share_inside(maps, footprint), np.nan)
    return shown, inside, np.where(area > 0, area, np.nan)


def stamps_table(items: StampItems, chosen: np.ndarray) -> pa.Table:
    """Pixels of the stamps and the footprint of their arcs (empty where none was injected), one row each."""
    stamps = items.stamps(chosen)
    images = stamps.images.numpy().astype(np.float32)
    footprint = np.zeros((len(images), *images.shape[-2:]), dtype=bool)
    if isinstance(items.cutouts, CutoutSet) and stamps.recipes.injected.any():
        where = np.flatnonzero(stamps.recipes.injected)
        galaxies = np.array(items.cutouts.images[stamps.recipes.row[where]])
        footprint[where] = arc_footprint(images[where, 1] - galaxies[:, 1])
    return pa.table(
        {
            "image": [image.tobytes() for image in images],
            "footprint": [mask.tobytes() for mask in footprint],
            "size_px": pa.array([images.shape[-1]] * len(images), pa.int32()),
        }
    )


def read_stamps(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(S, 3, N, N) and (S, N, N) of `stamps_table`."""
    size = table.column("size_px")[0].as_py()
    images = [np.frombuffer(one, np.float32).reshape(3, size, size) for one in table.column("image").to_pylist()]
    masks = [np.frombuffer(one, bool).reshape(size, size) for one in table.column("footprint").to_pylist()]
    return np.stack(images), np.stack(masks)


def arc_footprint(arcs: np.ndarray) -> np.ndarray:
    """(B, N, N) bool: the brightest pixels of (B, N, N) arcs that hold ARC_LIGHT of their positive light."""
    light = np.maximum(arcs, 0.0).reshape(len(arcs), -1)
    order = np.argsort(-light, axis=1)
    cumulative = np.cumsum(np.take_along_axis(light, order, axis=1), axis=1)
    kept = cumulative - np.take_along_axis(light, order, axis=1) < ARC_LIGHT * cumulative[:, -1:]
    mask = np.zeros(light.shape, dtype=bool)
    np.put_along_axis(mask, order, kept & (cumulative[:, -1:] > 0), axis=1)
    return mask.reshape(arcs.shape)


def _never() -> pa.Table:
    raise AssertionError("task=report makes nothing")
