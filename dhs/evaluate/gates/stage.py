"""The stage `gates` of `evaluate.py task=all` (and `task=gates` alone): is it the arc that the finder sees?

    python evaluate.py task=gates checkpoint=runs/quickstart-1a2b3c4d          # exit code 1 when a gate fails
    python evaluate.py task=gates checkpoint=... evaluate.gates.n_pairs=1000

Four tables are kept under scores/: `gates` (the scores of every variant), `gates_rings`, `gates_conditions`,
`gates_pictures`. Everything else is computed from them, so another threshold costs no new score.
"""

from html import escape

import pyarrow as pa

from dhs.config.gates import GatesConfig
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.gates import data_gates, figures, questions
from dhs.evaluate.gates.console import print_gates
from dhs.evaluate.gates.judge import Gate, claim, exit_code, not_asked
from dhs.evaluate.gates.model_gates import MIN_PAIRS, PairScores, bands_of_channels, model_gates, separation_auc
from dhs.evaluate.gates.pairs import Pairs, find_pairs
from dhs.evaluate.gates.variants import GALAXY, LENS, PairItems, pixels_identity
from dhs.evaluate.intervals import Estimate
from dhs.evaluate.rows import Row
from dhs.evaluate.section import Section, Verdict, figure_slot
from dhs.evaluate.table import column
from dhs.page import table as html_table
from dhs.progress import CountingProgress

KEY, TITLE = "gates", "Shortcut gates"

CAPTIONS = {
    "gates_stamps": "What was done, on pairs drawn at random, with the finder's p under each stamp. Pixels are "
    "exchanged with those of the same galaxy from before the injection: a suppressed lens should look like a galaxy.",
    "gates_scores": "Scores of every variant (filled), over those of the lenses and of their galaxies as they are.",
    "gates_limits": "Every condition with its 95% interval against what is allowed. A condition passes when the whole "
    "interval does, and fails when none of it does.",
}


def run(context: EvaluationContext) -> Section:
    """The section of the gates."""
    return GateStage(context).section()


class TooFewPairs(Exception):
    """Of lenses and galaxies; the message says how many, and what to do."""


class GateStage:
    """The tables of the gates, made when they are asked for, and what follows from them."""

    def __init__(self, context: EvaluationContext) -> None:
        self._context, self._config = context, context.config
        self._settings: GatesConfig = context.settings.gates
        self._items: PairItems | None = None

    def section(self) -> Section:
        """Gates, figures and numbers; without pairs, what can be asked without."""
        try:
            table = self._context.score(KEY, self._make_items)
        except TooFewPairs as error:
            gates = [*(not_asked(question, str(error)) for question in questions.OF_PAIRS), self._conditions()]
            print_gates(gates, self._context.console)
            return _section(gates, html=_html(gates))
        settings, seed = self._settings, self._config.seed
        scores = PairScores.of(table, resamples=settings.resamples, seed=seed)
        separation = separation_auc(scores, resamples=settings.resamples, seed=seed)
        bands = bands_of_channels(self._config.preprocess.channels)
        gates = model_gates(scores, separation=separation, settings=settings, bands_seen=bands)
        gates.append(data_gates.normalisation(self._rings(), settings=settings, seed=seed))
        gates.append(data_gates.core_brightness(scores, settings=settings))
        gates.append(self._conditions())
        print_gates(gates, self._context.console)
        section = _section(gates, html=f"<p>{escape(_sample(scores, separation))}</p>{_html(gates)}")
        section.rows.insert(0, _row("auroc", "lenses against their own galaxies", separation))
        section.data.update(pairs=len(scores), galaxies=scores.bootstrap.n_galaxies, auroc=separation.as_dict())
        section.data["mean_p"] = {name: float(scores.p(name).mean()) for name in scores.logit}
        pictures = self._context.table("gates_pictures", self._make_pictures, identity=self._pictures_identity())
        section.figures["gates_stamps"] = figures.stamp_figure(pictures, scores)
        section.figures["gates_scores"] = figures.score_figure(scores)
        section.captions.update({name: CAPTIONS[name] for name in section.figures})
        return section

    def _make_items(self) -> PairItems:
        if self._items is None:
            pairs = self._find(self._settings.n_pairs, visible_only=True, what="looking for visible arcs")
            if len(pairs) < MIN_PAIRS:
                raise TooFewPairs(_too_few(len(pairs)))
            self._items = PairItems(pairs, settings=self._settings)
        return self._items

    def _find(self, n_pairs: int, *, visible_only: bool, what: str) -> Pairs:
        return find_pairs(
            self._context.supply,
            n_pairs=n_pairs,
            n_candidates=max(self._settings.n_candidates, n_pairs),
            visible_only=visible_only,
            progress=CountingProgress(what, "arcs"),
        )

    def _rings(self) -> pa.Table:
        n, fraction = self._settings.normalisation.n_stamps, self._config.preprocess.annulus_inner_fraction

        def make() -> pa.Table:
            pairs = self._find(n, visible_only=False, what="drawing arcs")
            return data_gates.ring_table(pairs, inner_fraction=fraction)

        return self._context.table("gates_rings", make, identity=f"{n}/{fraction}")

    def _conditions(self) -> Gate:
        n = self._settings.conditions.n_stamps
        galaxies = self._context.table(
            "gates_conditions", lambda: data_gates.conditions_table(self._context.supply, n_stamps=n), identity=str(n)
        )
        scores = self._context.test_scores
        negatives = scores.filter(pa.array(column(scores, "label") == 0))
        return data_gates.conditions(galaxies, negatives, settings=self._settings, seed=self._config.seed)

    def _pictures_identity(self) -> str:
        return f"{pixels_identity(self._settings)}/{self._settings.n_shown}"

    def _make_pictures(self) -> pa.Table:
        return figures.picture_table(self._make_items(), n_shown=self._settings.n_shown, seed=self._config.seed)


