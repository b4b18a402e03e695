"""Gaussian noise as a pure function of a key and a pixel's number: the same alone, in any batch, and on any device.

splitmix64 (Steele, Lea & Flood 2014, OOPSLA; it passes BigCrush) hashes the counter, Box & Muller (1958) turn two
uniform numbers into one normal one. Bits of the uniform numbers agree on all devices; logarithm and cosine to 1e-6.
"""

import math

import torch

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64
_MANTISSA_BITS = 24


def normal_noise(keys: torch.Tensor, *, shape: tuple[int, ...]) -> torch.Tensor:
    """(B, *shape) float32 standard normal numbers of (B,) int64 ``keys``."""
    count = math.prod(shape)
    counter = torch.arange(count, device=keys.device, dtype=torch.int64)
    bits = splitmix64(splitmix64(keys)[:, None] + counter * _GOLDEN)
    mask = 2**_MANTISSA_BITS - 1
    first = ((bits & mask) + 0.5).double() * 2.0**-_MANTISSA_BITS  # never 0, whose logarithm is infinite
    second = ((_shift_right(bits, 32) & mask) + 0.5).double() * 2.0**-_MANTISSA_BITS
    values = torch.sqrt(-2 * torch.log(first)) * torch.cos(2 * math.pi * second)
    return values.float().reshape(len(keys), *shape)


def splitmix64(state: torch.Tensor) -> torch.Tensor:
    """The generator's output for int64 ``state`` (two's complement stands for the unsigned number)."""
    z = state + _GOLDEN
    z = (z ^ _shift_right(z, 30)) * _MIX_1
    z = (z ^ _shift_right(z, 27)) * _MIX_2
    return z ^ _shift_right(z, 31)


def _shift_right(z: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical shift: torch's own copies the sign bit."""
    return (z >> bits) & (2 ** (64 - bits) - 1)
