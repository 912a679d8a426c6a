"""Searching in sorted data, counting into bins, and picking by a mask.

What a mask picks has a shape only once its true elements are counted: `count_mask` counts them by
chunks, whoever reads the sum records `take_masked` and its kin.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import lazyarray._order as _order
from lazyarray import _ir
from lazyarray._ir import Node, registry
from lazyarray.dtypes import BOOL, INTP, canonical
from lazyarray.errors import DTypeError, OptionError, ShapeError, require

from .define import arrayop
from .indexing import put_rows, row_bytes, take, take_rows
from .shaping import Shape, empty, full, reshape

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
SIDES = ("left", "right")


@arrayop()
def searchsorted(a: Node, v: Node, side: str = "left", sorter: Node | None = None) -> Any:
    """Where elements of `v` would be inserted into a sorted `a` to keep its order.

    Parameters
    ----------
    a : array_like, shape (n,), any dtype
        Sorted, NaN last; unless `sorter` sorts it.
    v : array_like, any shape
    side : {'left', 'right'}, default 'left'
        Before elements equal to that of `v`, or behind them.
    sorter : array_like, shape (n,), integer, optional
        The indices that sort `a`.

    Returns
    -------
    array, the shape of `v`, int64

    Raises
    ------
    ShapeError
        When `a` is not one-dimensional.
    OptionError
        For another `side`.
    """
    require(
        side in SIDES,
        OptionError,
        "searchsorted",
        f"search side must be 'left' or 'right', got {side!r}",
    )
    require(
        a.ndim == 1,
        ShapeError,
        "searchsorted",
        f"`a` must have one dimension, its shape is {a.shape}",
    )
    if sorter is not None:
        require(
            sorter.dtype.kind in "iu",
            DTypeError,
            "searchsorted",
            "sorter must only contain integers",
        )
        require(
            sorter.shape == a.shape, ShapeError, "searchsorted", "sorter.size must equal a.size"
        )
        a = take(a, sorter)
    dtype = canonical(np.promote_types(a.dtype, v.dtype))
    inputs = _ir.cast(a, dtype), _ir.cast(v, dtype)
    return inputs, v.shape, INTP, {"side": side}


@searchsorted.native
def _(inputs: Any, out: Any, layouts: Any, side: str) -> Any:
    return _order.search(inputs[0].dtype, inputs[0].shape[0], out.size, side == "right")


@arrayop()
def count_bins(x: Node, bins: int) -> Any:
    """How often each of the integers 0, 1, .. occurs.

    Parameters
    ----------
    x : array, shape (n,), integer or bool
        Known to lie in 0 to bins - 1.
    bins : int

    Returns
    -------
    array, shape (bins,), int64
    """
    fits = x.ndim == 1 and x.dtype.kind in "biu"
    require(fits, ShapeError, "count_bins", f"{x.dtype} of shape {x.shape} is no row of integers")
    return (x,), (bins,), INTP, {}


@count_bins.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _order.count_bins(inputs[0].dtype, inputs[0].size, out.size)


@arrayop()
def sum_bins(x: Node, weights: Node, bins: int) -> Any:
    """The sums of the weights at each of the integers 0, 1, ..

    Parameters
    ----------
    x : array, shape (n,), integer or bool
        Known to lie in 0 to bins - 1.
    weights : array, shape (n,), real
    bins : int

    Returns
    -------
    array, shape (bins,), float64

    Notes
    -----
    Weights are added in parts that depend on `n` and `bins` alone.
    """
    fits = x.ndim == 1 and x.dtype.kind in "biu" and weights.shape == x.shape
    require(fits, ShapeError, "sum_bins", f"{x.dtype} {x.shape}, {weights.dtype} {weights.shape}")
    if weights.dtype is not canonical(FLOAT32):
        weights = _ir.cast(weights, FLOAT64)
    return (x, weights), (bins,), FLOAT64, {}


@sum_bins.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _order.sum_bins(inputs[0].dtype, inputs[1].dtype, inputs[0].size, out.size)


@sum_bins.vjp
def _(g: Node, y: Node, x: Node, weights: Node) -> Any:
    return None, _ir.cast(take_rows(g, _ir.cast(x, INTP)), weights.dtype)


@arrayop()
def count_between(x: Node, edges: Node, uniform: bool = False) -> Any:
    """How many elements lie between each edge and the next; the last edge is included.

    Parameters
    ----------
    x : array, any shape, real
        NaN lies nowhere.
    edges : array, shape (bins + 1,), float64, rising
    uniform : bool, default False
        Whether the edges lie at almost equal distances, which is faster to search.

    Returns
    -------
    array, shape (bins,), int64
    """
    fits = edges.ndim == 1 and edges.size > 1 and edges.dtype == FLOAT64 and x.dtype.kind != "c"
    require(fits, ShapeError, "count_between", f"edges {edges.shape} of {edges.dtype} do not fit")
    return (x, edges), (edges.size - 1,), INTP, {"uniform": uniform}


@count_between.native
def _(inputs: Any, out: Any, layouts: Any, uniform: bool) -> Any:
    return _order.count_between(inputs[0].dtype, inputs[0].size, out.size, uniform)


# ---- masks


@arrayop()
def count_mask(mask: Node) -> Any:
    """How many elements of each chunk are true.

    Parameters
    ----------
    mask : array, shape (n,), bool

    Returns
    -------
    array, shape (chunks,), int64
    """
    fits = mask.ndim == 1 and mask.dtype == BOOL
    require(fits, ShapeError, "count_mask", f"{mask.dtype} of shape {mask.shape} is no mask")
    return (mask,), (-(-mask.size // _order.MASK_CHUNK),), INTP, {}


count_mask.constant = True


@count_mask.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _order.count_mask(inputs[0].size)


def mask_rule(op: str, mask: Node, counts: Node) -> None:
    """Check the types of a mask and its counts."""
    fits = mask.ndim == 1 and mask.dtype == BOOL and counts.dtype == INTP
    fits = fits and counts.shape == (-(-mask.size // _order.MASK_CHUNK),)
    require(fits, ShapeError, op, f"counts {counts.shape} are not those of a mask {mask.shape}")


@arrayop(dear=False)
def take_masked(x: Node, mask: Node, counts: Node, total: int) -> Any:
    """Rows of `x` where a mask is true.

    Parameters
    ----------
    x : array, shape (n, ...)
    mask : array, shape (n,), bool
    counts : array, shape (chunks,), int64
        Those of `count_mask`.
    total : int
        Their sum.

    Returns
    -------
    array, shape (total, ...)
    """
    mask_rule("take_masked", mask, counts)
    return (x, mask, counts), (total, *x.shape[1:]), x.dtype, {}


@take_masked.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _order.take_masked(inputs[1].size, row_bytes(inputs[0]))


@take_masked.vjp
def _(g: Node, y: Node, x: Node, mask: Node, counts: Node) -> Any:
    return put_masked(full(x.shape, 0, x.dtype), mask, counts, g), None, None


@arrayop(inplace=True, dear=False)
def put_masked(base: Node, mask: Node, counts: Node, values: Node) -> Any:
    """`base` with the rows where a mask is true replaced, in order.

    Parameters
    ----------
    base : array, shape (n, ...)
    mask : array, shape (n,), bool
    counts : array, shape (chunks,), int64
        Those of `count_mask`.
    values : array, shape (total, ...), cast to the dtype of `base`

    Returns
    -------
    array, shape (n, ...)
    """
    mask_rule("put_masked", mask, counts)
    fits = values.shape[1:] == base.shape[1:]
    require(fits, ShapeError, "put_masked", f"rows of {values.shape} are not those of {base.shape}")
    return (base, mask, counts, _ir.cast(values, base.dtype)), base.shape, base.dtype, {}


@put_masked.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _order.put_masked(inputs[1].size, row_bytes(out))


@put_masked.vjp
def _(g: Node, y: Node, base: Node, mask: Node, counts: Node, values: Node) -> Any:
    old = new = None
    if base.tracked:
        wide = reshape(mask, (*mask.shape, *(1,) * (g.ndim - 1)))
        old = registry["where"](wide, full((), 0, g.dtype), g)
    if values.tracked:
        new = take_masked(g, mask, counts, values.shape[0])
    return old, None, None, new


@arrayop()
def mask_index(mask: Node, counts: Node, total: int) -> Any:
    """The indices where a mask is true.

    Parameters
    ----------
    mask : array, shape (n,), bool
    counts : array, shape (chunks,), int64
        Those of `count_mask`.
    total : int
        Their sum.

    Returns
    -------
    array, shape (total,), int64
    """
    mask_rule("mask_index", mask, counts)
    return (mask, counts), (total,), INTP, {}


mask_index.constant = True


@mask_index.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _order.mask_index(inputs[0].size)


@arrayop()
def run_flags(x: Node) -> Any:
    """Whether each element of sorted data differs from the one before; all NaNs are equal.

    Parameters
    ----------
    x : array, shape (n,)

    Returns
    -------
    array, shape (n,), bool
        The first is true.
    """
    require(x.ndim == 1, ShapeError, "run_flags", f"one axis expected, the shape is {x.shape}")
    return (x,), x.shape, BOOL, {}


run_flags.constant = True


@run_flags.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _order.run_flags(inputs[0].dtype, math.prod(inputs[0].shape))


@arrayop()
def tally(x: Node) -> Any:
    """How often each value occurs, where there are few different ones.

    Parameters
    ----------
    x : array, shape (n,), real, not empty

    Returns
    -------
    array, shape (3, most + 1), int64
        How many values there are, or -1 where they are many, and the bits of each, rising; from the
        second column on, how often each occurs, and where first. All NaNs are one value, and zeros.
    """
    fits = x.ndim == 1 and x.size > 0 and x.dtype.kind != "c"
    require(fits, ShapeError, "tally", f"{x.dtype} of shape {x.shape} is no row of real numbers")
    return (x,), (3, _order.MOST_VALUES + 1), INTP, {}


tally.constant = True


@tally.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _order.tally(inputs[0].dtype, inputs[0].size)


def put_each(shape: Shape, idx: Node, values: Node) -> Node:
    """The array with each value at its index; `idx` is a permutation."""
    return put_rows(empty(shape, values.dtype), idx, values)
