"""`Gate`: one question about a finder, its answer in numbers, what a FAIL means and what to do.

A condition is decided by its *interval*, not by its value: PASS when all of the interval keeps the limit, FAIL when
none of it does, and "cannot tell" in between: then the sample is too small for the question, and the gate says so.
Exit codes are those of `inject.py task=validate`: 1 when a gate fails, 3 when none fails but one cannot tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dhs.evaluate.intervals import Estimate
from dhs.inject.check_state import EXIT_FAILED, EXIT_NOT_CHECKED
from dhs.inject.validate.gate import Question

Outcome = Literal["FAIL", "cannot tell", "PASS", "not applicable"]
OUTCOMES: tuple[Outcome, ...] = ("FAIL", "cannot tell", "PASS", "not applicable")
"""Worst first. Not applicable: the question does not arise for such a finder; the gate says why."""


MAX_SAID = 3
"""Conditions of one gate that are told in words; all are in its numbers."""
_ORDER = {False: 0, None: 1, True: 2}


@dataclass(frozen=True)
class Condition:
    """A number and what it is allowed to be."""

    name: str
    estimate: Estimate
    allowed: str
    low: float
    high: float
    """The allowed interval, ends included."""

    @property
    def kept(self) -> bool | None:
        """None: the interval straddles a limit, or nothing was measured."""
        value, (low, high) = self.estimate, (self.estimate.low, self.estimate.high)
        if value.value is None or low is None or high is None:
            return None
        if self.low <= low and high <= self.high:
            return True
        return False if high < self.low or low > self.high else None

    @property
    def said(self) -> str:
        e = self.estimate
        if e.value is None:
            return f"{self.name}: {e.note}"
        ends = "" if e.low is None or e.high is None else f" [{e.low:.3g}, {e.high:.3g}]"
        return f"{self.name} {e.value:.3g}{ends}"


def at_most(name: str, estimate: Estimate, limit: float) -> Condition:
    """``estimate`` must not exceed ``limit``."""
    return Condition(name, estimate, f"<= {limit:g}", -float("inf"), limit)


def at_least(name: str, estimate: Estimate, limit: float) -> Condition:
    """``estimate`` must not fall below ``limit``."""
    return Condition(name, estimate, f">= {limit:g}", limit, float("inf"))


def within(name: str, estimate: Estimate, limit: float, *, about: float = 0.0) -> Condition:
    """``estimate`` must lie within ``limit`` of ``about``."""
    return Condition(name, estimate, f"{about:g} +- {limit:g}", about - limit, about + limit)


@dataclass(frozen=True)
class Gate:
    """A question with its answer."""

    question: Question
    conditions: tuple[Condition, ...]
    why_not: str = ""
    """Why it was not asked; '' where it was."""
    applicable: bool = True
    note: str = ""

    @property
    def key(self) -> str:
        return self.question.key

    @property
    def outcome(self) -> Outcome:
        """The worst of its conditions."""
        if not self.applicable:
            return "not applicable"
        if self.why_not:
            return "cannot tell"
        kept = [condition.kept for condition in self.conditions]
        if False in kept:
            return "FAIL"
        return "cannot tell" if None in kept else "PASS"

    @property
    def passed(self) -> bool | None:
        """For a verdict."""
        return {"PASS": True, "FAIL": False}.get(self.outcome)

    @property
    def measured(self) -> str:
        """Its numbers in words; of many, those that decide."""
        worst = sorted(self.conditions, key=lambda condition: _ORDER[condition.kept])
        said = "; ".join(condition.said for condition in worst[:MAX_SAID])
        left_out = len(self.conditions) - MAX_SAID
        return self.why_not or said + (f"; and {left_out} more" if left_out > 0 else "")

    @property
    def allowed(self) -> str:
        """In words, once where it is the same for all."""
        if len({condition.allowed for condition in self.conditions}) == 1:
            return self.conditions[0].allowed
        return "; ".join(f"{condition.name} {condition.allowed}" for condition in self.conditions)

    @property
    def advice(self) -> str:
        """What the outcome means and what to do; '' where nothing is to be done."""
        if self.outcome == "FAIL":
            return f"{self.question.meaning} {self.question.remedy}"
        if self.outcome == "cannot tell" and not self.why_not:
            return "The interval reaches over the limit: raise evaluate.gates.n_pairs (and n_candidates)."
        return ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "key": self.key,
            "title": self.question.title,
            "outcome": self.outcome,
            "measured": self.measured,
            "allowed": self.allowed,
            "meaning": self.question.meaning,
            "remedy": self.question.remedy,
            "note": self.note,
            "conditions": [
                {"name": c.name, "allowed": c.allowed, "kept": c.kept, **c.estimate.as_dict()} for c in self.conditions
            ],
        }


def not_asked(question: Question, why: str) -> Gate:
    """The sample does not let the question be asked."""
    return Gate(question, (), why_not=why)


def not_applicable(question: Question, why: str) -> Gate:
    """The question does not arise."""
    return Gate(question, (), why_not=why, applicable=False)


def exit_code(gates: Sequence[Gate]) -> int:
    """0: all that apply pass; 1: one fails; 3: none fails and one cannot tell."""
    outcomes = {gate.outcome for gate in gates}
    if "FAIL" in outcomes:
        return EXIT_FAILED
    return EXIT_NOT_CHECKED if "cannot tell" in outcomes else 0


def claim(gates: Sequence[Gate]) -> str:
    """The result in one sentence."""
    names = {outcome: [gate.question.title for gate in gates if gate.outcome == outcome] for outcome in OUTCOMES}
    asked = len(gates) - len(names["not applicable"])
    if names["FAIL"]:
        return f"FAIL: {len(names['FAIL'])} of {asked} gates: {'; '.join(names['FAIL'])}."
    if names["cannot tell"]:
        return (
            f"{len(names['PASS'])} of {asked} gates pass; {len(names['cannot tell'])} cannot be told with this sample."
        )
    return f"PASS: all {asked} gates."
