"""`Check`: one row of the self-check's table, and the few ways a row can come about.

A comparison with NaN fails: a quantity that could not be measured has not passed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["pass", "FAIL", "not checked"]


@dataclass(frozen=True)
class Check:
    """One quantity: what it should be, what it is, and whether that will do."""

    name: str
    """Of the check the row belongs to."""
    quantity: str
    expected: str
    got: str
    allowed: str
    state: State
    why: str
    """What would be wrong with the stamps if this failed; why it was not checked."""
    value: float | None = None
    """``got`` as a number, for the JSON."""
    used: float | None = None
    """Share of the allowance that is used up: above 1 fails. None for ranges and where nothing may differ."""

    def as_json(self) -> dict[str, Any]:
        """Plain values; NaN and infinity, which JSON lacks, are in ``got`` alone."""
        plain = dict(self.__dict__)
        for name in ("value", "used"):
            if plain[name] is not None and not abs(plain[name]) < float("inf"):
                plain[name] = None
        return plain


def close(name: str, quantity: str, *, expected: float, got: float, allowed: float, why: str, unit: str = "") -> Check:
    """Passes when ``|got - expected| <= allowed``."""
    return Check(
        name,
        quantity,
        expected=number(expected, unit),
        got=number(got, unit),
        allowed=f"+- {number(allowed, unit)}",
        state=_state(abs(got - expected) <= allowed),
        why=why,
        value=float(got),
        used=abs(got - expected) / allowed,
    )


def at_most(name: str, quantity: str, *, expected: float, got: float, limit: float, why: str, unit: str = "") -> Check:
    """Passes when ``got <= limit``; ``expected`` is what it usually is."""
    return Check(
        name,
        quantity,
        expected=number(expected, unit),
        got=number(got, unit),
        allowed=f"<= {number(limit, unit)}",
        state=_state(got <= limit),
        why=why,
        value=float(got),
        used=max(got, 0.0) / limit if limit else None,
    )


def between(name: str, quantity: str, *, got: float, low: float, high: float, why: str, unit: str = "") -> Check:
    """Passes when ``low <= got <= high``."""
    limits = f"{number(low)} to {number(high, unit)}"
    return Check(
        name,
        quantity,
        expected=limits,
        got=number(got, unit),
        allowed="that range",
        state=_state(low <= got <= high),
        why=why,
        value=float(got),
    )


def not_checked(name: str, quantity: str, *, why: str) -> Check:
    """A row for what could not be looked at; the exit code says so too."""
    return Check(name, quantity, expected="", got="", allowed="", state="not checked", why=why)


def number(value: float, unit: str = "") -> str:
    """Four significant digits, the unit after a space (an arcsecond's and a per cent's sign without)."""
    text = f"{value:.4g}" if value else "0"
    return f"{text}{unit}" if unit in ('"', "%", "") else f"{text} {unit}"


def failed(rows: Sequence[Check]) -> list[Check]:
    """Rows that failed."""
    return [row for row in rows if row.state == "FAIL"]


def unchecked(rows: Sequence[Check]) -> list[Check]:
    """Rows that could not be looked at."""
    return [row for row in rows if row.state == "not checked"]


def _state(passed: bool) -> State:
    return "pass" if passed else "FAIL"
