"""Indexing by arrays: rows taken, put and added by index.

An index into several axes becomes one flat C-order index of rows; whatever lies behind the last
indexed axis is a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import lazyarray._order as _order
from lazyarray import _ir, _loops
from lazyarray._engine import workers
from lazyarray._ir import Node, registry
from lazyarray.dtypes import INTP, canonical
from lazyarray.errors import ArrayIndexError, OptionError, ShapeError, fail, require

from .define import arrayop, composite, normalize_axis
from .shaping import (
    Shape,
    broadcast_to,
    empty,
    expand_dims,
    full,
    positions,
    ravel,
    reshape,
    transpose,
)

# ---- rows by index


def row_rule(op: str, x: Node, idx: Node, values: Node | None) -> None:
    """Check the types that the row ops share."""
    fits = x.ndim > 0 and idx.ndim == 1 and idx.dtype is INTP
    fits = fits and (values is None or values.shape == (*idx.shape, *x.shape[1:]))
    got = "" if values is None else f", values {values.shape}"
    require(fits, ShapeError, op, f"rows of {x.shape} by index {idx.shape}{got} do not fit")


def row_bytes(kind: Any) -> int:
    """The size of one row of a value."""
    return math.prod(kind.shape[1:]) * kind.itemsize


@arrayop(dear=False)
def take_rows(x: Node, idx: Node) -> Any:
    """Rows of `x` by index.

    Parameters
    ----------
    x : array, shape (n, ...)
    idx : array, shape (m,), int64
        Known to be in bounds: see `flat_index`.

    Returns
    -------
    array, shape (m, ...)
    """
    row_rule("take_rows", x, idx, None)
    return (x, idx), (*idx.shape, *x.shape[1:]), x.dtype, {}


@take_rows.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _loops.take_rows(row_bytes(inputs[0]), inputs[0].shape[0], inputs[1].shape[0])


@take_rows.vjp
def _(g: Node, y: Node, x: Node, idx: Node) -> Any:
    return add_rows(full(x.shape, 0, x.dtype), idx, g), None


@arrayop(dear=False)
def take_axis(x: Node, idx: Node, axis: int) -> Any:
    """Elements of `x` along an axis, by index.

    Parameters
    ----------
    x : array, any shape
    idx : array, shape (m,), int64
        Known to be in bounds: see `flat_index`.
    axis : int

    Returns
    -------
    array, the shape of `x` with extent m along `axis`
    """
    fits = 0 <= axis < x.ndim and idx.ndim == 1 and idx.dtype is INTP
    require(fits, ShapeError, "take_axis", f"axis {axis} of {x.shape} by index {idx.shape}")
    return (x, idx), (*x.shape[:axis], *idx.shape, *x.shape[axis + 1 :]), x.dtype, {"axis": axis}


@take_axis.native
def _(inputs: Any, out: Any, layouts: Any, axis: int) -> Any:
    shape = inputs[0].shape
    row = math.prod(shape[axis + 1 :]) * out.itemsize
    return _order.take_axis(math.prod(shape[:axis]), shape[axis], inputs[1].shape[0], row)


@take_axis.vjp
def _(g: Node, y: Node, x: Node, idx: Node, axis: int) -> Any:
    order = (axis, *(i for i in range(x.ndim) if i != axis))
    front = tuple(x.shape[i] for i in order)
    summed = add_rows(full(front, 0, x.dtype), idx, transpose(g, order))
    return transpose(summed, tuple(order.index(i) for i in range(x.ndim))), None


@arrayop(inplace=True, dear=False)
def put_rows(base: Node, idx: Node, values: Node) -> Any:
    """`base` with rows replaced, in order: of equal indices the last one stays.

    Parameters
    ----------
    base : array, shape (n, ...)
    idx : array, shape (m,), int64
        Known to be in bounds.
    values : array, shape (m, ...), cast to the dtype of `base`

    Returns
    -------
    array, shape (n, ...)
    """
    row_rule("put_rows", base, idx, values)
    return (base, idx, _ir.cast(values, base.dtype)), base.shape, base.dtype, {}


@put_rows.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    extents = row_bytes(out), out.shape[0], inputs[1].shape[0]
    return _order.put_rows(*extents, workers() == 1) or _loops.put_rows(*extents)


@put_rows.vjp
def _(g: Node, y: Node, base: Node, idx: Node, values: Node) -> Any:
    old = None
    if base.tracked:
        old = put_rows(g, idx, full(values.shape, 0, values.dtype))
    taken = None
    if values.tracked:
        # Only the row that was written last is in the result.
        turn = positions(idx.shape)
        last = take_rows(put_rows(empty(base.shape[:1], INTP), idx, turn), idx)
        stays = registry["equal"](last, turn)
        stays = reshape(stays, (*idx.shape, *(1,) * (g.ndim - 1)))
        taken = registry["where"](stays, take_rows(g, idx), full((), 0, g.dtype))
    return old, None, taken


@arrayop(inplace=True)
def add_rows(base: Node, idx: Node, values: Node) -> Any:
    """`base` with values added to rows, in the order of the index; equal indices add up.

    Parameters
    ----------
    base : array, shape (n, ...)
    idx : array, shape (m,), int64
        Known to be in bounds.
    values : array, shape (m, ...), cast to the dtype of `base`

    Returns
    -------
    array, shape (n, ...)
    """
    row_rule("add_rows", base, idx, values)
    return (base, idx, _ir.cast(values, base.dtype)), base.shape, base.dtype, {}


@add_rows.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    extents = out.shape[0], inputs[1].shape[0], math.prod(out.shape[1:])
    dealt = _order.add_rows(out.dtype, *extents, workers() == 1)
    return dealt or _loops.add_rows(out.dtype, *extents)


@add_rows.vjp
def _(g: Node, y: Node, base: Node, idx: Node, values: Node) -> Any:
    return g, None, take_rows(g, idx)


@arrayop(inplace=True, dear=False)
def put_along(base: Node, idx: Node, values: Node, axis: int) -> Any:
    """`base` with elements along an axis replaced, in order: of equal indices the last one stays.

    Parameters
    ----------
    base : array, any shape
    idx : array, the shape of `base` with extent m along `axis`, int64
        Known to be in bounds.
    values : array, the shape of `idx` or none, cast to the dtype of `base`
    axis : int

    Returns
    -------
    array, the shape of `base`
    """
    fits = 0 <= axis < base.ndim == idx.ndim and idx.dtype is INTP
    fits = fits and idx.shape == (*base.shape[:axis], idx.shape[axis], *base.shape[axis + 1 :])
    fits = fits and values.shape in ((), idx.shape)
    text = f"axis {axis} of {base.shape} by index {idx.shape}, values {values.shape}"
    require(fits, ShapeError, "put_along", text)
    values = _ir.cast(values, base.dtype)
    return (base, idx, values), base.shape, base.dtype, {"axis": axis}


@put_along.native
def _(inputs: Any, out: Any, layouts: Any, axis: int) -> Any:
    shape, m = out.shape, inputs[1].shape[axis]
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    one = inputs[2].shape == ()
    return _order.put_along(outer, shape[axis], m, inner, out.itemsize, one)


@put_along.vjp
def _(g: Node, y: Node, base: Node, idx: Node, values: Node, axis: int) -> Any:
    old = put_along(g, idx, full((), 0, g.dtype), axis) if base.tracked else None
    taken = None
    if values.tracked:
        # Only the element that was written last is in the result.
        turn = positions(idx.shape)
        written = put_along(empty(base.shape, INTP), idx, turn, axis)
        flat = ravel(along_index(base.shape, idx, axis, "put_along")[0])
        stays = registry["equal"](reshape(take_rows(ravel(written), flat), idx.shape), turn)
        reaches = reshape(take_rows(ravel(g), flat), idx.shape)
        taken = registry["where"](stays, reaches, full((), 0, g.dtype))
        taken = taken if values.ndim == idx.ndim else registry["sum"](taken)
    return old, None, taken


# Axes of what is indexed are not always those of the array the user has: none is named.
OUTSIDE = "index: an index is out of bounds for an axis of size {extent}"


def outside(op: str) -> str:
    """The text of the error of an op whose axes are the user's."""
    return op + ": an index is out of bounds for axis {axis} with size {extent}"


