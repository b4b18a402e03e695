"""Rows: what passes, what fails, and what the exit code and the verdict make of them."""

import json

import pytest

from dhs.inject.selfcheck.rows import Check, at_most, between, close, not_checked
from dhs.inject.selfcheck.run import as_json, exit_code, verdict

NAN, INF = float("nan"), float("inf")
GOOD = close("a", "q", expected=1, got=1.05, allowed=0.1, why="w")
BAD = at_most("b", "q", expected=0, got=2, limit=1, why="the kernel is off")
SKIPPED = not_checked("c", "q", why="lenstronomy is not installed")


@pytest.mark.parametrize("got", [NAN, INF, -INF])
def test_what_could_not_be_measured_has_not_passed(got):
    rows = [
        close("a", "q", expected=1, got=got, allowed=0.1, why="w"),
        between("a", "q", got=got, low=0, high=1, why="w"),
    ]
    if got != -INF:
        rows.append(at_most("a", "q", expected=0, got=got, limit=1, why="w"))
    assert [row.state for row in rows] == ["FAIL"] * len(rows)


def test_limits_belong_to_what_passes():
    assert close("a", "q", expected=1, got=1.5, allowed=0.5, why="w").state == "pass"
    assert at_most("a", "q", expected=0, got=0, limit=0, why="w").state == "pass"
    assert at_most("a", "q", expected=0, got=1e-9, limit=0, why="w").state == "FAIL"
    assert between("a", "q", got=0.3, low=0.3, high=0.4, why="w").state == "pass"


@pytest.mark.parametrize(
    ("rows", "code"), [([GOOD], 0), ([GOOD, BAD], 1), ([GOOD, SKIPPED], 3), ([GOOD, SKIPPED, BAD], 1)]
)
def test_the_exit_code_says_failed_before_not_checked_before_passed(rows, code):
    assert exit_code(rows) == code


def test_the_verdict_says_what_is_wrong_and_what_was_not_looked_at():
    assert verdict([GOOD])[0].startswith("PASS")
    claim, reason = verdict([GOOD, BAD])
    assert claim.startswith("FAIL: 1 of 2")
    assert "the kernel is off" in reason
    claim, reason = verdict([GOOD, SKIPPED])
    assert "could not be checked" in claim and "lenstronomy is not installed" in reason


def test_the_json_is_valid_whatever_was_measured():
    broken: list[Check] = [close("a", "q", expected=1, got=NAN, allowed=0.1, why="w"), SKIPPED]
    content = json.loads(as_json(broken, run_info={"config": {}}))
    assert (content["passed"], content["n_failed"], content["n_not_checked"]) == (False, 1, 1)
    assert content["rows"][0]["value"] is None and content["rows"][0]["got"] == "nan"
