"""Views and updates: what changes the shape of a value, or a part of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazyarray import _ir
from lazyarray._ir import Node, Op, c_strides, offset_node, registry, view
from lazyarray.dtypes import INTP, REAL_OF
from lazyarray.errors import GradientError, OptionError, ShapeError, fail, require

from .define import as_index, composite, normalize_axes, normalize_axis

VIEW = registry["view"]
UPDATE = Op("update", 3)
PLACE = Op("place", 3)
EMPTY = Op("empty", 5)

Shape = tuple[int, ...]


def empty(shape: Shape, dtype: np.dtype) -> Node:
    """A value nobody has written yet."""
    return EMPTY.node((), shape, dtype)


def full(shape: Shape, value: Any, dtype: np.dtype) -> Node:
    """A number broadcast to `shape`."""
    number = _ir.cast(value, dtype) if type(value) is Node else _ir.scalar(value, dtype)
    return broadcast_to(number, shape)


def positions(shape: Shape) -> Node:
    """The flat C-order index of each element of `shape`, int64."""
    return registry["iota"].node((), shape, INTP)


def update(
    old: Node,
    value: Node,
    shape: Shape,
    strides: Shape,
    offset: int = 0,
    moving: bool = False,
    covers: bool = False,
    dtype: np.dtype | None = None,
) -> Node:
    """`old` with the part seen through a View replaced by `value` (broadcast to the View's shape).

    `covers` says that the View reaches every element, so that `old` need not be read.
    """
    dtype = old.dtype if dtype is None else dtype
    value = broadcast_to(_ir.cast(value, dtype), shape)
    attrs = (shape, strides, moving, covers, dtype)
    return offset_node(UPDATE, (old, value), old.shape, old.dtype, attrs, offset)


def place(old: Node, value: Node, shape: Shape, strides: Shape, offset: int) -> Node:
    """An `update` of a part of `old` that nobody has written yet: no gradient has to be zeroed."""
    value = broadcast_to(_ir.cast(value, old.dtype), shape)
    attrs = (shape, strides, True, value.size == old.size, old.dtype)
    return offset_node(PLACE, (old, value), old.shape, old.dtype, attrs, offset)


# ---- views of a whole value


def known_shape(shape: Any, size: int, op: str) -> Shape:
    """Return `shape` as a tuple of ints, its -1 replaced so that it holds `size` elements."""
    extents = [as_index(n, "shape", op) for n in axis_list(shape)]
    if extents.count(-1) == 1:
        rest = math.prod(n for n in extents if n != -1)
        if rest and size % rest == 0:
            extents[extents.index(-1)] = size // rest
    if any(n < 0 for n in extents) or math.prod(extents) != size:
        fail(
            ShapeError,
            op,
            f"cannot reshape array of size {size} into shape {shape}",
        )
    return tuple(extents)


def same_or_view(x: Node, shape: Shape, strides: Shape, offset: int = 0) -> Node:
    """The view of `x`, whose offset is data exactly when it is not 0."""
    return view(x, shape, strides, offset, offset != 0)


@composite
def broadcast_to(x: Node, shape: Any) -> Node:
    """Repeat `x` without copying, so that it has the given shape.

    Parameters
    ----------
    x : array, shape that broadcasts to `shape`
    shape : int or tuple of int

    Returns
    -------
    array, shape `shape`, dtype of `x`

    Raises
    ------
    ShapeError
        When an extent of `x` is neither 1 nor that of `shape`.
    """
    shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if x.shape == shape:
        return x
    lead = len(shape) - x.ndim
    if lead == len(shape):
        return view(x, shape, (0,) * lead)
    fits = lead >= 0 and all(a in (1, b) for a, b in zip(x.shape, shape[lead:], strict=True))
    if not fits:
        fail(ShapeError, "broadcast_to", f"shape {x.shape} does not broadcast to {shape}")
    old = c_strides(x.shape, x.dtype.itemsize)
    kept = tuple(s if a == b else 0 for s, a, b in zip(old, x.shape, shape[lead:], strict=True))
    return view(x, shape, (0,) * lead + kept)


@composite
def broadcast_arrays(*arrays: Node) -> tuple[Node, ...]:
    """Broadcast all arrays to their common shape.

    Returns
    -------
    tuple of arrays, all of the same shape
    """
    shape = common_shape("broadcast_arrays", *arrays)
    return tuple(broadcast_to(x, shape) for x in arrays)


def common_shape(op: str, *arrays: Node) -> Shape:
    """The shape that all broadcast to."""
    try:
        return _ir.broadcast_shapes(*[x.shape for x in arrays])
    except ShapeError:
        shapes = ", ".join(str(x.shape) for x in arrays)
        fail(
            ShapeError,
            op,
            f"shapes {shapes} do not broadcast",
            "Extents must be equal or 1, counted from the last axis.",
        )


@composite
def reshape(x: Node, shape: Any, order: str = "C") -> Node:
    """Give the elements of `x` another shape of the same size.

    Parameters
    ----------
    x : array, any shape
    shape : int or tuple of int
        One extent may be -1: it is worked out from the others.
    order : {'C', 'F'}, default 'C'
        Which axis runs fastest, the last or the first.

    Returns
    -------
    array, shape `shape`

    Raises
    ------
    ShapeError
        When the sizes differ.
    """
    found = known_shape(shape, x.size, "reshape")
    if order not in ("C", "F", "A", "K"):
        fail(OptionError, "reshape", f"order {order!r} is not C or F")
    if order == "F":
        return transpose(reshape(transpose(x), found[::-1]))
    return view(x, found, c_strides(found, x.dtype.itemsize))


@composite
def ravel(x: Node, order: str = "C") -> Node:
    """Return the elements of `x` in one dimension, shape (size,)."""
    return reshape(x, (x.size,), order)


@composite
def transpose(x: Node, axes: Any = None) -> Node:
    """Permute the axes.

    Parameters
    ----------
    x : array, any shape
    axes : tuple of int, optional
        Where each axis of the result comes from; the reverse by default.

    Returns
    -------
    array, shape ``tuple(x.shape[i] for i in axes)``
    """
    shape, strides = x.shape, c_strides(x.shape, x.dtype.itemsize)
    if axes is None:
        return view(x, shape[::-1], strides[::-1])
    ndim = len(shape)
    if len(axes) != ndim:
        message = f"axes {tuple(axes)} do not match an array of {ndim} dimensions: {shape}"
        fail(ShapeError, "transpose", message)
    order = [normalize_axis(a, ndim, "transpose") for a in axes]
    if len(set(order)) != ndim:
        fail(ShapeError, "transpose", f"axes {tuple(axes)} repeat an axis of {shape}")
    return view(x, tuple([shape[i] for i in order]), tuple([strides[i] for i in order]))


@composite
def swapaxes(x: Node, axis1: int, axis2: int) -> Node:
    """Exchange two axes."""
    i = normalize_axis(axis1, x.ndim, "swapaxes")
    j = normalize_axis(axis2, x.ndim, "swapaxes")
    shape, strides = list(x.shape), list(c_strides(x.shape, x.dtype.itemsize))
    shape[i], shape[j] = shape[j], shape[i]
    strides[i], strides[j] = strides[j], strides[i]
    return view(x, tuple(shape), tuple(strides))


@composite
def moveaxis(x: Node, source: Any, destination: Any) -> Node:
    """Move axes to other places; the rest keep their order.

    Parameters
    ----------
    x : array, any shape
    source, destination : int or tuple of int, of equal number
    """
    froms = [normalize_axis(a, x.ndim, "moveaxis") for a in axis_list(source)]
    tos = [normalize_axis(a, x.ndim, "moveaxis") for a in axis_list(destination)]
    for name, axes in (("source", froms), ("destination", tos)):
        require(
            len(set(axes)) == len(axes),
            ShapeError,
            "moveaxis",
            f"{name} {axes} repeats an axis of {x.shape}",
        )
    require(
        len(froms) == len(tos),
        ShapeError,
        "moveaxis",
        f"source has {len(froms)} axes, destination {len(tos)}, for shape {x.shape}",
    )
    order = [i for i in range(x.ndim) if i not in froms]
    for to, origin in sorted(zip(tos, froms, strict=True)):
        order.insert(to, origin)
    return transpose(x, order)


def axis_list(axis: Any) -> list[int]:
    """One axis or several, as a list."""
    return list(axis) if isinstance(axis, tuple | list) else [axis]


@composite
def rollaxis(x: Node, axis: int, start: int = 0) -> Node:
    """Move one axis before the axis `start`."""
    axis = normalize_axis(axis, x.ndim, "rollaxis")
    start = x.ndim if start == x.ndim else normalize_axis(start, x.ndim, "rollaxis")
    return moveaxis(x, axis, start - 1 if axis < start else start)


@composite
def expand_dims(x: Node, axis: Any) -> Node:
    """Insert axes of extent 1, at these places of the result."""
    places = axis_list(axis)
    ndim = x.ndim + len(places)
    if len(places) == 1:
        place = normalize_axis(places[0], ndim, "expand_dims")
        shape = (*x.shape[:place], 1, *x.shape[place:])
        return view(x, shape, c_strides(shape, x.dtype.itemsize))
    found = normalize_axes(tuple(places), ndim, "expand_dims")
    extents = iter(x.shape)
    return reshape(x, tuple(1 if i in found else next(extents) for i in range(ndim)))


@composite
def squeeze(x: Node, axis: Any = None) -> Node:
    """Drop axes of extent 1: all of them, or those named.

    Raises
    ------
    ShapeError
        When a named axis is longer.
    """
    if axis is None:
        return reshape(x, tuple(n for n in x.shape if n != 1))
    found = normalize_axes(axis, x.ndim, "squeeze")
    long = [i for i in found if x.shape[i] != 1]
    require(not long, ShapeError, "squeeze", f"axis {long} of shape {x.shape} is not of extent 1")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in found))


@composite
def atleast_1d(x: Node) -> Node:
    """View `x` with at least one dimension."""
    return x if x.ndim else reshape(x, (1,))


@composite
def atleast_2d(x: Node) -> Node:
    """View `x` with at least two dimensions, new ones in front."""
    return x if x.ndim > 1 else reshape(x, (1, x.size))


@composite
def atleast_3d(x: Node) -> Node:
    """View `x` with at least three dimensions, shape (1, n, 1) or (m, n, 1)."""
    if x.ndim > 2:
        return x
    return reshape(x, (*atleast_2d(x).shape, 1))


# ---- views of a part


def slice_axis(x: Node, axis: int, start: int, count: int, step: int = 1) -> Node:
    """`count` elements along one axis, from `start` on; known to be in bounds."""
    if start == 0 and step == 1 and count == x.shape[axis]:
        return x
    strides = list(c_strides(x.shape, x.dtype.itemsize))
    offset = start * strides[axis] if count else 0
    strides[axis] *= step
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    return view(x, shape, tuple(strides), offset, True)


def slice_node(x: Node, starts: Sequence[int], counts: Sequence[int], steps: Sequence[int]) -> Node:
    """A box of `x`: for each axis its first index, extent and step; known to be in bounds."""
    old = c_strides(x.shape, x.dtype.itemsize)
    offset = sum(a * s for a, s in zip(starts, old, strict=True)) if math.prod(counts) else 0
    strides = tuple(a * s for a, s in zip(steps, old, strict=True))
    return view(x, tuple(counts), strides, offset, True)


@composite
def flip(x: Node, axis: Any = None) -> Node:
    """Reverse the order along the given axes, all by default."""
    axes = normalize_axes(axis, x.ndim, "flip")
    strides = c_strides(x.shape, x.dtype.itemsize)
    offset = sum((x.shape[i] - 1) * strides[i] for i in axes) if x.size else 0
    turned = tuple(-s if i in axes else s for i, s in enumerate(strides))
    return same_or_view(x, x.shape, turned, offset)


@composite
def flipud(x: Node) -> Node:
    """Reverse the first axis."""
    require(x.ndim > 0, ShapeError, "flipud", f"needs at least one dimension, got shape {x.shape}")
    return flip(x, 0)


@composite
def fliplr(x: Node) -> Node:
    """Reverse the second axis."""
    require(x.ndim > 1, ShapeError, "fliplr", f"needs at least two dimensions, got shape {x.shape}")
    return flip(x, 1)


@composite
def rot90(x: Node, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Node:
    """Turn `x` by `k` right angles in the plane of two axes, from the first towards the second."""
    i, j = (normalize_axis(a, x.ndim, "rot90") for a in axes)
    require(i != j, ShapeError, "rot90", f"axes {axes} of shape {x.shape} are the same")
    turns = k % 4
    if turns == 0:
        return x
    if turns == 2:
        return flip(x, (i, j))
    return swapaxes(flip(x, j), i, j) if turns == 1 else flip(swapaxes(x, i, j), j)


@composite
def diagonal(x: Node, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Node:
    """The diagonals of the matrices in two axes, appended as the last axis.

    Parameters
    ----------
    x : array, at least two dimensions
    offset : int, default 0
        Above (positive) or below the main diagonal.
    axis1, axis2 : int

    Returns
    -------
    array, the shape of `x` without the two axes, then the length of the diagonal
    """
    require(
        x.ndim > 1, ShapeError, "diagonal", f"needs at least two dimensions, got shape {x.shape}"
    )
    i, j = normalize_axis(axis1, x.ndim, "diagonal"), normalize_axis(axis2, x.ndim, "diagonal")
    require(i != j, ShapeError, "diagonal", f"axis1 and axis2 of shape {x.shape} are the same")
    strides = c_strides(x.shape, x.dtype.itemsize)
    down, right = max(-offset, 0), max(offset, 0)
    count = max(0, min(x.shape[i] - down, x.shape[j] - right))
    rest = [a for a in range(x.ndim) if a not in (i, j)]
    shape = (*(x.shape[a] for a in rest), count)
    start = down * strides[i] + right * strides[j] if math.prod(shape) else 0
    return same_or_view(x, shape, (*(strides[a] for a in rest), strides[i] + strides[j]), start)


@composite
def sliding_window_view(x: Node, window_shape: Any, axis: Any = None) -> Node:
    """All windows of a given shape, their axes appended.

    Parameters
    ----------
    x : array, any shape
    window_shape : int or tuple of int
    axis : int or tuple of int, optional
        The axis of each window extent; all axes by default.
    """
    name = "sliding_window_view"
    extents = [as_index(n, "window_shape", name) for n in axis_list(window_shape)]
    axes = (
        list(range(x.ndim))
        if axis is None
        else [normalize_axis(a, x.ndim, name) for a in axis_list(axis)]
    )
    require(
        len(axes) == len(extents),
        ShapeError,
        name,
        f"window {tuple(extents)} needs one axis each, got {axes}",
    )
    shape, strides = list(x.shape), c_strides(x.shape, x.dtype.itemsize)
    for a, n in zip(axes, extents, strict=True):
        require(
            0 <= n <= shape[a],
            ShapeError,
            name,
            f"window {tuple(extents)} is larger than shape {x.shape}",
        )
        shape[a] -= n - 1
    return view(x, (*shape, *extents), (*strides, *(strides[a] for a in axes)))


# ---- matrices


@composite
def tril(x: Node, k: int = 0) -> Node:
    """The lower triangle of the matrices in the last two axes, zero above diagonal `k`."""
    return registry["where"](triangle(x, k, "tril"), x, full((), 0, x.dtype))


@composite
def triu(x: Node, k: int = 0) -> Node:
    """The upper triangle of the matrices in the last two axes, zero below diagonal `k`."""
    return registry["where"](triangle(x, k - 1, "triu"), full((), 0, x.dtype), x)


def triangle(x: Node, k: int, op: str) -> Node:
    """Whether column <= row + k."""
    require(x.ndim > 0, ShapeError, op, f"needs at least one dimension, got shape {x.shape}")
    rows, columns = x.shape[-2:] if x.ndim > 1 else x.shape * 2  # a vector is every row
    return positions((columns,)) <= positions((rows, 1)) + inside(rows, columns, int(k))


def eye(rows: int, columns: int, k: int, dtype: np.dtype) -> Node:
    """Ones on diagonal `k`, zeros elsewhere."""
    row = positions((rows, 1)) + inside(rows, columns, k)
    return _ir.cast(registry["equal"](positions((columns,)), row), dtype)


def inside(rows: int, columns: int, k: int) -> int:
    """`k`, or the nearest diagonal that no longer meets the matrix, so that rows can be added."""
    return max(-rows, min(k, columns))


def ones_on_diagonal(rows: int, columns: int, k: int, dtype: np.dtype) -> Node:
    """What `eye` is, written rather than computed: where the whole matrix is wanted."""
    zeros = full((rows, columns), 0, dtype)
    count = min(rows + min(k, 0), columns - max(k, 0))
    if count <= 0:
        return zeros
    size = dtype.itemsize
    start = (max(k, 0) + max(-k, 0) * columns) * size
    one = _ir.scalar(1, dtype)
    return update(zeros, one, (count,), ((columns + 1) * size,), start, start != 0)


@composite
def diag(x: Node, k: int = 0) -> Node:
    """Diagonal `k` of a matrix, or the matrix with the vector `x` on diagonal `k`."""
    if x.ndim == 2:
        return diagonal(x, k)
    require(x.ndim == 1, ShapeError, "diag", f"needs one or two dimensions, got shape {x.shape}")
    n = x.size + abs(k)
    size = x.dtype.itemsize
    start = (max(k, 0) + max(-k, 0) * n) * size if x.size else 0
    return update(full((n, n), 0, x.dtype), x, x.shape, ((n + 1) * size,), start, start != 0)


# ---- gradients


def view_gradient(g: Node, y: Node, base: Node) -> Node | None:
    """The cotangent of `base`: that of the view, put where it was read."""
    strides, moving = y.attrs
    dtype = y.dtype
    if dtype is not base.dtype:
        if REAL_OF.get(dtype, dtype) is not REAL_OF.get(base.dtype, base.dtype):
            raise GradientError(f"view: the bits of {base.dtype} read as {dtype} have no gradient")
        # Real and imaginary parts are two real numbers side by side, in the cotangent as well.
        g = _ir.cast(g, dtype)
    own = c_strides(g.shape, dtype.itemsize)
    whole = c_strides(base.shape, dtype.itemsize)
    if dtype is base.dtype and g.size == base.size and strides == own:
        return view(g, base.shape, whole)
    flat = [i for i, (n, s) in enumerate(zip(y.shape, strides, strict=True)) if n > 1 and s == 0]
    if flat:
        g = registry["sum"](g, axis=tuple(flat), keepdims=True)
        own = c_strides(g.shape, dtype.itemsize)
    kept = [i for i, n in enumerate(g.shape) if n != 1]
    kept.sort(key=lambda i: -abs(strides[i]))
    shape = tuple([g.shape[i] for i in kept])
    reach = tuple([strides[i] for i in kept])
    g = view(g, shape, tuple([own[i] for i in kept]))
    if not g.size:
        return full(base.shape, 0, base.dtype)
    if dtype is base.dtype and g.size == base.size:
        ordered = c_strides(shape, dtype.itemsize)
        if reach == ordered:
            return view(g, base.shape, whole)
        if all(abs(a) == b for a, b in zip(reach, ordered, strict=True)):
            return reshape(flip(g, tuple(i for i, s in enumerate(reach) if s < 0)), base.shape)
    if is_injective(shape, reach, dtype.itemsize):
        zeros = full(base.shape, 0, base.dtype)
        return update(zeros, g, shape, reach, y.offset, moving, False, dtype)
    return view_overlapping(g, base, shape, reach, y.offset, moving, dtype)


def is_injective(shape: Shape, strides: Shape, itemsize: int) -> bool:
    """Say whether no two places share a byte; strides fall in magnitude."""
    reach = itemsize
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if abs(s) < reach:
            return False
        reach += abs(s) * (n - 1)
    return True


def view_overlapping(
    g: Node, base: Node, shape: Shape, strides: Shape, offset: int, moving: bool, dtype: np.dtype
) -> Node:
    """Add up what several places read from one element."""
    size = dtype.itemsize
    if dtype is not base.dtype or offset % size or any(s % size for s in strides):
        raise GradientError("view: an overlapping view of another dtype has no gradient")
    scale = INTP.itemsize
    steps = tuple(s // size * scale for s in strides)
    index = view(positions((base.size,)), shape, steps, offset // size * scale, moving)
    zeros = full((base.size,), 0, base.dtype)
    return reshape(registry["add_rows"](zeros, ravel(index), ravel(g)), base.shape)


def update_gradient(g: Node, y: Node, old: Node, value: Node) -> tuple[Node | None, Node]:
    """The value's cotangent is read from where it went; that of the old value is zero there."""
    shape, strides, moving, covers, dtype = y.attrs
    taken = view(g, shape, strides, y.offset, moving, dtype)
    if covers or not old.tracked:
        return None, taken
    zero = full(shape, 0, dtype)
    return update(g, zero, shape, strides, y.offset, moving, False, dtype), taken


def place_gradient(g: Node, y: Node, old: Node, value: Node) -> tuple[Node, Node]:
    """As for an update; what was there before had no value, and needs no zeros."""
    shape, strides, moving, _, dtype = y.attrs
    return g, view(g, shape, strides, y.offset, moving, dtype)


VIEW.gradient = view_gradient
UPDATE.gradient = update_gradient
PLACE.gradient = place_gradient
EMPTY.constant = True
