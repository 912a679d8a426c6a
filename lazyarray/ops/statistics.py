"""Means, variances and normalised exponentials: composites of reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyarray import lines
from lazyarray._ir import Node, cast
from lazyarray.dtypes import BFLOAT16, BOOL, HALVES, INTP, canonical
from lazyarray.errors import ShapeError, require

from .counting import count_mask
from .define import composite
from .elementary import exp, log
from .elementwise import (
    divide,
    imag,
    isfinite,
    multiply,
    real,
    sqrt,
    square,
    stop_gradient,
    where,
)
from .reduction import max, min, reduced_axes, reduced_count, sum, whole
from .shaping import ravel

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)


def _mean(a: Node, axes: tuple[int, ...], dtype: Any, keepdims: bool) -> Node:
    if a.dtype is BOOL and dtype is FLOAT64:  # counted: the same number, from fewer bytes
        total = cast(sum(a, axes, INTP, keepdims), FLOAT64)
    else:
        total = sum(a, axes, dtype, keepdims)
    return cast(divide(total, reduced_count(a, axes)), total.dtype)


@composite
def mean(a: Node, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Node:
    """Arithmetic mean over the given axes.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to average over; None means all.
    dtype : dtype, optional
        In which to compute. The default is that of `a`; float64 for bools and integers.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`
        NaN, with a RuntimeWarning, where there is nothing to average.

    Raises
    ------
    AxisError
        When an axis is out of bounds.

    Notes
    -----
    The error is that of `sum`. float16 and bfloat16 are averaged in float32.
    """
    axes = reduced_axes(axis, a.ndim, "mean")
    if reduced_count(a, axes) == 0:
        lines.warn("Mean of empty slice")
    if dtype is not None:
        return _mean(a, axes, dtype, keepdims)
    if a.dtype in HALVES:
        return cast(_mean(a, axes, FLOAT32, keepdims), a.dtype)
    return _mean(a, axes, FLOAT64 if a.dtype.kind in "biu" else None, keepdims)


@composite
def var(
    a: Node, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> Node:
    """Variance over the given axes: the mean squared distance from the mean.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to average over; None means all.
    dtype : dtype, optional
        In which to compute. The default is that of `a`; float64 for bools and integers.
    ddof : float, default 0
        The divisor is the number of elements less `ddof`.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`
        Real, for complex `a` too.

    Raises
    ------
    AxisError
        When an axis is out of bounds.

    Notes
    -----
    Two passes, as in NumPy: the mean first, then the squares of the distances from it. That of
    bfloat16 is computed in float32.
    """
    if dtype is None and a.dtype is BFLOAT16:
        return cast(var(cast(a, FLOAT32), axis, None, ddof, keepdims), a.dtype)
    axes = reduced_axes(axis, a.ndim, "var")
    count = reduced_count(a, axes)
    if ddof >= count:
        lines.warn("Degrees of freedom <= 0 for slice")
    if dtype is None and a.dtype.kind in "biu":
        dtype = FLOAT64
    away = a - _mean(a, axes, dtype, True)
    squares = square(real(away)) + square(imag(away)) if away.dtype.kind == "c" else square(away)
    if dtype is not None and canonical(dtype).kind == "c":
        dtype = None
    total = sum(squares, axes, dtype, keepdims)
    left = count - ddof
    return cast(divide(total, left if left > 0 else 0), total.dtype)


@composite
def std(
    a: Node, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> Node:
    """Standard deviation over the given axes: the square root of `var`.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to average over; None means all.
    dtype : dtype, optional
        In which to compute. The default is that of `a`; float64 for bools and integers.
    ddof : float, default 0
        The divisor is the number of elements less `ddof`.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`
        Real, for complex `a` too.

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    """
    if dtype is None and a.dtype is BFLOAT16:
        return cast(std(cast(a, FLOAT32), axis, None, ddof, keepdims), a.dtype)
    found = var(a, axis, dtype, ddof, keepdims)
    return cast(sqrt(found), found.dtype)


@composite
def ptp(a: Node, axis: Any = None, keepdims: bool = False) -> Node:
    """Greatest less smallest element over the given axes.

    Parameters
    ----------
    a : array_like, any shape, any dtype but bool
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
    """
    return max(a, axis, keepdims) - min(a, axis, keepdims)


@composite
def count_nonzero(a: Node, axis: Any = None, keepdims: bool = False) -> Node:
    """Number of elements over the given axes that are not zero.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to count over; None means all.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`, int64

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    """
    true = cast(a, BOOL)
    if axis is None and not keepdims and a.ndim:
        return sum(count_mask(ravel(true)))
    return sum(true, axis, INTP, keepdims)


def _peak(x: Node, axis: Any) -> Node:
    # What the exponent is taken relative to; 0 where it is infinite, and no gradient flows through
    # it.
    peak = stop_gradient(max(x, axis, True))
    return where(isfinite(peak), peak, 0)


@composite
def logsumexp(a: Node, axis: Any = None, keepdims: bool = False) -> Node:
    """``log(sum(exp(a)))`` over the given axes, without overflow.

    Parameters
    ----------
    a : array_like, any shape, real
    axis : None, int or tuple of int
        The axes to sum over; None means all.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`, floating
        Negative infinity where there is nothing to sum.

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    """
    axes = reduced_axes(axis, a.ndim, "logsumexp")
    if a.dtype.kind in "biu":
        a = cast(a, FLOAT64)
    if reduced_count(a, axes) == 0:
        return log(sum(a, axes, None, keepdims))
    peak = _peak(a, axes)
    found = log(sum(exp(a - peak), axes, None, True)) + peak
    return (
        found
        if keepdims
        else whole(found, tuple(n for i, n in enumerate(a.shape) if i not in axes))
    )


@composite
def softmax(x: Node, axis: Any = -1) -> Node:
    """``exp(x) / sum(exp(x))`` along the given axes, without overflow.

    Parameters
    ----------
    x : array_like, any shape, real
    axis : None, int or tuple of int, default -1
        The axes along which the result sums to 1.

    Returns
    -------
    array, the shape of `x`, floating

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    """
    axes = reduced_axes(axis, x.ndim, "softmax")
    if x.type.size == 0:
        return exp(x)
    weights = exp(x - _peak(x, axes))
    return weights / sum(weights, axes, None, True)


@composite
def log_softmax(x: Node, axis: Any = -1) -> Node:
    """Logarithm of `softmax`, accurate where that is near 0.

    Parameters
    ----------
    x : array_like, any shape, real
    axis : None, int or tuple of int, default -1
        The axes along which the exponentials of the result sum to 1.

    Returns
    -------
    array, the shape of `x`, floating

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    """
    axes = reduced_axes(axis, x.ndim, "log_softmax")
    if x.type.size == 0:
        return exp(x)
    shifted = x - _peak(x, axes)
    return shifted - log(sum(exp(shifted), axes, None, True))


@composite
def average(
    a: Node, axis: int | None = None, weights: Node | None = None, keepdims: bool = False
) -> Node:
    """Weighted mean over one axis, or over all.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None or int
        The axis to average over; None means all.
    weights : array_like, shape of `a`, or (extent of `axis`,), optional
        Without weights the result is `mean`.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`

    Raises
    ------
    AxisError
        When the axis is out of bounds.
    ShapeError
        When the weights do not fit.
    """
    axes = reduced_axes(axis, a.ndim, "average")
    if weights is None:
        return mean(a, axes, None, keepdims)
    if weights.shape != a.shape:
        fits = len(axes) == 1 and weights.shape == (a.shape[axes[0]],)
        message = f"weights have shape {weights.shape}, the array {a.shape}"
        require(
            fits, ShapeError, "average", message, "Give one weight for each element of an axis."
        )
        weights = whole(weights, tuple(n if i in axes else 1 for i, n in enumerate(a.shape)))
    kind = np.result_type(a.dtype, weights.dtype)
    dtype = canonical(np.result_type(kind, FLOAT64) if a.dtype.kind in "biu" else kind, "average")
    weighed = multiply(cast(a, dtype), weights)
    total = sum(weights, axes, dtype, keepdims)
    return divide(sum(weighed, axes, dtype, keepdims), total)
