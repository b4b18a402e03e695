"""Every mistake of SCIENCE section 7, planted: the checks that must notice it do."""

import pytest

from dhs.inject.selfcheck.physics import Physics
from dhs.inject.selfcheck.rows import failed
from dhs.inject.selfcheck.run import CHECKS
from tests.inject.selfcheck.mistakes import MISTAKES, NOISE_MISTAKES


@pytest.fixture(scope="module")
def physics(make_physics) -> Physics:
    return make_physics("source.n_sources=300", n_reference=2)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_fails_its_checks(physics, name):
    mistake = MISTAKES[name]
    bad = mistake.plant(physics)
    silent = [check for check in mistake.caught_by if not failed(CHECKS[check](bad))]
    assert not silent, f"{name}: not noticed by {silent}"


@pytest.fixture(scope="module")
def noisy_physics(make_physics) -> Physics:
    return make_physics("source.n_sources=300", "inject.arc_noise=poisson_correlated", n_reference=2)


@pytest.mark.parametrize("name", NOISE_MISTAKES)
def test_a_planted_mistake_in_the_arcs_noise_fails_its_checks(noisy_physics, name):
    mistake = NOISE_MISTAKES[name]
    bad = mistake.plant(noisy_physics)
    silent = [check for check in mistake.caught_by if not failed(CHECKS[check](bad))]
    assert not silent, f"{name}: not noticed by {silent}"


def test_every_check_has_a_mistake_that_fails_it():
    caught = {check for mistake in MISTAKES.values() for check in mistake.caught_by}
    assert caught == set(CHECKS)