def _section(gates: list[Gate], *, html: str) -> Section:
    limits = figures.limits_figure(gates)
    return Section(
        KEY,
        TITLE,
        html,
        rows=[
            _row(f"{gate.key}: {c.name}", gate.outcome, c.estimate, c.allowed)
            for gate in gates
            for c in gate.conditions
        ],
        data={"gates": [gate.as_json() for gate in gates]},
        figures={} if limits is None else {"gates_limits": limits},
        captions={} if limits is None else {"gates_limits": CAPTIONS["gates_limits"]},
        verdicts=[_verdict(gates)],
        warnings=[f"{gate.question.title}: {gate.measured}" for gate in gates if gate.outcome == "cannot tell"],
        exit_code=exit_code(gates),
    )


def _verdict(gates: list[Gate]) -> Verdict:
    """One line for the top of the report: the worst outcome, with names."""
    failed, unsure = (sum(gate.outcome == outcome for gate in gates) for outcome in ("FAIL", "cannot tell"))
    passed = False if failed else None if unsure else True
    provable = (
        f"{unsure} cannot be told with this sample" if unsure else "yes: every interval is on one side of its limit"
    )
    return Verdict("The finder looks at the arc", "all shortcut gates pass", claim(gates), passed, provable)


def _sample(scores: PairScores, separation: Estimate) -> str:
    ends = "" if separation.low is None else f" [{separation.low:.3f}, {separation.high:.3f}]"
    p_lens, p_galaxy = (float(scores.p(name).mean()) for name in (LENS, GALAXY))
    return (
        f"{len(scores):,} visible injected lenses on {scores.bootstrap.n_galaxies:,} galaxies of the test sky, each "
        f"beside its own galaxy without the arc: mean p {p_lens:.3f} and {p_galaxy:.3f}, AUROC "
        f"{separation.value:.3f}{ends}. "
        "Separation is the difference of the two means; a gate says how much of it an intervention keeps."
    )


def _html(gates: list[Gate]) -> str:
    rows = [
        (
            gate.outcome,
            gate.question.title,
            gate.measured,
            gate.allowed,
            " ".join(filter(None, (gate.advice, gate.note))),
        )
        for gate in gates
    ]
    head = ("outcome", "gate", "measured [95%]", "allowed", "what to do; notes")
    return f"<p>{escape(claim(gates))}</p>{html_table(head, rows)}{figure_slot('gates_limits')}"


def _row(quantity: str, subset: str, estimate: Estimate, allowed: str = "") -> Row:
    note = "; ".join(filter(None, (f"allowed {allowed}" if allowed else "", estimate.note)))
    return Row(quantity, subset, estimate.value, estimate.low, estimate.high, estimate.n, note)


def _too_few(count: int) -> str:
    return (
        f"{count} visible lenses with their own galaxies, at least {MIN_PAIRS} are needed: raise "
        "evaluate.gates.n_candidates (a finished set needs galaxies with and without arcs: inject.controls=paired)"
    )
