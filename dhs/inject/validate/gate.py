"""`Gate`: one question about a set, its answer in numbers, what it means and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dhs.inject.check_state import EXIT_FAILED, EXIT_NOT_CHECKED

Outcome = Literal["pass", "warning", "FAIL", "not checked", "not applicable"]
OUTCOMES: tuple[Outcome, ...] = ("FAIL", "not checked", "warning", "pass", "not applicable")
"""Worst first. Not applicable: there is nothing of the kind in such a set (two splits, a ledger); it says what."""


@dataclass(frozen=True)
class Question:
    """What a gate asks."""

    key: str
    title: str
    meaning: str
    """What is wrong with the set where this fails."""
    remedy: str

    def judged(
        self, measured: str, *, good: bool, allowed: str = "", numbers: Mapping[str, Any] | None = None
    ) -> "Gate":
        """Pass or FAIL."""
        return Gate(self, "pass" if good else "FAIL", measured, allowed, dict(numbers or {}))

    def warn(self, measured: str, *, allowed: str = "", numbers: Mapping[str, Any] | None = None) -> "Gate":
        """Worth knowing, and no failure."""
        return Gate(self, "warning", measured, allowed, dict(numbers or {}))

    def not_checked(self, why: str, *, numbers: Mapping[str, Any] | None = None) -> "Gate":
        """The set does not let it be looked at; ``why`` names what is missing."""
        return Gate(self, "not checked", why, "", dict(numbers or {}))

    def lacks(self, columns: Sequence[str]) -> "Gate":
        """Not checked for want of columns."""
        return self.not_checked(f"no column {', '.join(columns)}")

    def not_applicable(self, why: str) -> "Gate":
        """The question does not arise."""
        return Gate(self, "not applicable", why, "", {})


@dataclass(frozen=True)
class Gate:
    """A question with its answer."""

    question: Question
    outcome: Outcome
    measured: str
    allowed: str
    numbers: dict[str, Any] = field(default_factory=dict)
    """The figures behind ``measured``, for the JSON."""

    @property
    def key(self) -> str:
        return self.question.key

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
            "numbers": self.numbers,
        }


def with_outcome(gates: Sequence[Gate], outcome: Outcome) -> list[Gate]:
    """Those with this outcome, in their order."""
    return [gate for gate in gates if gate.outcome == outcome]


def exit_code(gates: Sequence[Gate]) -> int:
    """0: nothing failed and everything that applies was looked at; 1: a gate failed; 3: some could not be checked."""
    if with_outcome(gates, "FAIL"):
        return EXIT_FAILED
    return EXIT_NOT_CHECKED if with_outcome(gates, "not checked") else 0


def verdict(gates: Sequence[Gate]) -> tuple[str, ...]:
    """The result in sentences, the claim first."""
    failed, unchecked = with_outcome(gates, "FAIL"), with_outcome(gates, "not checked")
    warned = with_outcome(gates, "warning")
    asked = len(gates) - len(with_outcome(gates, "not applicable"))
    said = [f"{gate.question.title}: {gate.measured}. {gate.question.remedy}" for gate in failed]
    said += [f"Not checked: {gate.question.title}: {gate.measured}." for gate in unchecked]
    said += [f"Warning: {gate.question.title}: {gate.measured}." for gate in warned]
    if failed:
        return (f"FAIL: {len(failed)} of {asked} gates: do not train on this set.", *said)
    if unchecked:
        return (f"{asked - len(unchecked)} gates pass, {len(unchecked)} could not be checked.", *said)
    return (f"PASS: all {asked} gates that apply to this set.", *said)
