"""Every gate is seen to fail on the shortcut that it is for, and a clean finder passes them all."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from dhs.evaluate.gates.data_gates import conditions, conditions_table
from dhs.evaluate.gates.pairs import FixedPairs, find_pairs
from dhs.evaluate.gates.variants import PairItems
from dhs.evaluate.table import DEPTH_COLUMNS, PSF_COLUMNS
from tests.evaluate.gates.planted import (
    SETTINGS,
    Reader,
    answers,
    blue_cores,
    blue_light,
    brighter_cores,
    core_over_rest,
    failed,
    light_at_the_right,
    more_noise,
    noise_over_depth,
    nothing,
    one_colour,
    planted,
)
from tests.evaluate.gates.tiny import train


def test_a_clean_finder_passes_every_gate(bright, natural, gate_config):
    finder = Reader(gate_config(), blue_light, slope=1.0, at=4.0)
    gates = answers(finder, planted(bright, nothing), natural=natural)
    assert {key: gate.outcome for key, gate in gates.items()} == dict.fromkeys(gates, "PASS")
    assert len(gates) == 10


def test_brighter_cores_fail_where_cores_are_asked_about(bright, natural, gate_config):
    finder = Reader(gate_config(), core_over_rest, slope=10.0, at=1.2)
    gates = answers(finder, planted(bright, brighter_cores), natural=natural)
    expected = {"null_injection", "core_only", "annulus_only", "arc_suppressed", "azimuthal_shuffle"}
    assert expected | {"core_brightness"} <= failed(gates)
    assert gates["normalisation"].outcome == "PASS"


def test_noise_that_only_injections_have_fails_as_null_and_in_the_normalisation(bright, natural, gate_config):
    finder = Reader(gate_config(), noise_over_depth, slope=30.0, at=0.12)
    gates = answers(finder, planted(bright, more_noise), natural=planted(natural, more_noise))
    assert {"null_injection", "normalisation", "azimuthal_shuffle", "band_permutation"} <= failed(gates)
    assert "ln noise" in gates["normalisation"].measured.split(";")[0]
    assert gates["core_brightness"].outcome == "PASS"


def test_arcs_of_one_colour_fail_when_they_are_recoloured(one_coloured, natural, gate_config):
    finder = Reader(gate_config(), one_colour, slope=1.0, at=4.0)
    gates = answers(finder, planted(one_coloured, nothing), natural=natural)
    assert failed(gates) == {"arc_colour"}


def test_arcs_in_one_place_of_the_frame_fail_when_they_are_turned(bright, natural, gate_config):
    finder = Reader(gate_config(), light_at_the_right, slope=1.0, at=3.0)
    gates = answers(finder, planted(bright, nothing, one_sided=True), natural=natural)
    assert failed(gates) == {"frame_position"}


def test_a_finder_that_tells_nothing_is_not_passed_but_not_judged(bright, natural, gate_config):
    finder = Reader(gate_config(), lambda s, _: torch.from_numpy(s.recipes.target_id % 7 - 3.0), slope=1.0, at=0.0)
    gates = answers(finder, planted(bright, nothing), natural=natural)
    asked = {"null_injection", "normalisation", "core_brightness"}
    assert {key for key, gate in gates.items() if gate.outcome == "cannot tell"} == set(gates) - asked
    assert "hardly tells these lenses from their own galaxies: AUROC 0.5" in gates["core_only"].measured


def test_a_trained_network_that_learnt_the_core_fails_and_one_that_learnt_arcs_passes(
    bright, natural, invisible, gate_config
):
    """The same network and recipe: once with arcs that can be seen, once with a planted core and none."""
    clean = train(planted(bright, nothing), gate_config(), n_stamps=800, epochs=10)
    gates = answers(clean, planted(bright, nothing), natural=natural)
    assert failed(gates) == set(), {key: gate.measured for key, gate in gates.items()}
    spoilt = train(planted(invisible, blue_cores), gate_config(), n_stamps=800, epochs=10)
    gates = answers(spoilt, planted(bright, blue_cores), natural=natural)
    assert {"null_injection", "core_only", "annulus_only", "arc_suppressed", "core_brightness"} <= failed(gates)


def test_a_null_of_our_own_pipeline_is_its_galaxy_to_the_bit(bright):
    pairs = find_pairs(bright, n_pairs=20, n_candidates=200, visible_only=True)
    some = np.arange(len(pairs))
    assert torch.equal(pairs.nulls(some).images, pairs.galaxies(some).images)
    assert not torch.equal(pairs.lenses(some).images, pairs.galaxies(some).images)


def test_a_variant_does_not_depend_on_its_batch_and_suppressed_stamps_are_the_galaxy_in_the_ring(bright):
    pairs = find_pairs(bright, n_pairs=6, n_candidates=200, visible_only=True)
    items = PairItems(pairs, settings=SETTINGS)
    every = items.stamps(np.arange(len(items)))
    one = items.stamps(np.array([2 * len(items.variants) + 5]))
    assert torch.equal(one.images[0], every.images[2 * len(items.variants) + 5])
    held = items.ring_light(np.arange(len(pairs)))
    assert (held > 0.85).all() and np.median(held) > 0.93
    names = items.columns(every, np.arange(len(items)))["variant"]
    lens, galaxy, left = (
        every.images[np.flatnonzero(names == name)].double().sum((1, 2, 3))
        for name in ("lens", "galaxy", "arc_suppressed")
    )
    left = (left - galaxy) / (lens - galaxy)
    assert left.numpy() == pytest.approx(1 - held, abs=0.01)


def test_pairs_of_a_list_of_stamps_have_no_null(bright):
    fixed = FixedPairs(bright, np.array([0, 1, 2]), np.array([3, 4, 5]))
    assert "null" not in PairItems(fixed, settings=SETTINGS).variants


class Conditions:
    """A supply of 600 galaxies whose label follows their seeing to the degree ``leak``."""

    def __init__(self, leak: float) -> None:
        rng = np.random.default_rng(1)
        self.cutouts = self
        self.target_id = np.arange(600)
        self.psf_fwhm_arcsec = rng.normal(1.2, 0.1, (600, 3))
        self.psf_depth_mag = rng.normal(24.5, 0.3, (600, 3))
        noise = rng.normal(0, 0.1, 600)
        self.label = leak * (self.psf_fwhm_arcsec[:, 1] - 1.2) + (1 - leak) * noise > 0

    def assignments(self, indices, *, purpose, epoch=0):
        rows = indices % 600
        return rows, self.label[rows]


def negatives(correlation: float) -> pa.Table:
    rng = np.random.default_rng(3)
    columns = {name: rng.normal(size=800) for name in (*PSF_COLUMNS, *DEPTH_COLUMNS)}
    logit = correlation * columns["psf_fwhm_r_arcsec"] + np.sqrt(1 - correlation**2) * rng.normal(size=800)
    return pa.table({"target_id": np.arange(800), "logit": logit, **columns})


@pytest.mark.parametrize(
    ("leak", "correlation", "outcome"), [(0.0, 0.0, "PASS"), (0.8, 0.0, "FAIL"), (0.0, 0.6, "FAIL")]
)
def test_labels_or_scores_that_follow_the_seeing_fail(leak, correlation, outcome):
    table = conditions_table(Conditions(leak), n_stamps=4000)
    assert len(table) == 600  # every galaxy once
    gate = conditions(table, negatives(correlation), settings=SETTINGS, seed=1)
    assert gate.outcome == outcome, gate.measured


def test_one_seeing_for_all_is_no_question():
    sky = Conditions(0.0)
    sky.psf_fwhm_arcsec[:], sky.psf_depth_mag[:] = 1.2, 24.0
    gate = conditions(conditions_table(sky, n_stamps=4000), negatives(0.0), settings=SETTINGS, seed=1)
    assert gate.outcome == "not applicable"
