"""`evaluate.py task=audit`: an anchor that is not audited never counts."""

import logging

import numpy as np
from rich.console import Console
from rich.table import Table

from dhs.config.anchors import AuditTask, CsvAnchors
from dhs.config.root import EvaluateRoot

log = logging.getLogger("dhs")


def audit(config: EvaluateRoot) -> int:
    """Audit ``config.anchors``; 1 when an object fails."""
    from dhs.evaluate.audit_report import verdict_lines, write_audit
    from dhs.evaluate.visibility import read_grades, visibility
    from dhs.sky.anchor_audit import Audit, AuditLimits
    from dhs.sky.anchor_audit import audit as audit_list
    from dhs.sky.anchors import read_anchors, slacs_bells
    from dhs.sky.build import open_cutouts
    from dhs.sky.known_lenses import lenscat, read_known_lenses

    task, chosen = config.task, config.anchors
    assert isinstance(task, AuditTask)
    anchors = read_anchors(chosen.path) if isinstance(chosen, CsvAnchors) else slacs_bells()
    known = read_known_lenses(chosen.known_lenses) if chosen.known_lenses else lenscat()
    cutouts = open_cutouts(chosen.cutouts) if chosen.cutouts else None
    limits = AuditLimits(task.jname_arcsec, task.catalogue_arcsec, task.centre_arcsec, task.max_r_mag)
    found: Audit = audit_list(anchors, known=known, cutouts=cutouts, limits=limits)
    by_hand = read_grades(chosen.grades)
    unknown = sorted(set(by_hand) - set(anchors.name.tolist()))
    if unknown:
        raise ValueError(f"{chosen.grades}: {unknown[0]} is not in {anchors.origin}; remove it or correct its name")
    graded = visibility(
        anchors, cutouts=cutouts, cutout_row=np.where(found.failed, -1, found.cutout_row), by_hand=by_hand
    )
    write_audit(task.output, anchors=anchors, found=found, graded=graded, cutouts=cutouts, limits=limits)
    _print(anchors.name[found.failed], found.reason[found.failed])
    log.info("%s %s", *verdict_lines(anchors, found))
    log.info("wrote %s/audit.html, audit.csv, audit.json", task.output)
    return 1 if found.failed.any() else 0


def _print(names: np.ndarray, reasons: np.ndarray) -> None:
    if len(names) == 0:
        return
    table = Table(title="Failed", title_justify="left", show_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("why")
    for name, reason in zip(names, reasons, strict=True):
        table.add_row(str(name), str(reason))
    Console().print(table)
