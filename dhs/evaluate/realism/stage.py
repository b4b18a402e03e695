"""Stage `realism`: can a linear probe tell real lenses from injections of the same brightness?

python evaluate.py checkpoint=RUN task=all "evaluate.stages=[realism]" "anchors.cutouts=[anchor_store]"
"""

from html import escape

import numpy as np
import pyarrow as pa

from dhs.config.anchors import SimulatedAnchors
from dhs.evaluate.anchors.sample import LABELS, AnchorSample, open_sample
from dhs.evaluate.anchors.stage import anchor_items, stamp_size_px
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.realism.analysis import analyse
from dhs.evaluate.realism.samples import measure, samples_table
from dhs.evaluate.realism.words import CLAIM, KEY, TITLE, section_of
from dhs.evaluate.section import Section, Verdict, said
from dhs.inject.injector import Injector
from dhs.inject.stamp_batch import StampBatch
from dhs.rng import Purpose, keyed_rng
from dhs.sky.cutouts import CutoutSet


def run(context: EvaluationContext) -> Section:
    """The section; with too few pairs it says that it cannot tell, and how many it takes."""
    settings = context.settings.realism
    sample, identity = None, ""
    if context.has_network:
        chosen = context.anchors
        if chosen is None or isinstance(chosen, SimulatedAnchors):
            return _not_done("anchors=simulated are injections themselves; give real lenses", settings.max_auc)
        if context.config.sky.name == "stamps":
            return _not_done("sky=stamps has no galaxies to inject into", settings.max_auc)
        sample = open_sample(chosen, stamp_size_px=stamp_size_px(context))
        if len(sample.counting) == 0:
            why = "no audited lens has a cutout; give anchors.cutouts (docs/anchors.md)"
            return _not_done(why, settings.max_auc)
        identity = f"{sample.identity} {settings.n_pool} {settings.match_on} {settings.caliper_sigma}"
    table = context.table(KEY, lambda: _make(context, sample), identity=identity)
    result = analyse(table, settings=settings, rng=keyed_rng(context.config.seed, Purpose.REALISM, 0, 0))
    return section_of(result, settings=settings)


def _not_done(why: str, max_auc: float) -> Section:
    body = said(KEY, TITLE, why=f"Not done: {why}.")
    verdict = Verdict(CLAIM, f"< {max_auc:g}", "not measured", None, f"no: {escape(why)}")
    return Section(KEY, TITLE, body.html, data=body.data, verdicts=[verdict])


def _make(context: EvaluationContext, sample: AnchorSample | None) -> pa.Table:
    assert sample is not None and sample.cutouts is not None, "task=report makes nothing"
    assert isinstance(context.supply, Injector), "sky=stamps was refused before"
    which = sample.counting
    real_items = anchor_items(sample)
    pool_items = PoolOfTest(context.supply, count=context.settings.realism.n_pool)
    theta_e = sample.graded.theta_e_arcsec[which]
    return samples_table(
        real_items,
        measure(real_items, theta_e, cutouts=sample.cutouts, label="measuring real lenses"),
        pool_items,
        measure(pool_items, None, cutouts=context.supply.cutouts, label="measuring injections"),
        names=sample.anchors.name[which],
        label=LABELS[sample.provenance],
        settings=context.settings.realism,
        finder=context.finder,
    )


class PoolOfTest:
    """The first ``count`` lenses of the test set."""

    def __init__(self, supply: Injector, *, count: int) -> None:
        self._supply = supply
        n_lenses = supply.n_stamps(Purpose.TEST) - len(supply.pool(Purpose.TEST).negatives)
        self._count = min(count, n_lenses)
        self.cutouts: CutoutSet = supply.cutouts
        self.identity = f"test injections {self._count}"

    def __len__(self) -> int:
        return self._count

    def stamps(self, indices: np.ndarray) -> StampBatch:
        return self._supply.stamps(indices, purpose=Purpose.TEST)

    def columns(self, stamps: StampBatch, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {}
