"""The user's targets, and whether a sample of a given size can prove one at all (SCIENCE section 6).

A target counts as proved when the whole Clopper-Pearson 95% interval lies on its side, as missed when all of it lies on
the other, and as undecided in between: 43 of 68 prove a recall above 50%, 11 of 100 a contamination below 20%.
"""

from collections.abc import Sequence

import numpy as np

from dhs.evaluate.intervals import Estimate, proportion
from dhs.evaluate.metrics import resolution
from dhs.evaluate.section import Section, Verdict

MIN_RECALL_REAL = 0.5
MAX_CONTAMINATION = 0.2
MIN_TPR, TPR_AT_FPR = 0.8, 1e-4

TPR_CLAIM = f"TPR at FPR {TPR_AT_FPR:g}, injected visible lenses"
CONTAMINATION_CLAIM = "contamination by hard negatives, p > 0.5"
RECALL_CLAIM = "recall of real lenses"


def decided(estimate: Estimate, *, above: float | None = None, below: float | None = None) -> bool | None:
    """True: proved to lie above (or below) the target; False: proved not to; None: undecided, or not measured."""
    if estimate.low is None or estimate.high is None:
        return None
    if above is not None:
        return True if estimate.low > above else False if estimate.high <= above else None
    assert below is not None
    return True if estimate.high < below else False if estimate.low >= below else None


def least_hits(n: int, *, above: float) -> int | None:
    """Smallest k of ``n`` whose interval lies above the target; None where not even n of n does."""
    low = [proportion(k, n=n, method="clopper-pearson").low or 0.0 for k in range(n + 1)] if n else []
    return next((k for k, value in enumerate(low) if value > above), None)


def most_hits(n: int, *, below: float) -> int | None:
    """Largest k of ``n`` whose interval lies below the target; None where not even 0 of n does."""
    hits = None if not n else least_hits(n, above=1 - below)
    return None if hits is None else n - hits


def smallest_sample(*, above: float) -> int:
    """Objects without which not even a perfect score proves a fraction above ``above``: (0.025)**(1/n) > above."""
    return int(np.ceil(np.log(0.025) / np.log(above) + 1e-9))


def contamination_verdict(estimate: Estimate, *, words: str, simulated: bool = False) -> Verdict:
    """Of false positives among hard negatives against the user's 20%; ``simulated`` galaxies are called so."""
    allowed = most_hits(estimate.n, below=MAX_CONTAMINATION)
    needed = smallest_sample(above=1 - MAX_CONTAMINATION)
    provable = (
        f"no: {estimate.n} are too few; {needed} without a false positive would prove it"
        if allowed is None
        else f"yes: at most {allowed:,} of {estimate.n:,} may pass"
    )
    passed = decided(estimate, below=MAX_CONTAMINATION)
    claim = f"{CONTAMINATION_CLAIM} (simulated galaxies)" if simulated else CONTAMINATION_CLAIM
    return Verdict(claim, f"< {MAX_CONTAMINATION:.0%}", words, passed, provable)


def tpr_verdict(estimate: Estimate, *, n_negatives: int, words: str) -> Verdict:
    """Of the recall of visible injected lenses at FPR 1e-4 against the user's 80%."""
    status = resolution(TPR_AT_FPR, n_negatives=n_negatives)
    expected = TPR_AT_FPR * n_negatives
    provable = {
        "measured": f"yes: {expected:.0f} false positives expected of {n_negatives:,} negatives",
        "weak": f"hardly: {expected:.1f} false positives expected of {n_negatives:,} negatives; 100,000 give 10",
        "not resolvable": f"no: {n_negatives:,} negatives cannot show a rate of {TPR_AT_FPR:g}; 10,000 are the least, "
        "100,000 give 10 false positives",
    }[status]
    passed = decided(estimate, above=MIN_TPR) if status == "measured" else None
    return Verdict(TPR_CLAIM, f"> {MIN_TPR:.0%}", words, passed, provable)


def untested(sections: Sequence[Section]) -> list[Verdict]:
    """The targets that no section has spoken of: a report must not pass over them."""
    made = [verdict.claim for section in sections for verdict in section.verdicts]
    claims = (
        (RECALL_CLAIM, f"> {MIN_RECALL_REAL:.0%}", "no real lenses were scored; 43 of 68 would prove it"),
        (CONTAMINATION_CLAIM, f"< {MAX_CONTAMINATION:.0%}", "no hard negatives were scored; 11 of 100 would prove it"),
        (TPR_CLAIM, f"> {MIN_TPR:.0%}", "no injected lenses were scored"),
    )
    return [
        Verdict(claim, target, "not measured", None, f"no: {why}")
        for claim, target, why in claims
        if not any(claim in one for one in made)
    ]
