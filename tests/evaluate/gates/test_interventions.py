"""What is done to stamps: exactly that, and nothing else."""

import numpy as np
import pytest
import torch

from dhs.evaluate.gates.interventions import (
    Planes,
    Ring,
    added_light,
    arc_colours,
    arc_ring,
    core,
    light_inside,
    permute_bands,
    recolour,
    shuffle_rings,
    turn_and_move,
    with_ring_of,
)
from dhs.train.masked import radii_px, rings

SIZE = 32
KEYS = np.array([(1, 3, 0, i) for i in range(4)])
RADIUS = radii_px(SIZE, torch.device("cpu"))


def planes(seed: int, count: int = 4) -> Planes:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.normal(size=(count, 3, SIZE, SIZE)).astype(np.float32))
    return Planes(images, torch.from_numpy(rng.random((count, 3, SIZE, SIZE)) > 0.05))


def an_arc(radius_px: float, width_px: float = 1.0) -> torch.Tensor:
    """(4, 3, N, N): half a ring, of unlike flux in the three bands."""
    half = torch.exp(-0.5 * ((RADIUS - radius_px) / width_px) ** 2) * (torch.arange(SIZE) > SIZE / 2)
    return torch.stack([half, 2 * half, 3 * half]).expand(4, -1, -1, -1).clone()


def test_a_ring_is_exchanged_and_nothing_outside_it():
    base, other = planes(0), planes(1)
    ring = Ring(torch.tensor([0.0, 3.0, 5.0, 9.0]), torch.tensor([4.0, 8.0, 5.0, 99.0]))
    mixed = with_ring_of(base, other, ring=ring)
    for i in range(4):
        inside = (RADIUS >= ring.inner_px[i]) & (RADIUS < ring.outer_px[i])
        for ours, was, taken in zip(mixed, base, other, strict=True):
            assert torch.equal(ours[i][:, inside], taken[i][:, inside])
            assert torch.equal(ours[i][:, ~inside], was[i][:, ~inside])


def test_exchanging_a_galaxy_with_itself_changes_nothing():
    galaxy = planes(2)
    same = with_ring_of(galaxy, galaxy, ring=core(5.0, count=4))
    assert torch.equal(same.images, galaxy.images) and torch.equal(same.good, galaxy.good)


def test_core_and_ring_and_the_rest_make_the_lens_again():
    lens, galaxy = planes(3), planes(4)
    ring = Ring(torch.full((4,), 3.0), torch.full((4,), 9.0))
    suppressed, annulus = with_ring_of(lens, galaxy, ring=ring), with_ring_of(galaxy, lens, ring=ring)
    again = suppressed.images + annulus.images - galaxy.images
    torch.testing.assert_close(again, lens.images)


@pytest.mark.parametrize("radius", [5.0, 8.0, 13.0])
def test_the_ring_is_widened_until_it_holds_the_arc(radius):
    arcs = an_arc(radius)
    ring = arc_ring(arcs, inner_px=6.0, outer_px=9.0, light=0.98, core_px=2.0)
    assert (ring.inner_px <= 6.0).all() and (ring.outer_px >= 9.0).all() and (ring.inner_px >= 2.0).all()
    held = light_inside(arcs, ring=ring)
    assert (held > 0.975).all(), held
    fixed = Ring(torch.full((4,), 6.0), torch.full((4,), 9.0))
    if radius != 8.0:
        assert (light_inside(arcs, ring=fixed) < 0.3).all()  # the ring as asked for would have left the arc


def test_without_light_the_ring_is_as_asked_for():
    ring = arc_ring(torch.zeros(2, 3, SIZE, SIZE), inner_px=6.0, outer_px=9.0, light=0.98, core_px=2.0)
    assert ring.inner_px.tolist() == [6.0, 6.0] and ring.outer_px.tolist() == [9.0, 9.0]
    assert torch.isnan(light_inside(torch.zeros(2, 3, SIZE, SIZE), ring=ring)).all()


