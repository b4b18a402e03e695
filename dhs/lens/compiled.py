"""`machine_code`: compiles a loop over pixels with numba, once a machine, before any worker is forked.

Compiled code is kept on disk beside the source file, or in the user's cache directory where the installation cannot be
written ($NUMBA_CACHE_DIR overrides both). Signatures are given, so that nothing is compiled in the middle of a batch
and no other type slips in. The GIL is released; numba's own threads are never used (they do not survive a fork).

Arithmetic is IEEE but for two liberties: a * b + c may be one rounding, and the sign of zero is free. Sums are never
reordered and the code of a stamp does not depend on other stamps, so a stamp is the same bits in any batch.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numba

_FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


def machine_code(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the function compiled for ``signature`` (numba's notation) and kept on disk."""

    def compile_now(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(signature, cache=True, **_FLAGS)(function)
        except RuntimeError as error:  # numba's word for "no directory can be written"
            warnings.warn(
                f"{function.__name__}: compiled anew in every process ({error}); set NUMBA_CACHE_DIR", stacklevel=2
            )
            return numba.njit(signature, **_FLAGS)(function)

    return compile_now


inlined = numba.njit(inline="always", error_model="numpy", fastmath={"contract", "nsz"})
"""Decorator of small functions that machine code is made of."""

part = numba.njit(**_FLAGS)
"""Decorator of functions over arrays that machine code calls."""