@arrayop(fallible=True)
def flat_index(*indices: Node, dims: Shape, error: str = OUTSIDE, first: int = 0) -> Any:
    """The flat C-order index that several indices form; negative ones count from the end.

    Parameters
    ----------
    *indices : arrays, shapes that broadcast, integer
    dims : tuple of int
        The extent that each one indexes.
    error : str
        What to say where one is out of bounds, with fields ``{axis}`` and ``{extent}``.
    first : int, default 0
        The axis that the first one indexes.

    Returns
    -------
    array, the broadcast shape, int64

    Raises
    ------
    ArrayIndexError
        Where one is out of bounds.
    """
    for idx in indices:
        require(
            idx.dtype.kind in "iu",
            ArrayIndexError,
            "index",
            "arrays used as indices must be of integer (or boolean) type",
        )
    shape = common_index_shape(indices)
    inputs = tuple(broadcast_to(_ir.cast(idx, INTP), shape) for idx in indices)
    return inputs, shape, INTP, {"dims": tuple(dims), "error": error, "first": first}


@flat_index.native
def _(inputs: Any, out: Any, layouts: Any, dims: Shape, error: str, first: int) -> Any:
    return _loops.flat_index(dims, out.size, error, first)


flat_index.constant = True
_ir.set_bounds(flat_index)


