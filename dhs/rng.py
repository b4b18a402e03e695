"""Counter-based random streams: a sample is a pure function of (seed, purpose, epoch, index).

Keys have a fixed length of four and a purpose that is never zero, because numpy's SeedSequence
ignores trailing zeros: ``default_rng([s, 0])`` and ``default_rng([s])`` are one stream.
No module of dhs uses a global generator, and none uses Python's salted ``hash()``.
"""

import hashlib
from collections.abc import Iterator, Sequence
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
    GATES = 24
    ANCHORS = 30
    LENS_OF_ANCHOR = 31
    REALISM = 32
    EXPLAIN = 33


def keyed_rng(seed: int, purpose: Purpose, epoch: int, index: int) -> np.random.Generator:
    """Generator of sample ``index`` of ``epoch``; equal keys give equal streams on every machine."""
    return np.random.default_rng([seed, int(purpose), epoch, index])


def derived_rng(seed: int, purpose: Purpose, epoch: int, index: int, *, of: Purpose) -> np.random.Generator:
    """A second generator of the sample that ``keyed_rng(seed, of, epoch, index)`` serves, independent of the first."""
    return keyed_rng(seed, purpose, epoch, derived_index(index, of=of))


def derived_index(index: int, *, of: Purpose) -> int:
    """Index of `derived_rng` in its own purpose's stream."""
    return index * 64 + int(of)


def keyed_rngs(seed: int, purpose: Purpose, epoch: int, indices: Sequence[int]) -> Iterator[np.random.Generator]:
    """The generators ``keyed_rng(seed, purpose, epoch, i)`` of all ``indices``, bit for bit, three times as fast.

    It is one object that takes the next state at every step: draw all that is needed before asking for the next.
    """
    bits = np.random.PCG64(0)
    generator = np.random.Generator(bits)
    for state, inc in _pcg64_states(seed, int(purpose), epoch, indices):
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": state, "inc": inc},
            "has_uint32": 0,
            "uinteger": 0,
        }
        yield generator


_WORD, _WIDE = 2**32 - 1, 2**128 - 1
_PCG64_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
"""O'Neill 2014, as in numpy's pcg64.h."""


def _pcg64_states(seed: int, purpose: int, epoch: int, indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """State and increment of PCG64 seeded with SeedSequence([seed, purpose, epoch, i]) for each index."""
    assert max(seed, purpose, epoch) <= _WORD, "longer than a word: use keyed_rng"
    n_words = np.array([max(1, (i.bit_length() + 31) // 32) for i in indices], dtype=np.int64)
    words = np.empty((len(n_words), 8), dtype=np.uint32)
    for length in np.unique(n_words).tolist():
        rows = np.flatnonzero(n_words == length)
        entropy = np.empty((3 + length, len(rows)), dtype=np.uint32)
        entropy[:3] = np.array([[seed], [purpose], [epoch]], dtype=np.uint32)
        for k in range(length):
            entropy[3 + k] = [indices[row] >> 32 * k & _WORD for row in rows.tolist()]
        words[rows] = _seed_sequence_words(entropy)
    for high, low, seq_high, seq_low in words.view("<u8").tolist():
        inc = ((seq_high << 64 | seq_low) << 1 | 1) & _WIDE
        yield ((high << 64 | low) + inc) * _PCG64_MULTIPLIER + inc & _WIDE, inc


def _seed_sequence_words(entropy: np.ndarray) -> np.ndarray:
    """(P, 8) uint32: numpy's ``SeedSequence.generate_state(8)`` for (n, P) words of entropy, n at least 4.

    Algorithm and constants are those of numpy/random/bit_generator.pyx (O'Neill's seed_seq_fe), which numpy promises to
    keep (NEP 19).
    """
    constant = 0x43B0D7E5

    def hashed(values: np.ndarray) -> np.ndarray:
        nonlocal constant
        values = values ^ np.uint32(constant)
        constant = constant * 0x931E8875 & _WORD
        values = values * np.uint32(constant)
        return values ^ values >> np.uint32(16)

    def mixed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        value: np.ndarray = x * np.uint32(0xCA01F9DD) - y * np.uint32(0x4973F715)
        return value ^ value >> np.uint32(16)

    pool = [hashed(entropy[i]) for i in range(4)]
    for source in range(4):
        for target in range(4):
            if source != target:
                pool[target] = mixed(pool[target], hashed(pool[source]))
    for word in entropy[4:]:
        pool = [mixed(value, hashed(word)) for value in pool]
    out, constant_out = [], 0x8B51F9DD
    for k in range(8):
        value = pool[k % 4] ^ np.uint32(constant_out)
        constant_out = constant_out * 0x58F38DED & _WORD
        value = value * np.uint32(constant_out)
        out.append(value ^ value >> np.uint32(16))
    return np.ascontiguousarray(np.stack(out, axis=1)).astype("<u4")


def stable_hash(text: str, *, salt: str = "") -> int:
    """64-bit unsigned hash of ``text`` (blake2b), the same in every process and on every machine."""
    digest = hashlib.blake2b(text.encode(), digest_size=8, salt=salt.encode()[:16]).digest()
    return int.from_bytes(digest, "big")


def stable_fraction(text: str, *, salt: str = "") -> float:
    """Hash of ``text`` as a number in [0, 1), for splits and control/injection decisions."""
    return stable_hash(text, salt=salt) / 2.0**64
