"""`print_summary`: what a user sees when a manifest is finished."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dhs.config.colour import PLAUSIBLE_R_MAG

SHOWN = {
    "theta_e_arcsec": ("theta_E [arcsec]", 2),
    "source_r_mag": ("source r [mag, unlensed]", 2),
    "psf_fwhm_r_arcsec": ("PSF FWHM r [arcsec]", 2),
    "theta_e_over_psf_r": ("theta_E / PSF", 2),
}
"""Quantity: heading and digits."""


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Rows by split, percentiles, cells, hosts by condition, what to expect of the stamps, warnings."""
    console.print(_rows_table(summary))
    for split, numbers in summary["splits"].items():
        if numbers["injected"]:
            console.print(_percentile_table(split, numbers))
    for split, numbers in summary["splits"].items():
        if numbers["hosts_by_condition"]:
            console.print(_condition_table(split, numbers["hosts_by_condition"]))
    if summary["source_sizes"]:
        console.print(_size_table(summary["source_sizes"]))
    expected = summary["stamps"]
    console.print(
        Text(
            f"Stamps to expect: {expected['bytes'] / 1e9:.3g} GB, {duration(expected['seconds'])} (assuming "
            f"{expected['assumed_bytes_per_stamp']:,.0f} bytes a stamp, {expected['assumed_stamps_per_s_per_core']:g} "
            f"stamps/s a core, {expected['assumed_cores']} cores: task.estimate)"
        )
    )
    for warning in summary["warnings"]:
        console.print(Text(f"! {warning}", style="yellow"))


def warnings_of(splits: dict[str, Any], *, source_sizes: list[dict[str, Any]], tolerance: float) -> list[str]:
    """What a user should know before rendering."""
    told = []
    for split, numbers in splits.items():
        cells = numbers["cells"]
        conditions = numbers["hosts_by_condition"]
        without = [each for each in conditions if each["hosts"] == 0]
        if without:
            told.append(
                f"{split}: {len(without)} of {len(conditions)} combinations of seeing and depth have "
                f"no hosts, so {cells['empty']} cells stay empty"
            )
        if cells["hosts_reused"]:
            told.append(
                f"{split}: {cells['hosts_reused']} cells have fewer hosts than rows: galaxies serve again there "
                "(replicate > 0), and their rows are not independent"
            )
        bright = numbers["injected_brighter_than_plausible"]
        if bright:
            told.append(
                f"{split}: {bright / numbers['injected']:.0%} of the sources are brighter than r = {PLAUSIBLE_R_MAG:g} "
                "unlensed: nature has hardly any, and their arcs may outshine the lens"
            )
    for size in source_sizes:
        if size["share_within_tolerance"] < 0.5:
            told.append(
                f"source_hlr_arcsec = {size['asked_arcsec']:g}: this source has no such galaxies; those used have "
                f'{size["median_arcsec"]:.3f}" in the median ({size["low_arcsec"]:.3f} to {size["high_arcsec"]:.3f}), '
                f"beyond the tolerance of {tolerance:.0%}"
            )
    return told


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(Text(columns[0]))
    for column in columns[1:]:
        table.add_column(Text(column), justify="right")
    return table


def _rows_table(summary: dict[str, Any]) -> Table:
    table = _table(
        f"{summary['design']}: {summary['rows']:,} rows",
        *("split", "rows", "injected", "controls", "galaxies", "cells filled", "empty", "hosts reused"),
    )
    for split, numbers in summary["splits"].items():
        cells = numbers["cells"]
        counts = [numbers[name] for name in ("rows", "injected", "controls", "galaxies")]
        counts += [cells[name] for name in ("filled", "empty", "hosts_reused")]
        table.add_row(split, *(f"{count:,}" for count in counts))
    return table


def _percentile_table(split: str, numbers: dict[str, Any]) -> Table:
    percents = list(next(iter(numbers["percentiles"].values())))
    table = _table(f"{split}: percentiles of the injected rows", "quantity", *(f"{percent}%" for percent in percents))
    for name, (heading, digits) in SHOWN.items():
        table.add_row(Text(heading), *(f"{value:.{digits}f}" for value in numbers["percentiles"][name].values()))
    return table


def _condition_table(split: str, conditions: list[dict[str, Any]]) -> Table:
    depths = sorted({tuple(each["psfdepth_r_mag"]) for each in conditions})
    table = _table(
        f"{split}: hosts by seeing (rows) and depth (columns), r band",
        *("arcsec", *(f"{low:g}-{high:g} mag" for low, high in depths)),
    )
    by_place = {(tuple(each["psfsize_r_arcsec"]), tuple(each["psfdepth_r_mag"])): each["hosts"] for each in conditions}
    for seeing in sorted({tuple(each["psfsize_r_arcsec"]) for each in conditions}):
        hosts = [by_place[seeing, depth] for depth in depths]
        table.add_row(f"{seeing[0]:g}-{seeing[1]:g}", *(f"{count:,}" if count else "none" for count in hosts))
    return table


def _size_table(sizes: list[dict[str, Any]]) -> Table:
    table = _table(
        "Half-light radii of the sources [arcsec]", "asked", "used: median", "smallest", "largest", "sources"
    )
    for size in sizes:
        used = [f"{size[name]:.3f}" for name in ("median_arcsec", "low_arcsec", "high_arcsec")]
        table.add_row(f"{size['asked_arcsec']:g}", *used, f"{size['n_sources']:,}")
    return table
