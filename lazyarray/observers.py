"""Functions that need values before they know a shape or an answer: they flush, wait and read."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyarray import _handle, _ir
from lazyarray._handle import from_node, to_node
from lazyarray._ir import Node, registry
from lazyarray._record import ArrayBase
from lazyarray.dtypes import BFLOAT16, BOOL, INTP, is_inexact
from lazyarray.errors import ShapeError
from lazyarray.ops import counting, indexing, shaping, sorting

from .array import LARGE_MASK, Array, array, asarray, counted, node
from .array import nonzero as indices_of
from .catalog import CATALOG
from .hosted import observe
from .waiting import evaluate


def place(x: Any) -> Any:
    """Where what is computed of `x` lies."""
    return x.device if isinstance(x, ArrayBase) else None


def peek(x: Any) -> np.ndarray:
    """The value of anything array-like, for reading at once."""
    return _handle.peek_numpy(x) if isinstance(x, ArrayBase) else np.asarray(x)


# Elements from which these functions run as tasks of their own; below, NumPy is done sooner.
LARGE = LARGE_MASK


def is_large(a: Any) -> bool:
    """Whether an argument is a large array of ours."""
    return isinstance(a, ArrayBase) and a.size >= LARGE


def flags_of(a: Any) -> Array:
    """Whether the elements of an array are not zero, in one axis."""
    return from_node(shaping.ravel(_ir.cast(to_node(a), BOOL)), False)


def places(flags: Array) -> Array:
    """The indices of the true elements of one axis: reads how many they are."""
    flat, counts, total = counted(flags)
    return from_node(counting.mask_index(flat, counts, total), False)


def nonzero(a: Any) -> tuple[Array, ...]:
    """Return the indices of the elements that are not zero, one int64 array for each axis."""
    if not (a.ndim if isinstance(a, ArrayBase) else np.ndim(a)):
        raise ShapeError("nonzero: not for 0-d arrays\n  Use la.atleast_1d(x).nonzero().")
    if not is_large(a):
        return tuple(array(part, device=place(a)) for part in indices_of(asarray(a)))
    return unraveled(places(flags_of(a)), a.shape)


def unraveled(flat: Array, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """Flat indices taken apart, one array for each axis."""
    if len(shape) == 1:
        return (flat,)
    divide, rest = registry["floor_divide"], registry["remainder"]
    parts, index = [], to_node(flat)
    for extent in reversed(shape[1:]):
        parts.append(from_node(rest(index, extent), False))
        index = divide(index, extent)
    return (from_node(index, False), *reversed(parts))


def flatnonzero(a: Any) -> Array:
    """Return the flat indices of the elements that are not zero."""
    return places(flags_of(a)) if is_large(a) else array(np.flatnonzero(peek(a)), device=place(a))


def argwhere(a: Any) -> Array:
    """Return the indices of the elements that are not zero, shape (count, ndim)."""
    if not is_large(a):
        return array(np.argwhere(peek(a)), device=place(a))
    return from_node(registry["stack"]([to_node(part) for part in nonzero(a)], -1), False)


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """Return the sorted distinct elements, and where they stand; as `numpy.unique`."""
    own = is_large(ar) or (isinstance(ar, ArrayBase) and ar.dtype is BFLOAT16 and ar.size > 0)
    if not own or axis is not None:  # NumPy's sort of bfloat16 knows no NaN
        return observe(
            np.unique,
            (ar, return_index, return_inverse, return_counts, axis),
            {"equal_nan": equal_nan, "sorted": sorted},
        )
    flat = shaping.ravel(to_node(ar))
    wanted = return_index, return_inverse, return_counts
    found = few_values(flat, ar.shape, wanted, equal_nan)
    if found is None:
        found = sorted_values(flat, ar.shape, wanted, equal_nan)
    return found[0] if len(found) == 1 else tuple(found)


def few_values(
    flat: Node, shape: tuple[int, ...], wanted: tuple[bool, bool, bool], equal_nan: bool
) -> list[Array] | None:
    """What `unique` returns of an array of few different values, which are counted; or None."""
    if flat.dtype.kind == "c" or flat.tracked or flat.type.device:
        return None
    bits, counts, first = peek(from_node(counting.tally(flat), False))
    last = int(bits[0]) + 1
    if not last:
        return None
    values = bits[1:last].astype(f"u{flat.dtype.itemsize}").view(flat.dtype)
    if not equal_nan and counts[last - 1] > 1 and np.isnan(values[-1]):
        return None
    found = [array(values)]
    if wanted[0]:
        found.append(array(first[1:last]))
    if wanted[1]:
        inverse = counting.searchsorted(to_node(found[0]), flat)
        found.append(from_node(shaping.reshape(inverse, shape), False))
    if wanted[2]:
        found.append(array(counts[1:last]))
    return found


def sorted_values(
    flat: Node, shape: tuple[int, ...], wanted: tuple[bool, bool, bool], equal_nan: bool
) -> list[Array]:
    """What `unique` returns, of a sorted array."""
    return_index, return_inverse, return_counts = wanted
    order = None
    if return_index or return_inverse:
        order = from_node(sorting.argsort(flat), False)
        rising = from_node(indexing.take_rows(flat, to_node(order)), False)
    else:
        rising = from_node(sorting.sort(flat), False)
    flags = counting.run_flags(to_node(rising))
    if not equal_nan and is_inexact(flat.dtype):
        flags = registry["logical_or"](flags, registry["isnan"](to_node(rising)))
    mask, counts, total = counted(from_node(flags, False))

    def firsts(of: Array) -> Array:
        return from_node(counting.take_masked(to_node(of), mask, counts, total), False)

    found = [firsts(rising)]
    if return_index:
        assert order is not None
        found.append(firsts(order))
    if return_inverse:
        assert order is not None
        ranks = registry["cumsum"](_ir.cast(mask, INTP)) - 1
        inverse = counting.put_each(flat.shape, to_node(order), ranks)
        found.append(from_node(shaping.reshape(inverse, shape), False))
    if return_counts:
        starts = from_node(counting.mask_index(mask, counts, total), False)
        end = shaping.full((1,), flat.size, INTP)
        ends = registry["concatenate"]([to_node(starts[1:]), end])
        found.append(from_node(ends - to_node(starts), False))
    return found


def extremes(x: Any) -> tuple[Any, Any]:
    """The least and the greatest element, computed together."""
    low, high = x.min(), x.max()
    evaluate(low, high)
    return low.item(), high.item()


def summed_bins(x: Node, weights: Node, bins: int) -> Node:
    """Sums of weights at each of the integers below `bins`."""
    if 2 * bins <= x.size:
        return counting.sum_bins(x, weights, bins)
    # A table for each part of the elements would be larger than they are.
    zeros = shaping.full((bins,), 0, np.dtype(np.float64))
    return indexing.add_rows(zeros, _ir.cast(x, INTP), weights)


def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Array:
    """Count how often each non-negative integer occurs; as `numpy.bincount`."""
    if is_large(x) and x.ndim == 1 and np.can_cast(x.dtype, INTP) and minlength >= 0:
        low, high = extremes(x)
        if low >= 0 and (weights is None or np.shape(weights) == x.shape):
            bins = max(int(high) + 1, minlength)
            if weights is None:
                return from_node(counting.count_bins(to_node(x), bins), False)
            weights = node(weights)
            if np.can_cast(weights.dtype, np.float64):
                return from_node(summed_bins(to_node(x), weights, bins), False)
    found = observe(np.bincount, (x, weights, minlength), {})
    return asarray(found)


# Integers up to here are float64 numbers.
EXACT = 2**53


def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Any, Any]:
    """Count elements between edges; as `numpy.histogram`.

    Large arrays are counted by all workers; the edges are those of NumPy.
    """
    uniform = isinstance(bins, int | np.integer) and not isinstance(bins, bool)
    edges = None
    if is_large(a) and weights is None and a.dtype.kind in "iuf":
        if uniform:
            sample = np.zeros(0, a.dtype) if range is not None else np.array(extremes(a), a.dtype)
            edges = np.histogram_bin_edges(sample, bins, range)
        elif not isinstance(bins, str):
            edges = np.histogram_bin_edges(np.zeros(0, a.dtype), peek(bins), range)
        if edges is not None and (edges.dtype.kind not in "iuf" or not fits_double(edges)):
            edges = None
    if edges is None:
        return CATALOG["histogram"](a, bins, range, density, weights)
    wide = node(edges.astype(np.float64))
    counts = from_node(counting.count_between(to_node(a), wide, uniform), False)
    if density:
        counts = counts / array(np.diff(edges).astype(np.float64)) / counts.sum()
    return counts, array(edges)


def fits_double(edges: np.ndarray) -> bool:
    """Whether edges are float64 numbers, and at least two."""
    exact = edges.dtype.kind == "f" or not edges.size or abs(edges).max() <= EXACT
    return bool(edges.size > 1 and exact)


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Say whether two arrays have the same shape and elements."""
    return bool(np.array_equal(peek(a1), peek(a2), equal_nan))


def allclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Say whether two arrays are equal within ``atol + rtol * abs(b)``."""
    return bool(np.allclose(peek(a), peek(b), rtol, atol, equal_nan))
