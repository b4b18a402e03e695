"""What is wrong with scores before any claim is made on them: ties, bf16 and half precision, a constant, too few.

Scores rounded to bf16 (8 bits of mantissa) tie where it matters, among the highest: TPR at FPR 1e-4 fell from 0.573 to
0.449 when logits were bf16 (SCIENCE section 5).
"""

import numpy as np

from dhs.evaluate.metrics import tied_fraction

TIED_FRACTION = 0.01
"""Share of tied scores above which ranks are no longer the network's."""

ROUNDED_FRACTION = 0.5
"""Share of scores with an empty tail of mantissa above which they have been rounded; one float32 in 2**13 has one."""

BF16_TAIL, HALF_TAIL = 0xFFFF, 0x1FFF
"""Bits of a float32 that bf16, and float16, do not have."""


def precision_of(scores: np.ndarray) -> str:
    """``"bf16"``, ``"float16"`` or ``"float32"``: the least precise format that most of the (N,) scores fit."""
    bits = np.asarray(scores, np.float32).view(np.uint32)
    bits = bits[np.asarray(scores) != np.rint(scores)]  # whole numbers fit any format
    if len(bits) == 0:
        return "float32"
    for name, tail in (("bf16", BF16_TAIL), ("float16", HALF_TAIL)):
        if np.mean(bits & tail == 0) > ROUNDED_FRACTION:
            return name
    return "float32"


def score_faults(scores: np.ndarray, *, what: str) -> list[str]:
    """One line for each fault of (N,) finite scores; [] where there is none."""
    found = []
    distinct = len(np.unique(scores))
    if distinct == 1:
        return [f"{what}: all {len(scores):,} scores are equal; nothing can be ranked"]
    if (tied := tied_fraction(scores)) > TIED_FRACTION:
        found.append(
            f"{what}: {tied:.1%} of the scores are tied ({distinct:,} distinct values of {len(scores):,}): ranks are "
            "not the network's own (bf16 scores, rounding in a file, or a dead network)"
        )
    if (precision := precision_of(scores)) != "float32":
        found.append(
            f"{what}: the scores have {precision} precision: compute and store the last layer's output in float32"
        )
    return found
