"""What an audit of anchors leaves behind: a table for machines (CSV, JSON) and a page with every cutout.

The page opens with the verdict; objects that failed come first, then those not fully checked, then the rest.
"""

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from dhs.config.run_dir import write_text
from dhs.display import stamp_png
from dhs.evaluate.visibility import GRADES, UNGRADED, Visibility
from dhs.page import document, section, stamp_grid, table
from dhs.sky.anchor_audit import Audit, AuditLimits
from dhs.sky.anchors import AnchorList
from dhs.sky.cutouts import CutoutSet
from dhs.sky.gallery_page import origin_line, viewer_link


def verdict_lines(anchors: AnchorList, found: Audit) -> tuple[str, str]:
    """The verdict and what it leaves open."""
    n, n_failed, n_counts = len(anchors), int(found.failed.sum()), int(found.counts.sum())
    unchecked = int((~found.failed & ~found.counts).sum())
    claim = f"{n_failed} of {n} failed." if n_failed else f"None of {n} failed."
    rest = f"{n_counts} passed every check and count in recall or contamination"
    if unchecked:
        rest += f"; {unchecked} passed what could be checked, but have no cutout: they do not count until it is seen"
    return claim, rest + "."


def audit_rows(anchors: AnchorList, found: Audit, *, graded: Visibility) -> list[dict[str, Any]]:
    """One row an anchor, in the list's order."""
    return [
        {
            "name": str(anchors.name[i]),
            "survey": str(anchors.survey[i]),
            "kind": str(anchors.kind[i]),
            "ra_deg": float(anchors.ra_deg[i]),
            "dec_deg": float(anchors.dec_deg[i]),
            "counts": bool(found.counts[i]),
            "reason": str(found.reason[i]),
            "jname": str(found.jname[i]),
            "jname_arcsec": _number(found.jname_arcsec[i]),
            "jname_is_short": bool(found.jname_is_short[i]),
            "catalogue": str(found.catalogue[i]),
            "catalogue_name": str(found.catalogue_name[i]),
            "catalogue_arcsec": _number(found.catalogue_arcsec[i]),
            "pixels": str(found.pixels[i]),
            "r_mag": _number(found.r_mag[i]),
            "centre_arcsec": _number(found.centre_arcsec[i]),
            "grade": str(graded.grade[i]),
            "grade_by_hand": bool(graded.by_hand[i]),
            "theta_e_arcsec": _number(graded.theta_e_arcsec[i]),
            "theta_e_is_published": bool(graded.theta_e_is_published[i]),
            "theta_e_over_psf": _number(graded.theta_e_over_psf[i]),
            "ring_snr_g": _number(graded.ring_snr_g[i]),
        }
        for i in range(len(anchors))
    ]


