"""`evaluate.py task=audit`: an anchor that is not audited never counts."""

import logging

import numpy as np
from rich.console import Console
from rich.table import Table

from dhs.config.anchors import AuditTask, SimulatedAnchors
from dhs.config.root import EvaluateRoot

log = logging.getLogger("dhs")


def audit(config: EvaluateRoot) -> int:
    """Audit ``config.anchors``; 1 when an object fails."""
    from dhs.evaluate.anchors.sample import open_sample
    from dhs.evaluate.audit_report import verdict_lines, write_audit
    from dhs.sky.anchor_audit import AuditLimits

    task, chosen = config.task, config.anchors
    assert isinstance(task, AuditTask) and not isinstance(chosen, SimulatedAnchors), "the root schema refuses it"
    limits = AuditLimits(task.jname_arcsec, task.catalogue_arcsec, task.centre_arcsec, task.max_r_mag)
    sample = open_sample(chosen, limits=limits)
    anchors, found, graded, cutouts = sample.anchors, sample.found, sample.graded, sample.cutouts
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
