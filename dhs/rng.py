"""Counter-based random streams: a sample is a pure function of (seed, purpose, epoch, index).

Keys have a fixed length of four and a purpose that is never zero, because numpy's SeedSequence
ignores trailing zeros: ``default_rng([s, 0])`` and ``default_rng([s])`` are one stream.
No module of dhs uses a global generator, and none uses Python's salted ``hash()``.
"""

import hashlib
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream of random numbers is for; streams of different purposes are independent."""

    TRAIN = 1
    VAL = 2
    TEST = 3
    MOCK_SKY = 4
    SOURCE = 5
    AUGMENT = 6
    BANK = 7
    SHEET = 8
    BOOTSTRAP = 9
    BENCHMARK = 11
    PHOTOMETRY = 12
    DEGRADE = 13
    ARC_NOISE = 21
    PSF = 15
    MANIFEST = 16
    ONE = 17
    SHUFFLE = 18
    EPOCH = 19


def keyed_rng(seed: int, purpose: Purpose, epoch: int, index: int) -> np.random.Generator:
    """Generator of sample ``index`` of ``epoch``; equal keys give equal streams on every machine."""
    return np.random.default_rng([seed, int(purpose), epoch, index])


def derived_rng(seed: int, purpose: Purpose, epoch: int, index: int, *, of: Purpose) -> np.random.Generator:
    """A second generator of the sample that ``keyed_rng(seed, of, epoch, index)`` serves, independent of the first."""
    return keyed_rng(seed, purpose, epoch, index * 64 + int(of))


def stable_hash(text: str, *, salt: str = "") -> int:
    """64-bit unsigned hash of ``text`` (blake2b), the same in every process and on every machine."""
    digest = hashlib.blake2b(text.encode(), digest_size=8, salt=salt.encode()[:16]).digest()
    return int.from_bytes(digest, "big")


def stable_fraction(text: str, *, salt: str = "") -> float:
    """Hash of ``text`` as a number in [0, 1), for splits and control/injection decisions."""
    return stable_hash(text, salt=salt) / 2.0**64