def write_audit(
    folder: Path,
    *,
    anchors: AnchorList,
    found: Audit,
    graded: Visibility,
    cutouts: CutoutSet | None,
    limits: AuditLimits,
) -> None:
    """Write audit.csv, audit.json and audit.html into ``folder``, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = audit_rows(anchors, found, graded=graded)
    claim, rest = verdict_lines(anchors, found)
    summary = {
        "list": anchors.origin,
        "n": len(anchors),
        "n_failed": int(found.failed.sum()),
        "n_counts": int(found.counts.sum()),
        "limits": limits._asdict(),
        "checks": {name: dict(Counter(getattr(found, name).tolist())) for name in ("jname", "catalogue", "pixels")},
        "grades": dict(Counter(graded.grade.tolist())),
        "verdict": f"{claim} {rest}",
        "objects": rows,
    }
    write_text(folder / "audit.json", json.dumps(summary, indent=1) + "\n")
    write_text(folder / "audit.csv", _csv(rows))
    write_text(folder / "audit.html", _page(rows, anchors=anchors, found=found, cutouts=cutouts, limits=limits))


def _page(
    rows: list[dict[str, Any]], *, anchors: AnchorList, found: Audit, cutouts: CutoutSet | None, limits: AuditLimits
) -> str:
    order = np.lexsort((anchors.name, found.counts, ~found.failed))
    body = _checks_section(found, limits) + _grades_section(rows)
    groups = (
        ("Failed", found.failed),
        ("Not fully checked", ~found.failed & ~found.counts),
        ("Passed", found.counts),
    )
    for heading, member in groups:
        chosen = [int(i) for i in order if member[i]]
        if chosen:
            body += section(f"{heading} ({len(chosen)})", _objects(rows, chosen, found=found, cutouts=cutouts))
    return document(
        f"Anchors: {anchors.origin}",
        eyebrow="Dark Halo Scope \u00b7 audit of anchors",
        verdict=verdict_lines(anchors, found),
        body=body,
    )


def _checks_section(found: Audit, limits: AuditLimits) -> str:
    meaning = {
        "jname": f"position within {limits.jname_arcsec:g}\u2033 of what the object's own name says",
        "catalogue": f"a second catalogue has a lens within {limits.catalogue_arcsec:g}\u2033",
        "pixels": f"a galaxy with r < {limits.max_r_mag:g} within {limits.centre_arcsec:g}\u2033 of the centre",
    }
    rows = []
    for name, words in meaning.items():
        counts = Counter(getattr(found, name).tolist())
        rows.append((words, *(str(counts[verdict]) for verdict in ("pass", "fail", "not checked"))))
    short = int((found.jname_is_short & (found.jname == "pass")).sum())
    note = (
        f"<p class=note>{short} names are good to the minute only: they can prove a position wrong, never right.</p>"
        if short
        else ""
    )
    return section("Checks", table(("check", "passed", "failed", "not checked"), rows) + note)


def _grades_section(rows: list[dict[str, Any]]) -> str:
    counts = Counter(row["grade"] for row in rows)
    by_hand = sum(row["grade_by_hand"] for row in rows)
    cells = [(grade, str(counts[grade])) for grade in (*GRADES, UNGRADED)]
    note = (
        "<p class=note>A: \u03b8<sub>E</sub> &gt; 1.2 seeing and g-band S/N of the ring &gt; 25; B: &gt; 0.8 and "
        f"&gt; 10; C: the rest; ungraded: failed, no cutout or no \u03b8<sub>E</sub>. {by_hand} grades by hand.</p>"
    )
    return section("Visibility from the ground", table(("grade", "objects"), cells) + note)


def _objects(rows: list[dict[str, Any]], chosen: list[int], *, found: Audit, cutouts: CutoutSet | None) -> str:
    pictured = [i for i in chosen if found.cutout_row[i] >= 0]
    grid = ""
    if pictured and cutouts is not None:
        images = [np.array(cutouts.images[found.cutout_row[i]]) for i in pictured]
        origins = [origin_line(cutouts, int(found.cutout_row[i])) for i in pictured]
        captions = [(*_caption(rows[i]), *origin) for i, origin in zip(pictured, origins, strict=True)]
        cells = [(stamp_png(image), lines) for image, lines in zip(images, captions, strict=True)]
        grid = stamp_grid(
            cells, links=[viewer_link(ra_deg=rows[i]["ra_deg"], dec_deg=rows[i]["dec_deg"]) for i in pictured]
        )
    head = ("name", "survey", "position", "J-name", "nearest catalogued lens", "\u03b8E", "verdict")
    return grid + table(head, [_table_row(rows[i]) for i in chosen], css="long")


def _table_row(row: dict[str, Any]) -> tuple[str, ...]:
    theta_e = "" if row["theta_e_arcsec"] is None else f"{row['theta_e_arcsec']:.2f}\u2033"
    return (
        row["name"],
        row["survey"],
        f"{row['ra_deg']:.5f} {row['dec_deg']:+.5f}",
        "" if row["jname_arcsec"] is None else f"{row['jname_arcsec']:.1f}\u2033",
        f"{row['catalogue_name']} at {row['catalogue_arcsec']:.1f}\u2033",
        theta_e if row["theta_e_is_published"] or not theta_e else f"{theta_e} (from \u03c3)",
        row["reason"] or "passes",
    )


def _caption(row: dict[str, Any]) -> tuple[str, ...]:
    second = f"grade {row['grade']}" + (" (human)" if row["grade_by_hand"] else "")
    if row["r_mag"] is not None:
        second += f", r = {row['r_mag']:.1f}"
    third = []
    if row["theta_e_arcsec"] is not None:
        third.append(f"\u03b8E {row['theta_e_arcsec']:.2f}\u2033")
    if row["ring_snr_g"] is not None:
        third.append(f"ring S/N {max(row['ring_snr_g'], 0):.0f}")
    lines = [f"{row['name']} ({row['survey']})" if row["survey"] else row["name"], second]
    return (*lines, ", ".join(third)) if third else tuple(lines)


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return round(float(value), 6) if np.isfinite(value) else None
