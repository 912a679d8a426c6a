"""Functions whose results are complex where real ones would be NaN; as `numpy.emath`."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyarray import _handle
from lazyarray._record import ArrayBase
from lazyarray.array import Array, asarray
from lazyarray.lift import LIFTED

__all__ = ["arccos", "arcsin", "arctanh", "log", "log2", "log10", "logn", "power", "sqrt"]


def widened(x: Any, outside: Any) -> Array:
    """The array, as complex if an element lies outside of where results are real.

    This reads the array.
    """
    x = asarray(x)
    if x.dtype.kind == "c":
        return x
    value = _handle.peek_numpy(x) if isinstance(x, ArrayBase) else x
    if not outside(value).any():
        return x
    single = x.dtype.itemsize <= (4 if x.dtype.kind == "f" else 2)
    return x.astype(np.complex64 if single else np.complex128)


def negative(value: np.ndarray) -> Any:
    """Where logarithms and roots are complex."""
    return value < 0


def beyond(value: np.ndarray) -> Any:
    """Where inverse sines and tangents are complex."""
    return abs(value) > 1


def sqrt(x: Any) -> Any:
    """Return the square root, complex where `x` has negative elements."""
    return LIFTED["sqrt"](widened(x, negative))


def log(x: Any) -> Any:
    """Return the natural logarithm, complex where `x` has negative elements."""
    return LIFTED["log"](widened(x, negative))


def log2(x: Any) -> Any:
    """Return the logarithm to base 2, complex where `x` has negative elements."""
    return LIFTED["log2"](widened(x, negative))


def log10(x: Any) -> Any:
    """Return the logarithm to base 10, complex where `x` has negative elements."""
    return LIFTED["log10"](widened(x, negative))


def logn(n: Any, x: Any) -> Any:
    """Return the logarithm to base `n`, complex where inputs have negative elements."""
    return log(x) / log(n)


def power(x: Any, p: Any) -> Any:
    """Return `x` to the power `p`, complex where `x` has negative elements."""
    p = asarray(p)
    if p.dtype.kind in "iu" and bool((p < 0).any()):
        p = p.astype(np.float64)
    return LIFTED["power"](widened(x, negative), p)


def arccos(x: Any) -> Any:
    """Return the inverse cosine, complex where elements are beyond 1."""
    return LIFTED["arccos"](widened(x, beyond))


def arcsin(x: Any) -> Any:
    """Return the inverse sine, complex where elements are beyond 1."""
    return LIFTED["arcsin"](widened(x, beyond))


def arctanh(x: Any) -> Any:
    """Return the inverse hyperbolic tangent, complex where elements are beyond 1."""
    return LIFTED["arctanh"](widened(x, beyond))