def test_shuffled_rings_keep_profile_and_colours_and_lose_the_shape():
    galaxy = planes(5)
    lens = Planes(galaxy.images + 50 * an_arc(8.0), galaxy.good)
    shuffled = shuffle_rings(lens, keys=KEYS)
    ring_of = rings(SIZE, torch.device("cpu")).of_pixel.reshape(SIZE, SIZE)
    for ring in range(int(ring_of.max()) + 1):
        here = ring_of == ring
        before, after = (p.images[0][:, here].numpy().T for p in (lens, shuffled))  # pixels with their three bands
        assert sorted(map(tuple, before)) == sorted(map(tuple, after))
        assert lens.good[0][:, here].sum() == shuffled.good[0][:, here].sum()
    arc_side = torch.arange(SIZE) > SIZE / 2
    left_over = (shuffled.images[:, 2] * arc_side).sum((1, 2)) / shuffled.images[:, 2].sum((1, 2))
    assert (left_over - 0.5).abs().max() < 0.1  # all of the arc's light was on one side


def test_a_stamp_is_shuffled_and_turned_by_its_own_key_whatever_the_batch():
    lens = planes(6)
    one = Planes(lens.images[2:3], lens.good[2:3])
    for treat in (shuffle_rings, lambda p, keys: turn_and_move(p, keys=keys, max_shift_px=1)):
        assert torch.equal(treat(one, keys=KEYS[2:3]).images[0], treat(lens, keys=KEYS).images[2])


def test_bands_and_masks_are_permuted_together():
    lens = planes(7)
    permuted = permute_bands(lens, order=("z", "r", "g"))
    assert torch.equal(permuted.images, lens.images.flip(1)) and torch.equal(permuted.good, lens.good.flip(1))


def test_no_stamp_keeps_its_orientation_and_masks_turn_with_pixels():
    keys = np.array([(1, 3, 0, i) for i in range(200)])
    lens = planes(8, count=200)
    turned = turn_and_move(lens, keys=keys, max_shift_px=0)
    assert not any(torch.equal(a, b) for a, b in zip(lens.images, turned.images, strict=True))
    marked = Planes(lens.good.float(), lens.good)
    both = turn_and_move(marked, keys=keys, max_shift_px=1)
    assert torch.equal(both.images > 0.5, both.good)
    sums = torch.stack([turned.images.sum((-1, -2)), lens.images.sum((-1, -2))])
    torch.testing.assert_close(sums[0], sums[1], atol=1e-3, rtol=0)


def test_a_recoloured_arc_has_the_colours_asked_for_its_shape_and_its_significance():
    galaxy = planes(9)
    galaxy = Planes(galaxy.images * torch.tensor([1.0, 2.0, 5.0])[:, None, None], torch.ones_like(galaxy.good))
    lens = Planes(galaxy.images + 20 * an_arc(6.0), galaxy.good)
    g_r, r_z = torch.tensor([0.3, -0.2, 1.1, 0.6]), torch.tensor([0.3, 0.1, 0.9, -0.1])
    changed = added_light(recolour(lens, galaxy, g_r=g_r, r_z=r_z), galaxy)
    flux = changed.sum((-1, -2))
    assert (-2.5 * torch.log10(flux[:, 0] / flux[:, 1])).numpy() == pytest.approx(g_r.numpy(), abs=1e-3)
    assert (-2.5 * torch.log10(flux[:, 1] / flux[:, 2])).numpy() == pytest.approx(r_z.numpy(), abs=1e-3)
    before = added_light(lens, galaxy)
    for band in range(3):
        scaled = changed[:, band] / flux[:, band, None, None] * before[:, band].sum((-1, -2))[:, None, None]
        torch.testing.assert_close(scaled, before[:, band], atol=1e-3, rtol=1e-3)
    noise = torch.tensor([1.0, 2.0, 5.0])
    snr = [((f.sum((-1, -2)) / noise) ** 2).sum(1).sqrt() for f in (before, changed)]
    torch.testing.assert_close(snr[1], snr[0], rtol=0.1, atol=0)  # the ring's own noise is estimated


def test_colours_are_drawn_from_the_distribution_asked_for():
    keys = np.array([(1, 3, 0, i) for i in range(3000)])
    g_r, r_z = arc_colours(keys, mean=(0.3, 0.2), sigma=(0.25, 0.4)).numpy()
    assert (g_r.mean(), g_r.std()) == pytest.approx((0.3, 0.25), abs=0.02)
    assert (r_z.mean(), r_z.std()) == pytest.approx((0.2, 0.4), abs=0.02)
