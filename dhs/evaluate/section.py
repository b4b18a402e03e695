"""What a stage of the evaluation returns: a part of the report, its numbers, its figures and what it decides.

Section("negatives", "Hard negatives", html, rows=rows, verdicts=[Verdict("contamination", "< 20%", ...)])
"""

from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from dhs.evaluate.rows import Row


@dataclass(frozen=True)
class Verdict:
    """One claim against its target."""

    claim: str
    target: str
    """'' for a line that is no target: it is shown, and counted in none."""
    estimate: str
    """Number with its interval and N, in words."""
    passed: bool | None
    """None: this sample cannot tell, or nothing was measured."""
    provable: str
    """Whether a sample of this size can prove the claim, and what it would take."""


@dataclass(frozen=True)
class Section:
    """One part of the report."""

    key: str
    """Name of the stage: of its figures' files, and of its part of metrics.json."""
    title: str
    html: str
    """Its body; pictures of ``figures`` are put where `figure_slot` says, the others at its end."""
    rows: list[Row] = field(default_factory=list)
    """Every number, for metrics.csv."""
    data: dict[str, Any] = field(default_factory=dict)
    """The same and more, for metrics.json: plain values, no NaN."""
    figures: dict[str, Figure] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    """Of each figure."""
    verdicts: list[Verdict] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    exit_code: int = 0
    """Of the whole command where it is above 0: a gate has failed."""


def figure_slot(name: str) -> str:
    """HTML that the picture of figure ``name`` replaces."""
    return f"<!--figure:{name}-->"


def said(key: str, title: str, *, why: str) -> Section:
    """The section of what could not be done: it says so, and what to give."""
    from html import escape

    return Section(key, title, f"<p class=note>{escape(why)}</p>", data={"not_done": why})
