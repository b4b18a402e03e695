"""The judged bank as one HTML page: verdict, table, figures, pictures of sources at random and of the worst ones."""

from html import escape

import numpy as np

from dhs.display import figure_png
from dhs.page import document, picture, section, stamp_grid, table
from dhs.source.check.figures import FIGURE_DPI, figures
from dhs.source.check.pictures import asinh_rgb, linear_rgb, png, sheet
from dhs.source.check.read import read_images
from dhs.source.check.run import BankReport, chosen_rows
from dhs.source.check.summary import claim, reasons, worst_rows
from dhs.source.check.verdict import Check

N_SHOWN = 48
COLUMNS = 12
REASONS_SHOWN = 3
MARKS = {"pass": "pass", "warn": "advice", "fail": "FAIL", "absent": "absent"}
LIMITS_OF_THE_CHECK = (
    "The pixels decide; what the file says of itself (S/N, half-light radii) is compared, never believed, except the "
    "S/N of a bank that stores one.",
    "Noise that was smoothed away leaves no speckle: a heavily denoised bank is judged by its pedestal, sizes and edge "
    "light alone.",
    "Whether the galaxies are the right ones (redshift, colour, brightness) is not looked at.",
    "The S/N from the grain is calibrated on ACS noise; on white noise it is nine times too low, and it only warns.",
    "The same galaxy cut out at another centre is not found among the duplicates.",
)


def render_page(report: BankReport, *, seed: int) -> str:
    """The whole document as ASCII text; ``seed`` chooses the sources shown at random."""
    bank = report.evidence.bank
    body = "\n".join(
        (
            _checks(report),
            _random(report, seed=seed),
            _figures(report, seed=seed),
            *(_worst(report, check) for check in report.failed if worst_rows(check)),
            section(
                "What this check cannot see", "<ul>" + "".join(f"<li>{x}</li>" for x in LIMITS_OF_THE_CHECK) + "</ul>"
            ),
            _file(report),
        )
    )
    why = [_because(report)] if report.passed else reasons(report)[:REASONS_SHOWN]
    return document(
        f"Bank check: {bank.path.name}", eyebrow="Dark Halo Scope", verdict=(claim(report), *why), body=body
    )


def _because(report: BankReport) -> str:
    """What the verdict rests on, in figures."""
    e = report.evidence
    hlr, pedestal, light = (
        float(np.nanmedian(values)) for values in (e.measured.hlr_arcsec, e.measured.pedestal, e.measured.galaxy_light)
    )
    return (
        f"In the median {light:.1%} of the light is one object, the pedestal holds {pedestal:.2%} of it, and the "
        f"half-light radius is {hlr:.2f} arcsec where an empty box has {e.noise.hlr_arcsec:.2f}."
    )


def _checks(report: BankReport) -> str:
    rows = [(MARKS[c.outcome], c.quantity, c.measured, c.allowed, c.meaning) for c in sorted(report.checks, key=_rank)]
    return section("Checks", table(("", "quantity", "measured", "allowed", "what it means"), rows, css="long"))


def _rank(check: Check) -> int:
    return ("fail", "warn", "pass", "absent").index(check.outcome)


def _random(report: BankReport, *, seed: int) -> str:
    bank = report.evidence.bank
    rows = chosen_rows(np.arange(bank.n_sources), n=N_SHOWN, seed=seed)
    images = read_images(bank, rows)
    linear, asinh = (
        png(sheet([draw(each) for each in images], columns=min(COLUMNS, len(images))))
        for draw in (linear_rgb, asinh_rgb)
    )
    colour = " The three bands as blue, green and red." if bank.n_channels == 3 else ""
    side = bank.size_px * bank.pixel_scale_arcsec
    return section(
        f"{len(rows)} sources at random",
        picture(linear, caption=f"Linear, zero to the peak. Each stamp is {side:.2f} arcsec wide.{colour}")
        + "<p></p>"
        + picture(
            asinh,
            caption="The same sources, asinh stretch: half a percent of the peak shows. Blue: exactly zero. Red: "
            "negative. A cleaned template is a galaxy on blue; noise clipped to zero is blue salt among grey pixels.",
        ),
    )


def _figures(report: BankReport, *, seed: int) -> str:
    cards = "".join(
        picture(figure_png(figure, dpi=FIGURE_DPI), caption=caption)
        for figure, caption in figures(report, seed=seed).values()
    )
    return section("Distributions", f"<div class=figures>{cards}</div>")


def _worst(report: BankReport, check: Check) -> str:
    bank, measured = report.evidence.bank, report.evidence.measured
    rows = worst_rows(check)
    index = bank.meta["index"]
    cells = [
        (
            png(asinh_rgb(image)),
            (
                f"row {row}, index {index[row]}",
                f"HLR {measured.hlr_arcsec[row]:.2f}\u2033, pedestal {measured.pedestal[row]:.1%}",
                f"speckle {measured.speckle[row]:.2f}, one object {measured.galaxy_light[row]:.0%}",
            ),
        )
        for row, image in zip(rows, read_images(bank, np.array(rows)), strict=True)
    ]
    head = f"<h3>{escape(check.quantity)}</h3><p class=note>{escape(check.measured)}. {escape(check.meaning)}</p>"
    return f"<section>{head}{stamp_grid(cells)}</section>"


def _file(report: BankReport) -> str:
    bank = report.evidence.bank
    rows = [
        ("path", str(bank.path)),
        ("images", f"{bank.n_sources:,} x {bank.n_channels} x {bank.size_px} x {bank.size_px} {bank.dtype.name}"),
        ("meta", ", ".join(sorted(bank.meta))),
        *((key, str(value)) for key, value in sorted(bank.attributes.items())),
    ]
    return section("The file's own words", table(("", ""), rows, css="run"))
