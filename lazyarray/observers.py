"""Functions that need values before they know a shape or an answer: they flush, wait and read."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from lazyarray import _handle
from lazyarray._record import ArrayBase

from .array import Array, array, asarray
from .array import nonzero as indices_of


def peek(x: Any) -> np.ndarray:
    """The value of anything array-like, for reading at once."""
    return _handle.peek_numpy(x) if isinstance(x, ArrayBase) else np.asarray(x)


def nonzero(a: Any) -> tuple[Array, ...]:
    """Return the indices of the elements that are not zero, one int64 array for each axis."""
    return tuple(array(part) for part in indices_of(asarray(a)))


def flatnonzero(a: Any) -> Array:
    """Return the flat indices of the elements that are not zero."""
    return array(np.flatnonzero(peek(a)))


def argwhere(a: Any) -> Array:
    """Return the indices of the elements that are not zero, shape (count, ndim)."""
    return array(np.argwhere(peek(a)))


def unique(
    a: Any, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False
) -> Any:
    """Return the sorted distinct elements, and where they stand; as `numpy.unique`."""
    # NumPy's stubs list literal flags only.
    found = np.unique(peek(a), return_index, return_inverse, return_counts)  # type: ignore[call-overload]
    return tuple(array(part) for part in found) if isinstance(found, tuple) else array(found)


def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Array:
    """Count how often each non-negative integer occurs; as `numpy.bincount`."""
    return array(np.bincount(peek(x), None if weights is None else peek(weights), minlength))


def searchsorted(a: Any, v: Any, side: Literal["left", "right"] = "left") -> Array:
    """Return where elements of `v` would be inserted into sorted `a`."""
    return array(np.searchsorted(peek(a), peek(v), side))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Say whether two arrays have the same shape and elements."""
    return bool(np.array_equal(peek(a1), peek(a2), equal_nan))


def allclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Say whether two arrays are equal within ``atol + rtol * abs(b)``."""
    return bool(np.allclose(peek(a), peek(b), rtol, atol, equal_nan))


def nonzero_method(self: Array) -> tuple[Array, ...]:
    """Return the indices of the elements that are not zero, one int64 array for each axis."""
    return nonzero(self)


Array.nonzero = nonzero_method
