"""Stage `heldout`: what the finder does on injected lenses and negatives of the test sky, with intervals and N."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dhs.evaluate.context import EvaluationContext, NotScored
from dhs.evaluate.figures import figures
from dhs.evaluate.gallery import galleries, stamps
from dhs.evaluate.intervals import Estimate, not_measured
from dhs.evaluate.page import FIGURE_CAPTIONS, heldout_html
from dhs.evaluate.pictures import Pictures, pictures_table, read_pictures
from dhs.evaluate.rows import summary_rows
from dhs.evaluate.section import Section, Verdict
from dhs.evaluate.summary import Summary, summarise
from dhs.evaluate.targets import TPR_AT_FPR, tpr_verdict
from dhs.evaluate.wording import rate
from dhs.rng import Purpose


def run(context: EvaluationContext) -> Section:
    """The section, from the scores of test and calibration sky."""
    table = context.test_scores
    summary = summarise(
        table,
        context.calibration_scores,
        fprs=context.settings.fprs,
        bootstrap_resamples=context.settings.bootstrap_resamples,
        seed=context.seed,
    )
    return section(summary, table=table, pictures=_pictures(context, table, summary))


def section(summary: Summary, *, table: pa.Table, pictures: Sequence[Pictures] | str) -> Section:
    """The section of a summary: pure."""
    return Section(
        "heldout",
        "Held-out simulations",
        heldout_html(summary, pictures),
        rows=summary_rows(summary),
        data=summary,
        figures=figures(table, summary),
        captions=FIGURE_CAPTIONS,
        verdicts=[_verdict(summary)],
        warnings=summary["warnings"],
    )


def _verdict(summary: Summary) -> Verdict:
    """Of visible lenses: of the others nobody could tell."""
    n_negatives = summary["counts"]["negatives"]
    found = next((entry for entry in summary["visible"]["tpr_at_fpr"] if entry["fpr"] == TPR_AT_FPR), None)
    if found is None:
        estimate = not_measured(f"FPR {TPR_AT_FPR:g} is none of evaluate.fprs")
        return tpr_verdict(estimate, n_negatives=n_negatives, words=estimate.note)
    estimate = Estimate(**{name: found[name] for name in ("value", "low", "high", "n", "note")})
    words = f"{rate(found)}, N = {found['n']:,} lenses, {n_negatives:,} negatives"
    return tpr_verdict(estimate, n_negatives=n_negatives, words=words)


def _pictures(context: EvaluationContext, table: pa.Table, summary: Summary) -> Sequence[Pictures] | str:
    """Found, missed and worst: chosen once with the scores, kept beside them; or why there are none."""
    chosen = galleries(table, summary)
    index = table.column("index").to_numpy()

    def make() -> pa.Table:
        def images(rows: np.ndarray) -> np.ndarray:
            return context.supply.stamps(index[rows], purpose=Purpose.TEST).images.numpy()

        return pictures_table(
            [
                Pictures(
                    gallery.title,
                    gallery.explanation,
                    [(stamp.png, stamp.caption) for stamp in stamps(gallery, table=table, stamp_images=images)],
                )
                for gallery in chosen
            ]
        )

    rows = ",".join(str(index[gallery.rows].tolist()) for gallery in chosen)
    try:
        return read_pictures(context.table("pictures_heldout", make, identity=f"heldout {rows}"))
    except NotScored as error:
        return f"No pictures: {error}"
