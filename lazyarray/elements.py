"""Elements repeated, and the set functions of the array API standard."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyarray._record import ArrayBase
from lazyarray.ops.define import normalize_axis

from .array import Array, array, asarray
from .lift import LIFTED
from .observers import peek, unique

__all__ = ["repeat", "unique_all", "unique_counts", "unique_inverse", "unique_values"]

AllResult, CountsResult, InverseResult = (
    type(each(np.zeros(0))) for each in (np.unique_all, np.unique_counts, np.unique_inverse)
)


def repeat(a: Any, repeats: Any, axis: int | None = None) -> Array:
    """Return elements repeated; as `numpy.repeat`. An array of repeats is read at once."""
    counts = peek(repeats)
    counts = counts.astype(np.int64) if counts.dtype.kind == "b" else counts
    if not counts.ndim or isinstance(repeats, list | tuple):
        return LIFTED["repeat"](a, counts.tolist(), axis)
    a = asarray(a)
    a, axis = (a.ravel(), 0) if axis is None else (a, axis)
    axis = normalize_axis(axis, a.ndim, "repeat")
    return LIFTED["take"](a, array(np.repeat(np.arange(a.shape[axis]), counts)), axis)


def distinct(x: Any, *which: bool) -> Any:
    """The distinct elements, NaN apart from NaN, and what is asked for besides."""
    return unique(x if isinstance(x, ArrayBase) else asarray(x), *which, equal_nan=False)


def unique_values(x: Any) -> Array:
    """Return the distinct elements, sorted; as `numpy.unique_values`, whose order is any."""
    return distinct(x)


def unique_counts(x: Any) -> Any:
    """Return the distinct elements, sorted, and how often each is there."""
    return CountsResult(*distinct(x, False, False, True))


def unique_inverse(x: Any) -> Any:
    """Return the distinct elements, sorted, and where among them each element stands."""
    return InverseResult(*distinct(x, False, True))


def unique_all(x: Any) -> Any:
    """Return the distinct elements, sorted, their first places, the inverse and the counts."""
    return AllResult(*distinct(x, True, True, True))
