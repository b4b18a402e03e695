"""`run_checks`: every check in turn; what the table, the JSON and the exit code say of the result."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from dhs.inject.check_state import EXIT_FAILED, EXIT_NOT_CHECKED, STATE_STYLE
from dhs.inject.selfcheck import lensing, light, noise, psf, stamps
from dhs.inject.selfcheck.physics import Physics
from dhs.inject.selfcheck.rows import Check, failed, unchecked

CHECKS: dict[str, Callable[[Physics], list[Check]]] = {
    "lenstronomy": lensing.lenstronomy,
    "magnification": lensing.magnification,
    "einstein_ring": lensing.einstein_ring,
    "orientation": lensing.orientation,
    "convergence": lensing.convergence,
    "point_source": psf.point_source,
    "psf_fwhm": psf.psf_fwhm,
    "pixel_counted_once": psf.pixel_counted_once,
    "kernel_light": psf.kernel_light,
    "wrap_around": psf.wrap_around,
    "templates": light.templates,
    "flux_without_lens": light.flux_without_lens,
    "units": light.units,
    "colours": light.colours,
    "brightness": light.brightness,
    "background": stamps.background,
    "same_stamp": stamps.same_stamp,
    "snr": stamps.snr,
    "measures": stamps.measures,
    "noise": noise.noise,
}
"""Every check, in the order of the photon's way: lens, PSF, light, stamp."""


def run_checks(physics: Physics, *, log: Callable[[str], None]) -> list[Check]:
    """Rows of all checks; ``log`` gets a line a check."""
    rows: list[Check] = []
    for number, (name, check) in enumerate(CHECKS.items(), start=1):
        started = time.monotonic()
        found = check(physics)
        rows += found
        log(f"[{number}/{len(CHECKS)}] {name}: {outcome(found)} ({time.monotonic() - started:.1f} s)")
    return rows


def outcome(rows: Sequence[Check]) -> str:
    """``3 passed``, ``1 of 3 FAILED``, ``1 of 3 not checked``."""
    n_failed, n_unchecked = len(failed(rows)), len(unchecked(rows))
    if n_failed:
        return f"{n_failed} of {len(rows)} FAILED"
    return f"{n_unchecked} of {len(rows)} not checked" if n_unchecked else f"{len(rows)} passed"


def exit_code(rows: Sequence[Check]) -> int:
    """0: all passed; 1: a check failed; 3: none failed, but not all could be checked."""
    if failed(rows):
        return EXIT_FAILED
    return EXIT_NOT_CHECKED if unchecked(rows) else 0


def verdict(rows: Sequence[Check]) -> tuple[str, ...]:
    """What the result means, the claim first."""
    bad, skipped = failed(rows), unchecked(rows)
    if bad:
        names = ", ".join(dict.fromkeys(row.name for row in bad))
        return (f"FAIL: {len(bad)} of {len(rows)} quantities are wrong ({names}).",) + tuple(
            dict.fromkeys(f"{row.name}: {row.why}." for row in bad)
        )
    if skipped:
        return (f"{len(rows) - len(skipped)} quantities pass; {len(skipped)} could not be checked.",) + tuple(
            f"{row.name}: {row.why}." for row in skipped
        )
    return (f"PASS: all {len(rows)} quantities of {len(CHECKS)} checks are as they should be.",)


def console_table(rows: Sequence[Check]) -> Table:
    """The table for the terminal; failed rows say what would be wrong."""
    table = Table(title="Self-check of the injection physics", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("check", no_wrap=True)
    table.add_column("quantity", overflow="fold", ratio=1)
    for head in ("expected", "got", "allowed", ""):
        table.add_column(head, no_wrap=True)
    last = ""
    for row in rows:
        quantity = Text(row.quantity)
        if row.state != "pass":
            quantity.append(f"\n{row.why}", style=STATE_STYLE[row.state])
        name = "" if row.name == last else row.name
        state = Text(row.state, style=STATE_STYLE[row.state])
        table.add_row(name, quantity, row.expected, row.got, row.allowed, state)
        last = row.name
    return table


def as_json(rows: Sequence[Check], *, run_info: dict[str, Any]) -> str:
    """The result as JSON text."""
    summary = {
        "passed": not failed(rows) and not unchecked(rows),
        "n_rows": len(rows),
        "n_failed": len(failed(rows)),
        "n_not_checked": len(unchecked(rows)),
        "exit_code": exit_code(rows),
    }
    content = {**summary, "run": run_info, "rows": [row.as_json() for row in rows]}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