def common_index_shape(indices: Sequence[Any]) -> Shape:
    """The shape that index arrays broadcast to."""
    try:
        return _ir.broadcast_shapes(*[idx.shape for idx in indices])
    except ShapeError:
        shapes = " ".join(str(idx.shape) for idx in indices)
        fail(
            ArrayIndexError,
            "index",
            f"shape mismatch: indexing arrays could not be broadcast together with shapes {shapes}",
        )


# ---- several axes as rows


def spread(x: Node, lead: Shape, at: int) -> Node:
    """`x` with axes of extent 1 around it: its first axis at `at` of a shape like `lead`."""
    return reshape(x, (*(1,) * at, *x.shape, *(1,) * (len(lead) - at - x.ndim)))


def row_index(
    shape: Shape,
    axes: Sequence[int],
    indices: Sequence[Node],
    place: int,
    checked: bool = False,
    error: str = OUTSIDE,
) -> Node:
    """The flat index of the rows of a value that index arrays choose.

    `axes` rise; what the arrays broadcast to stands at `place` of the result, the axes between and
    before in order. `checked` indices are known to be in bounds and not negative.
    """
    last = axes[-1]
    wide = common_index_shape(indices)
    others = [i for i in range(last + 1) if i not in axes]
    lead = (*(shape[i] for i in others[:place]), *wide, *(shape[i] for i in others[place:]))
    strides = _ir.c_strides(shape[: last + 1], 1)
    terms = []
    # Of an open grid each array is looked at alone: together they are many times as large.
    apart = 2 * sum(idx.size for idx in indices) < math.prod(wide)
    if checked or apart or last - axes[0] >= len(axes):
        for axis, idx in zip(axes, indices, strict=True):
            # Where nothing is read, NumPy checks nothing.
            idx = broadcast_to(idx, wide) if 0 in wide else idx
            if checked:
                one = _ir.cast(idx, INTP)
            else:
                one = flat_index(idx, dims=(shape[axis],), error=error, first=axis)
            one = one if one.ndim == len(wide) else spread(one, wide, len(wide) - one.ndim)
            terms.append(scaled(spread(one, lead, place), strides[axis]))
    else:
        dims = shape[axes[0] : last + 1]
        flat = flat_index(*indices, dims=dims, error=error, first=axes[0])
        terms.append(spread(flat, lead, place))
    before, start = others[:place], 0
    if before and before == list(range(place)):
        # Leading axes in one: a single index counts through them.
        count = positions(tuple(shape[i] for i in before))
        terms.append(scaled(spread(count, lead, 0), strides[place - 1]))
        start = place
    for turn, axis in enumerate(others[start:], start):
        at = turn if turn < place else turn + len(wide)
        terms.append(scaled(spread(positions((shape[axis],)), lead, at), strides[axis]))
    out = terms[0]
    for term in terms[1:]:
        out = out + term
    return broadcast_to(out, lead)


def scaled(idx: Node, stride: int) -> Node:
    """`idx` in units of a stride."""
    return idx if stride == 1 else idx * stride


def rows_of(x: Node, last: int) -> Node:
    """`x` as rows: the axes up to `last` in one."""
    return reshape(x, (math.prod(x.shape[: last + 1]), *x.shape[last + 1 :]))


def gather_axes(
    x: Node,
    axes: Sequence[int],
    indices: Sequence[Node],
    place: int,
    checked: bool = False,
    error: str = OUTSIDE,
) -> Node:
    """What ``x[..., i, j, ...]`` reads: arrays index `axes`, their shape stands at `place`."""
    if len(axes) == 1 and 0 < axes[0] == place:
        axis, (idx,) = axes[0], indices
        if 0 not in idx.shape:  # where nothing is read, NumPy checks nothing
            if checked:
                idx = _ir.cast(idx, INTP)
            else:
                idx = flat_index(idx, dims=(x.shape[axis],), error=error, first=axis)
            taken = take_axis(x, ravel(idx), axis)
            return reshape(taken, (*x.shape[:axis], *idx.shape, *x.shape[axis + 1 :]))
    flat = row_index(x.shape, axes, indices, place, checked, error)
    taken = take_rows(rows_of(x, axes[-1]), ravel(flat))
    return reshape(taken, (*flat.shape, *x.shape[axes[-1] + 1 :]))


