"""Reductions and scans.

Sums and products follow a fixed tree, whatever the memory order and the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazyarray import _ir, _loops
from lazyarray._ir import Node, cast
from lazyarray.dtypes import BOOL, HALVES, INTP, canonical
from lazyarray.errors import ShapeError, fail

from .define import ArrayOp, Rule, as_index, normalize_axes, normalize_axis
from .elementwise import conj, equal, logical_and, where
from .shaping import full, update

FLOAT32 = np.dtype(np.float32)


class Reduction(ArrayOp):
    """An op that reduces adjacent axes; its body returns (array, axes, keepdims, result dtype).

    Axes that are not adjacent are reduced in several steps, the last ones first. Recorded nodes
    carry `start` and `stop`: the axes they reduce.
    """

    reduces: str  # its name in _loops

    def __call__(self, *args: Any, **attributes: Any) -> Node:
        """Record the reduction."""
        a, axes, keepdims, dtype = self.body(*args, **attributes)
        given = a.shape
        runs = _runs(axes)
        result = dtype
        if len(runs) > 1 and a.dtype in HALVES:  # round once
            a, dtype = cast(a, FLOAT32), FLOAT32 if result in HALVES else result
        for start, stop in reversed(runs):
            a = self.along(a, start, stop, dtype)
        a = cast(a, result)
        if not axes:  # NumPy reduces each element alone then
            a = whole(a, (*a.shape, 1))
            a = self.along(a, a.ndim - 1, a.ndim, dtype)
        if not keepdims:
            return a
        return whole(a, tuple([1 if i in axes else n for i, n in enumerate(given)]))

    def along(self, a: Node, start: int, stop: int, dtype: np.dtype) -> Node:
        """Record the reduction of adjacent axes."""
        shape = a.shape
        attrs = (("start", start), ("stop", stop))
        return self.node((a,), shape[:start] + shape[stop:], dtype, attrs)


class Scan(ArrayOp):
    """An op that accumulates along one axis; its body returns (array, axis, result dtype)."""

    def __call__(self, *args: Any, **attributes: Any) -> Node:
        """Record the scan."""
        a, axis, dtype = self.body(*args, **attributes)
        return self.node((a,), a.shape, dtype, (("axis", axis),))


def _reduction(name: str) -> Rule:
    def define(body: Rule) -> Reduction:
        op = Reduction(body, inplace=False, dear=True, fallible=False)
        op.reduces = name

        @op.native
        def _(inputs: Sequence[Any], out: Any, layouts: Any, start: int, stop: int) -> Any:
            a = inputs[0]
            outer, red, inner = _fold(a.shape, start, stop)
            # Where there is no result, the factory need not know that it would come from nothing.
            red = red if outer * inner else 1
            return _loops.reduce(name, a.dtype, out.dtype, outer, red, inner)

        return op

    return define


def _scan(name: str) -> Rule:
    def define(body: Rule) -> Scan:
        op = Scan(body, inplace=False, dear=True, fallible=False)

        @op.native
        def _(inputs: Sequence[Any], out: Any, layouts: Any, axis: int) -> Any:
            a = inputs[0]
            return _loops.scan(name, a.dtype, out.dtype, *_fold(a.shape, axis, axis + 1))

        return op

    return define


def _fold(shape: tuple[int, ...], start: int, stop: int) -> tuple[int, int, int]:
    return math.prod(shape[:start]), math.prod(shape[start:stop]), math.prod(shape[stop:])


def _runs(axes: tuple[int, ...]) -> list[tuple[int, int]]:
    if len(axes) == 1:
        return [(axes[0], axes[0] + 1)]
    runs: list[tuple[int, int]] = []
    for axis in axes:
        if runs and runs[-1][1] == axis:
            runs[-1] = (runs[-1][0], axis + 1)
        else:
            runs.append((axis, axis + 1))
    return runs


def whole(a: Node, shape: tuple[int, ...]) -> Node:
    """All of `a` in another shape."""
    return _ir.view(a, shape, _ir.c_strides(shape, a.dtype.itemsize))


def reduced_axes(axis: Any, ndim: int, op: str) -> tuple[int, ...]:
    """The sorted axes that `axis` stands for."""
    if ndim == 0 and axis in (0, -1):  # as NumPy lets pass
        return ()
    return normalize_axes(axis, ndim, op)


def reduced_count(a: Node, axes: tuple[int, ...]) -> int:
    """How many elements of `a` each element of a result comes from."""
    return math.prod([a.shape[i] for i in axes])


def _spread(g: Node, like: Node, start: int, stop: int) -> Node:
    # The transpose of a reduction: `g` repeated along the axes that were reduced.
    strides = _ir.c_strides(g.shape, g.dtype.itemsize)
    strides = strides[:start] + (0,) * (stop - start) + strides[start:]
    return _ir.view(g, like.shape, strides)


def _summed(a: Node, dtype: Any, op: str) -> tuple[Node, np.dtype]:
    # NumPy's rule: bools and small integers are summed in the default integer.
    kind, size = a.dtype.kind, a.dtype.itemsize
    if dtype is not None:
        result = canonical(dtype, op)
    elif kind == "b" or (kind == "i" and size < 8):
        result = INTP
    elif kind == "u" and size < 8:
        result = np.dtype(np.uint64)
    else:
        result = a.dtype
    if kind == "c" and result.kind != "c":
        a = cast(a, result)
    return a, result


@_reduction("sum")
def sum(a: Node, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """Sum of array elements over the given axes.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to sum over; None means all.
    dtype : dtype, optional
        In which to sum. The default is that of `a`; int64 or uint64 for bools and smaller integers.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    ValueError
        When an axis is named twice.

    Notes
    -----
    Lanes and blocks are joined pairwise, in an order that depends on the summed extent alone: the
    relative error grows with its logarithm. float16 and bfloat16 are summed in float32.
    """
    a, result = _summed(a, dtype, "sum")
    return a, reduced_axes(axis, a.ndim, "sum"), keepdims, result


@_reduction("prod")
def prod(a: Node, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """Product of array elements over the given axes.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to multiply over; None means all.
    dtype : dtype, optional
        In which to multiply. The default is that of `a`; int64 or uint64 for bools and smaller
        integers.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    ValueError
        When an axis is named twice.

    Notes
    -----
    The order of the multiplications is that of `sum`. The gradient is right where elements are 0.
    """
    a, result = _summed(a, dtype, "prod")
    return a, reduced_axes(axis, a.ndim, "prod"), keepdims, result


def _extreme(a: Node, axis: Any, keepdims: bool, op: str, named: str) -> Any:
    axes = reduced_axes(axis, a.ndim, op)
    if reduced_count(a, axes) == 0:
        fail(
            ShapeError,
            op,
            f"zero-size array to reduction operation {named} which has no identity: {a.shape}",
            "Check the size first.",
        )
    return a, axes, keepdims, a.dtype


@_reduction("min")
def min(a: Node, axis: Any = None, keepdims: bool = False) -> Any:
    """Smallest element over the given axes; NaN where there is one.

    Parameters
    ----------
    a : array_like, any shape, any dtype
        Complex numbers are ordered lexicographically.
    axis : None, int or tuple of int
        The axes to search; None means all.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`, the dtype of `a`

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    ShapeError
        When there is nothing to search.

    Notes
    -----
    Elements that share the minimum share the gradient evenly.
    """
    return _extreme(a, axis, keepdims, "min", "minimum")


@_reduction("max")
def max(a: Node, axis: Any = None, keepdims: bool = False) -> Any:
    """Greatest element over the given axes; NaN where there is one.

    Parameters
    ----------
    a : array_like, any shape, any dtype
        Complex numbers are ordered lexicographically.
    axis : None, int or tuple of int
        The axes to search; None means all.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`, the dtype of `a`

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    ShapeError
        When there is nothing to search.

    Notes
    -----
    Elements that share the maximum share the gradient evenly.
    """
    return _extreme(a, axis, keepdims, "max", "maximum")


@_reduction("fmin")
def nanmin(a: Node, axis: Any = None, keepdims: bool = False) -> Any:
    """Smallest element over the given axes, leaving NaN out; else as `min`.

    Returns
    -------
    array, the shape of `a` without `axis`
        NaN, with a RuntimeWarning, where nothing is left.
    """
    return _extreme(a, axis, keepdims, "nanmin", "fmin")


@_reduction("fmax")
def nanmax(a: Node, axis: Any = None, keepdims: bool = False) -> Any:
    """Greatest element over the given axes, leaving NaN out; else as `max`.

    Returns
    -------
    array, the shape of `a` without `axis`
        NaN, with a RuntimeWarning, where nothing is left.
    """
    return _extreme(a, axis, keepdims, "nanmax", "fmax")


def _position(a: Node, axis: Any, keepdims: bool, op: str) -> Any:
    if axis is not None:
        axis = as_index(axis, "axis", op)
    axes = reduced_axes(axis, a.ndim, op)
    if reduced_count(a, axes) == 0:
        fail(
            ShapeError,
            op,
            f"attempt to get {op} of an empty sequence (shape {a.shape})",
            "Check the size first.",
        )
    return a, axes, keepdims, INTP


@_reduction("argmin")
def argmin(a: Node, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index of the first smallest element along an axis; of the first NaN where there is one.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None or int
        The axis to search; None searches the array in C order.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`, int64

    Raises
    ------
    AxisError
        When the axis is out of bounds.
    ShapeError
        When there is nothing to search.
    """
    return _position(a, axis, keepdims, "argmin")


