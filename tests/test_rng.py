"""Counter-based keys."""

import numpy as np

from dhs.rng import Purpose, keyed_rng, keyed_rngs, stable_fraction, stable_hash


def test_no_purpose_is_zero_because_numpy_drops_trailing_zeros():
    assert all(purpose > 0 for purpose in Purpose)
    # The trap itself: were it gone, the rule could go too.
    assert np.random.default_rng([5, 0]).random() == np.random.default_rng([5]).random()


def test_each_part_of_the_key_matters():
    keys = [
        (1, Purpose.TRAIN, 0, 0),
        (2, Purpose.TRAIN, 0, 0),
        (1, Purpose.VAL, 0, 0),
        (1, Purpose.TRAIN, 1, 0),
        (1, Purpose.TRAIN, 0, 1),
    ]
    assert len({keyed_rng(*key).random() for key in keys}) == len(keys)
    assert keyed_rng(1, Purpose.TRAIN, 0, 7).random() == keyed_rng(1, Purpose.TRAIN, 0, 7).random()


def test_hashes_are_golden():
    """The same on every machine and in every process: these numbers may never change, or splits would."""
    assert stable_hash("123", salt="control") == stable_hash("123", salt="control")
    assert stable_hash("123", salt="control") == GOLDEN_HASH
    assert abs(np.mean([stable_fraction(str(i), salt="control") for i in range(4000)]) - 0.5) < 0.02


GOLDEN_HASH = 3637863997038103276


def test_many_generators_are_those_of_one_at_a_time():
    """numpy's own SeedSequence and PCG64 are the oracle, for indices of one word, two and three."""
    random = np.random.default_rng(4)
    indices = [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**64, 2**69 - 1]
    indices += [int(random.integers(0, 2**31)) << int(random.integers(0, 38)) for _ in range(200)]
    for seed, purpose, epoch in ((0, Purpose.TRAIN, 0), (2**31 - 1, Purpose.MANIFEST, 7)):
        found = [
            (rng.random(3).tolist(), rng.standard_normal(40).tolist(), rng.integers(0, 9, 3, dtype=np.uint32).tolist())
            for rng in keyed_rngs(seed, purpose, epoch, indices)
        ]
        for index, values in zip(indices, found, strict=True):
            one = keyed_rng(seed, purpose, epoch, index)
            assert values == (
                one.random(3).tolist(),
                one.standard_normal(40).tolist(),
                one.integers(0, 9, 3, dtype=np.uint32).tolist(),
            )
    assert list(keyed_rngs(1, Purpose.VAL, 0, [])) == []