def scatter_axes(
    x: Node,
    axes: Sequence[int],
    indices: Sequence[Node],
    place: int,
    values: Node,
    write: Callable[[Node, Node, Node], Node] = put_rows,
    error: str = OUTSIDE,
) -> Node:
    """`x` after NumPy's ``x[..., i, j, ...] = values``, or with `write=add_rows`, after adding."""
    flat = row_index(x.shape, axes, indices, place, error=error)
    row = x.shape[axes[-1] + 1 :]
    shape = (*flat.shape, *row)
    values = value_for(values, shape)
    out = write(rows_of(x, axes[-1]), ravel(flat), reshape(values, (flat.size, *row)))
    return reshape(out, x.shape)


def value_for(values: Node, shape: Shape) -> Node:
    """`values` broadcast to the shape they are assigned to, less further leading axes of 1."""
    extra = values.ndim - len(shape)
    if extra > 0 and all(n == 1 for n in values.shape[:extra]):
        values = reshape(values, values.shape[extra:])
    try:
        return broadcast_to(values, shape)
    except ShapeError:
        fail(
            ShapeError,
            "index",
            f"shape mismatch: value array of shape {values.shape} could not be "
            f"broadcast to indexing result of shape {shape}",
        )


def gather(x: Node, indices: Sequence[Node]) -> Node:
    """``x[i, j, ...]`` with integer arrays for the leading axes."""
    return gather_axes(x, range(len(indices)), indices, 0)


def scatter(x: Node, indices: Sequence[Node], values: Node) -> Node:
    """`x` after ``x[i, j, ...] = values``."""
    return scatter_axes(x, range(len(indices)), indices, 0, values)


@composite
def scatter_add(x: Node, indices: Any, values: Node) -> Node:
    """`x` with `values` added at integer indices of its leading axes; equal indices add up.

    Parameters
    ----------
    x : array, shape (n, ...)
    indices : array or sequence of arrays, integer
    values : array, shape that broadcasts to that of ``x[indices]``

    Returns
    -------
    array, the shape and dtype of `x`

    Raises
    ------
    ArrayIndexError
        Where an index is out of bounds.

    Notes
    -----
    Added in the C order of the index, so that the result does not depend on how the work is split.
    """
    found = tuple(indices) if isinstance(indices, tuple | list) else (indices,)
    axes = range(len(found))
    return scatter_axes(x, axes, found, 0, values, add_rows, outside("scatter_add"))


MODES = ("raise", "wrap", "clip")


def bounded(idx: Node, extent: int, mode: str, op: str) -> tuple[Node, bool]:
    """An index by mode, and whether it is now known to be in bounds."""
    require(mode in MODES, OptionError, op, f"mode {mode!r} is not one of {', '.join(MODES)}")
    if mode == "raise":
        return idx, False
    require(extent > 0 or not idx.size, ArrayIndexError, op, "cannot take from an empty axis")
    idx = _ir.cast(idx, INTP)
    if mode == "wrap":
        return registry["remainder"](idx, max(extent, 1)), True
    top = registry["minimum"](idx, max(extent - 1, 0))
    return registry["maximum"](top, 0), True


@composite
def take(x: Node, indices: Node, axis: int | None = None, mode: str = "raise") -> Node:
    """Elements of `x` along an axis, by index.

    Parameters
    ----------
    x : array, any shape
    indices : array, any shape, integer
    axis : int, optional
        Without it the flattened array is used.
    mode : {'raise', 'wrap', 'clip'}, default 'raise'
        What happens to an index out of bounds; with 'raise' negative ones count from the end.

    Returns
    -------
    array, the shape of `x` with `axis` replaced by the shape of `indices`

    Raises
    ------
    ArrayIndexError
        Where an index is out of bounds and `mode` is 'raise'.
    """
    if axis is None or not x.ndim:  # as in NumPy, 0-d counts as 1-d
        x, axis = ravel(x), 0 if axis is None else axis
    axis = normalize_axis(axis, x.ndim, "take")
    if 0 in x.shape[:axis] and mode in MODES and indices.dtype.kind in "biu":
        # Nothing is taken, and NumPy does not look at the indices.
        return full((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), 0, x.dtype)
    idx, checked = bounded(indices, x.shape[axis], mode, "take")
    return gather_axes(x, (axis,), (idx,), axis, checked, outside("take"))


