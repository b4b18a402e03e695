"""The stage `selection` of `evaluate.py task=all`: completeness over theta_E x seeing x depth.

python evaluate.py checkpoint=RUN task=all "evaluate.stages=[selection]" evaluate=full
"""

from html import escape
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dhs.config.run_dir import versions
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.metrics import HALF_LOGIT
from dhs.evaluate.section import Section, figure_slot, said
from dhs.evaluate.selection.analysis import CURVES, Cut, Selection, analyse, injections_of, natural_theta_weights
from dhs.evaluate.selection.cells import Injections
from dhs.evaluate.selection.figures import curves_figure, map_figure
from dhs.evaluate.selection.items import NoHosts, SelectionItems, grid_of
from dhs.evaluate.selection.table import selection_table, write_selection_table
from dhs.evaluate.selection.words import (
    FILE_NAME,
    LIMITS,
    data_of,
    hosts_words,
    natural_table,
    priors_words,
    rows_of,
    warnings_of,
)
from dhs.inject.injector import Injector

KEY, TITLE = "selection", "Selection function"


def run(context: EvaluationContext) -> Section:
    """Score the injections, or read their scores; analyse them; write the table and the section."""
    if context.config.sky.name == "stamps":
        return said(KEY, TITLE, why="Not done: sky=stamps is a set of finished stamps, into which nothing is injected.")
    settings = context.settings.selection
    try:
        scores = context.score(KEY, lambda: _items(context))
    except NoHosts as error:
        return said(KEY, TITLE, why=f"Not done: {error}")
    injections = injections_of(scores, grid=grid_of(settings))
    cuts, missing = cuts_of(context)
    results = analyse(
        injections,
        cuts,
        settings=settings,
        population=context.config.lens.population,
        resamples=context.settings.bootstrap_resamples,
        seed=context.config.seed,
    )
    return _section(context, injections, results, warnings=missing)


def cuts_of(context: EvaluationContext) -> tuple[list[Cut], list[str]]:
    """Thresholds of the calibration sky and p > 0.5, the one of evaluate.bin_fpr first; and which there are not."""
    calibration = context.calibration
    cuts = [
        Cut(f"fpr_{threshold.fpr:g}", f"FPR {threshold.fpr:g}", threshold.logit, threshold.note)
        for threshold in calibration.thresholds
    ]
    cuts.sort(key=lambda cut: cut.name != f"fpr_{context.settings.bin_fpr:g}")
    missing = [f"No completeness at FPR {fpr:g}: {why}." for fpr, why in calibration.unresolved.items()]
    return [*cuts, Cut("p_0.5", "p > 0.5", HALF_LOGIT)], missing


def _items(context: EvaluationContext) -> SelectionItems:
    supply = context.supply
    assert isinstance(supply, Injector), "sky=stamps has been told apart"
    return SelectionItems(
        supply.painter,
        settings=context.settings.selection,
        lens=context.config.lens,
        colour=context.config.colour,
        seed=context.config.seed,
        calibrating=context.calibration_scores.column("target_id").to_numpy(),
    )


def _section(
    context: EvaluationContext, injections: Injections, results: dict[str, Selection], *, warnings: list[str]
) -> Section:
    path = context.output_dir / FILE_NAME
    write_selection_table(
        selection_table(
            injections.grid,
            {name: result.cells for name, result in results.items()},
            thresholds={
                name: {"label": result.cut.label, "logit": result.cut.logit, "note": result.cut.note}
                for name, result in results.items()
            },
            main_threshold=next(iter(results)),
            provenance=_provenance(context, injections),
        ),
        path=path,
    )
    figures, captions = _figures(injections, results)
    return Section(
        key=KEY,
        title=TITLE,
        html=_html(context, injections, results, figures=figures),
        rows=rows_of(injections, results),
        data=data_of(injections, results),
        figures=figures,
        captions=captions,
        warnings=warnings + warnings_of(injections, results),
    )


def _provenance(context: EvaluationContext, injections: Injections) -> dict[str, Any]:
    """Where the table comes from, and what it holds for."""
    config = context.config
    groups = ("sky", "source", "lens", "psf", "colour", "inject")
    return {
        "run": config.name,
        "seed": config.seed,
        "identity": context.identity(KEY),
        "injections": hosts_words(injections),
        "priors": priors_words(config.lens, config.colour),
        "natural_theta_weights": natural_theta_weights(
            injections.grid.theta_e_arcsec, population=config.lens.population
        ).tolist(),
        "limits": list(LIMITS),
        "configuration": {name: getattr(config, name).model_dump(mode="json") for name in groups},
        "versions": versions(),
    }


def _figures(injections: Injections, results: dict[str, Selection]) -> tuple[dict[str, Figure], dict[str, str]]:
    grid = injections.grid
    figures, captions = {}, {}
    for name, result in results.items():
        key = f"map_{name.replace('.', '_')}"  # a file's name
        figures[key] = map_figure(grid, result.cells, title=f"Completeness at {result.cut.label}")
        captions[key] = (
            f"Share of injected lenses found at {result.cut.label}, by Einstein radius, r-band seeing and 5-sigma "
            "point-source depth (r, AB). Hatched: the test sky has no galaxy with these conditions."
        )
    figures["curves"] = curves_figure(
        grid.theta_e_arcsec,
        {name: result.natural.by_theta for name, result in results.items()},
        {words: {name: result.curves[key] for name, result in results.items()} for key, (_, words) in CURVES.items()},
        labels={name: result.cut.label for name, result in results.items()},
    )
    captions["curves"] = (
        "Completeness over one quantity, weighted to nature's Einstein radii and to the conditions of the test sky. "
        "95% intervals: over galaxies (Bayesian bootstrap) for theta_E, Wilson's on the effective number elsewhere."
    )
    return figures, captions


def _html(
    context: EvaluationContext, injections: Injections, results: dict[str, Selection], *, figures: dict[str, Figure]
) -> str:
    first = next(iter(results.values()))
    theta = injections.grid.theta_e_arcsec
    spans = f"{theta[0]:g} to {theta[-1]:g} arcsec"
    paragraphs = [
        hosts_words(injections),
        priors_words(context.config.lens, context.config.colour),
        f"Nature's lenses: theta_E from {spans} with the density of Choi+2007's velocity dispersions, volume, source "
        "redshifts and cross-section (lens.population), under the conditions of the test sky. Lenses beyond this range "
        "do not count. The interval is over galaxies and injections, not over training seeds nor over the priors.",
    ]
    maps = [name for name in figures if name.startswith("map_")]
    main = figure_slot(maps[0]) + natural_table(results) + figure_slot("curves")
    others = "".join(figure_slot(name) for name in maps[1:])
    usage = (
        "from dhs.evaluate.selection.function import SelectionFunction\n"
        f'finder = SelectionFunction.read("{FILE_NAME}")   # at {first.cut.label}; needs numpy, scipy, pyarrow\n'
        f"value, error = finder.completeness({np.median(theta):g}, 1.2, 24.4)   # theta_E, seeing, r-band depth"
    )
    return (
        "".join(f"<p>{escape(text)}</p>" for text in paragraphs)
        + main
        + (f"<details><summary>Maps at the other thresholds</summary>{others}</details>" if others else "")
        + f"<p>The cells are in {FILE_NAME}, with units and provenance:</p><pre>{escape(usage)}</pre>"
        + f"<p>What it does not show:</p><ul>{''.join(f'<li>{escape(text)}</li>' for text in LIMITS)}</ul>"
    )
