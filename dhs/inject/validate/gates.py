"""Every gate, in the order in which a reader wants them: files, leaks, light, colours, shortcuts."""

from collections.abc import Callable

from dhs.inject.validate import gates_apart, gates_colour, gates_files, gates_light, gates_match
from dhs.inject.validate.evidence import Evidence
from dhs.inject.validate.gate import Gate

GATES: tuple[Callable[[Evidence], Gate], ...] = (
    gates_files.complete,
    gates_files.readable,
    gates_files.cutout_ok,
    gates_files.finite,
    gates_files.lit,
    gates_files.balance,
    gates_files.proportions,
    gates_apart.galaxies_apart,
    gates_apart.sky_apart,
    gates_apart.task_ids,
    gates_apart.pixels_apart,
    gates_apart.pixels_once,
    gates_apart.sources_apart,
    gates_light.unit,
    gates_light.band_order,
    gates_light.arc_snr,
    gates_light.two_snrs,
    gates_light.arcs_seen,
    gates_light.arc_flux_columns,
    gates_light.arc_flux_pixels,
    gates_light.arcs_outshine,
    gates_light.hlr_is_the_sources,
    gates_colour.colour_columns,
    gates_colour.colour_pixels,
    *gates_match.GATES,
)


def run_gates(evidence: Evidence) -> list[Gate]:
    """The answers."""
    return [gate(evidence) for gate in GATES]