def along_index(shape: Shape, indices: Node, axis: int, op: str) -> tuple[Node, Shape]:
    """The flat index of elements chosen along an axis, and the shape `x` has to be broadcast to."""
    require(indices.dtype.kind in "iu", ArrayIndexError, op, "`indices` must be an integer array")
    require(
        indices.ndim == len(shape),
        ShapeError,
        op,
        "`indices` and `arr` must have the same number of dimensions",
    )
    cross = (*shape[:axis], 1, *shape[axis + 1 :])
    try:
        wide = _ir.broadcast_shapes(cross, indices.shape)
    except ShapeError:
        fail(
            ArrayIndexError,
            op,
            f"indices of shape {indices.shape} do not fit shape {shape} along axis {axis}",
        )
    full_shape = (*wide[:axis], shape[axis], *wide[axis + 1 :])
    strides = _ir.c_strides(full_shape, 1)
    chosen = flat_index(indices, dims=(shape[axis],), error=outside(op), first=axis)
    flat = scaled(chosen, strides[axis])
    if axis > 0:
        count = positions(wide[:axis])
        flat = flat + scaled(spread(count, wide, 0), strides[axis - 1])
    if axis + 1 < len(wide):
        flat = flat + spread(positions(wide[axis + 1 :]), wide, axis + 1)
    return broadcast_to(flat, wide), full_shape


@composite
def take_along_axis(x: Node, indices: Node, axis: int | None = -1) -> Node:
    """Pick elements along an axis, each by its own index.

    Parameters
    ----------
    x : array, any shape
    indices : array, integer
        As many dimensions as `x`; the other axes broadcast.
    axis : int or None, default -1
        None stands for the flattened array.

    Returns
    -------
    array, the shape of `indices` broadcast with `x` in the other axes

    Raises
    ------
    ArrayIndexError
        Where an index is out of bounds.
    """
    if axis is None:
        x, axis = ravel(x), 0
    axis = normalize_axis(axis, x.ndim, "take_along_axis")
    flat, shape = along_index(x.shape, indices, axis, "take_along_axis")
    source = broadcast_to(x, shape)
    return reshape(take_rows(reshape(source, (source.size,)), ravel(flat)), flat.shape)


LINES = 16  # written side by side
LINES_BYTES = 1 << 20  # of the elements that one index may write: they stay in a core's cache


def written_along(x: Node, indices: Node, axis: int) -> bool:
    """Whether an index writes to lines of `x` that are many and short enough to go one by one."""
    cross = (*x.shape[:axis], *x.shape[axis + 1 :])
    if indices.ndim != x.ndim or indices.dtype.kind not in "iu" or math.prod(cross) < LINES:
        return False
    same = (*indices.shape[:axis], *indices.shape[axis + 1 :]) == cross
    return same and math.prod(x.shape[axis:]) * x.dtype.itemsize <= LINES_BYTES


@composite
def put_along_axis(x: Node, indices: Node, values: Node, axis: int | None = -1) -> Node:
    """`x` with elements along an axis replaced, each by its own index.

    Parameters
    ----------
    x : array, any shape
    indices : array, integer
        As many dimensions as `x`; the other axes broadcast to those of `x`.
    values : array, shape that broadcasts to that of the indices
    axis : int or None, default -1

    Returns
    -------
    array, the shape and dtype of `x`
    """
    old = x.shape
    if axis is None:
        x, axis = ravel(x), 0
    axis = normalize_axis(axis, x.ndim, "put_along_axis")
    if written_along(x, indices, axis):
        text = outside("put_along_axis")
        idx = flat_index(indices, dims=(x.shape[axis],), error=text, first=axis)
        values = values if values.ndim == 0 else value_for(values, idx.shape)
        return reshape(put_along(x, idx, values, axis), old)
    flat, shape = along_index(x.shape, indices, axis, "put_along_axis")
    require(
        shape == x.shape,
        ArrayIndexError,
        "put_along_axis",
        f"indices of shape {indices.shape} do not fit shape {x.shape}",
    )
    new = ravel(value_for(values, flat.shape))
    return reshape(put_rows(ravel(x), ravel(flat), new), old)


@composite
def one_hot(indices: Node, depth: int, dtype: Any = np.float32) -> Node:
    """Ones at an index along a new last axis, zeros elsewhere.

    Parameters
    ----------
    indices : array, any shape, integer
    depth : int
        The extent of the new axis.
    dtype : dtype, default float32

    Returns
    -------
    array, shape (*indices.shape, depth)
        All zeros where the index is outside 0 to depth - 1.
    """
    if indices.dtype.kind not in "iu":
        fail(ArrayIndexError, "one_hot", f"indices must be integers, got {indices.dtype}")
    hit = registry["equal"](expand_dims(indices, -1), positions((int(depth),)))
    return _ir.cast(hit, canonical(dtype, "one_hot"))