@_reduction("argmax")
def argmax(a: Node, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index of the first greatest element along an axis; of the first NaN where there is one.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None or int
        The axis to search; None searches the array in C order.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`, int64

    Raises
    ------
    AxisError
        When the axis is out of bounds.
    ShapeError
        When there is nothing to search.
    """
    return _position(a, axis, keepdims, "argmax")


@_reduction("any")
def any(a: Node, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether an element over the given axes is not zero.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to test; None means all.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`, bool

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    """
    return a, reduced_axes(axis, a.ndim, "any"), keepdims, BOOL


@_reduction("all")
def all(a: Node, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether no element over the given axes is zero.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to test; None means all.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`, bool

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    """
    return a, reduced_axes(axis, a.ndim, "all"), keepdims, BOOL


def _scanned(a: Node, axis: Any, dtype: Any, op: str) -> Any:
    a, result = _summed(a, dtype, op)
    if axis is None or a.ndim == 0:
        if axis not in (None, 0, -1):
            normalize_axis(axis, a.ndim, op)
        return whole(a, (a.type.size,)), 0, result
    return a, normalize_axis(axis, a.ndim, op), result


@_scan("sum")
def cumsum(a: Node, axis: int | None = None, dtype: Any = None) -> Any:
    """Running sum along an axis.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None or int
        The axis to sum along; None sums the array in C order and gives one axis.
    dtype : dtype, optional
        In which to sum. The default is that of `a`; int64 or uint64 for bools and smaller integers.

    Returns
    -------
    array, the shape of `a`, or (size,) where `axis` is None

    Raises
    ------
    AxisError
        When the axis is out of bounds.

    Notes
    -----
    Terms are added one after the other, as in NumPy; the results are NumPy's bits.
    """
    return _scanned(a, axis, dtype, "cumsum")


@_scan("prod")
def cumprod(a: Node, axis: int | None = None, dtype: Any = None) -> Any:
    """Running product along an axis.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None or int
        The axis to multiply along; None takes the array in C order and gives one axis.
    dtype : dtype, optional
        In which to multiply. The default is that of `a`; int64 or uint64 for bools and smaller
        integers.

    Returns
    -------
    array, the shape of `a`, or (size,) where `axis` is None

    Raises
    ------
    AxisError
        When the axis is out of bounds.

    Notes
    -----
    Factors are multiplied one after the other, as in NumPy. The gradient is right where elements
    are 0; that of the gradient where none is.
    """
    return _scanned(a, axis, dtype, "cumprod")


# ---- gradients


def _flip(a: Node, axis: int) -> Node:
    n = a.shape[axis]
    if n < 2:
        return a
    strides = list(_ir.c_strides(a.shape, a.dtype.itemsize))
    offset = (n - 1) * strides[axis]
    strides[axis] = -strides[axis]
    return _ir.view(a, a.shape, tuple(strides), offset, True)


def _suffix(a: Node, axis: int) -> Node:
    # Running sum from the end.
    return _flip(cumsum(_flip(a, axis), axis), axis)


def _products_before(a: Node) -> Node:
    """For (outer, n, inner), the product of all elements before each along the middle axis."""
    outer, n, inner = a.shape
    ones = full(a.shape, 1, a.dtype)
    if n < 2 or a.type.size == 0:
        return ones
    strides = _ir.c_strides(a.shape, a.dtype.itemsize)
    shape = (outer, n - 1, inner)
    running = _ir.view(cumprod(a, 1), shape, strides)
    return update(ones, running, shape, strides, strides[1], True)


@sum.vjp
def _(g: Node, y: Node, a: Node, start: int, stop: int) -> Node:
    return _spread(g, a, start, stop)


@prod.vjp
def _(g: Node, y: Node, a: Node, start: int, stop: int) -> Node:
    # Products of what lies before and behind, as a division would fail at 0.
    block = whole(cast(a, y.dtype), _fold(a.shape, start, stop))
    others = _products_before(block) * _flip(_products_before(_flip(block, 1)), 1)
    return _spread(g, a, start, stop) * conj(whole(others, a.shape))


def _extreme_gradient(g: Node, y: Node, a: Node, start: int, stop: int) -> Node:
    found = equal(a, _spread(y, a, start, stop))
    share = g / sum(cast(found, g.dtype), tuple(range(start, stop)))
    return where(found, _spread(share, a, start, stop), 0)


for _op in (min, max, nanmin, nanmax):
    _op.vjp(_extreme_gradient)


@cumsum.vjp
def _(g: Node, y: Node, a: Node, axis: int) -> Node:
    return _suffix(g, axis)


@cumprod.vjp
def _(g: Node, y: Node, a: Node, axis: int) -> Node:
    # Behind the first zero of each line the gradient is 0; at it, it is that of the products
    # without it.
    a = cast(a, y.dtype)
    zero = equal(a, 0)
    zeros = cumsum(zero, axis)
    first = logical_and(zero, equal(zeros, 1))
    filled = where(zero, 1, a)
    before = _suffix(g * conj(y), axis) / conj(filled)
    at = _suffix(g * conj(cumprod(where(first, 1, a), axis)), axis)
    return where(equal(zeros, 0), before, where(first, at, 0))
