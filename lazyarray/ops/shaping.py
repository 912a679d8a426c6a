"""Views and updates: what changes the shape of a value, or a part of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazyarray import _ir
from lazyarray._ir import Node, Op, c_strides, offset_node, registry, view
from lazyarray.dtypes import INTP, REAL_OF, canonical
from lazyarray.errors import DTypeError, GradientError, OptionError, ShapeError, fail, require

from .define import composite, normalize_axes, normalize_axis

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
    number = value if type(value) is Node else _ir.scalar(value, dtype)
    return broadcast_to(_ir.cast(number, dtype), shape)


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
    extents = [n.__index__() for n in shape] if isinstance(shape, tuple | list) else [shape.__index__()]
    if extents.count(-1) == 1:
        rest = math.prod(n for n in extents if n != -1)
        if rest and size % rest == 0:
            extents[extents.index(-1)] = size // rest
    if any(n < 0 for n in extents) or math.prod(extents) != size:
        fail(ShapeError, op, f"cannot reshape array of size {size} into shape {tuple(shape) if isinstance(shape, tuple | list) else shape}")
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
    fits = lead >= 0 and all(a in (1, b) for a, b in zip(x.shape, shape[lead:], strict=True))
    if not fits:
        fail(ShapeError, "broadcast_to", f"shape {x.shape} does not broadcast to {shape}")
    old = c_strides(x.shape, x.dtype.itemsize)
    kept = tuple(
        s if a == b else 0 for s, a, b in zip(old, x.shape, shape[lead:], strict=True)
    )
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
        fail(ShapeError, op, f"shapes {shapes} do not broadcast",
             "Extents must be equal or 1, counted from the last axis.")  # fmt: skip


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
    require(order in ("C", "F", "A", "K"), OptionError, "reshape", f"order {order!r} is not C or F")
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
    if axes is None:
        order = tuple(range(x.ndim))[::-1]
    else:
        require(len(axes) == x.ndim, ShapeError, "transpose", f"axes {tuple(axes)} do not match an array of {x.ndim} dimensions")
        order = tuple(normalize_axis(a, x.ndim, "transpose") for a in axes)
        require(len(set(order)) == x.ndim, ShapeError, "transpose", f"axes {tuple(axes)} repeat an axis")
    strides = c_strides(x.shape, x.dtype.itemsize)
    return view(x, tuple(x.shape[i] for i in order), tuple(strides[i] for i in order))


@composite
def swapaxes(x: Node, axis1: int, axis2: int) -> Node:
    """Exchange two axes."""
    order = list(range(x.ndim))
    i = normalize_axis(axis1, x.ndim, "swapaxes")
    j = normalize_axis(axis2, x.ndim, "swapaxes")
    order[i], order[j] = order[j], order[i]
    return transpose(x, order)


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
        require(len(set(axes)) == len(axes), ShapeError, "moveaxis", f"{name} {axes} repeats an axis")
    require(len(froms) == len(tos), ShapeError, "moveaxis", f"source has {len(froms)} axes, destination {len(tos)}")
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
    require(x.ndim > 0, ShapeError, "flipud", "needs at least one dimension")
    return flip(x, 0)


@composite
def fliplr(x: Node) -> Node:
    """Reverse the second axis."""
    require(x.ndim > 1, ShapeError, "fliplr", "needs at least two dimensions")
    return flip(x, 1)


@composite
def rot90(x: Node, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Node:
    """Turn `x` by `k` right angles in the plane of two axes, from the first towards the second."""
    i, j = (normalize_axis(a, x.ndim, "rot90") for a in axes)
    require(i != j, ShapeError, "rot90", f"axes {axes} are the same")
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
    require(x.ndim > 1, ShapeError, "diagonal", f"needs at least two dimensions, got shape {x.shape}")
    i, j = normalize_axis(axis1, x.ndim, "diagonal"), normalize_axis(axis2, x.ndim, "diagonal")
    require(i != j, ShapeError, "diagonal", "axis1 and axis2 are the same")
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
    extents = [n.__index__() for n in axis_list(window_shape)]
    axes = list(range(x.ndim)) if axis is None else [normalize_axis(a, x.ndim, name) for a in axis_list(axis)]
    require(len(axes) == len(extents), ShapeError, name, f"window {tuple(extents)} needs one axis each, got {axes}")
    shape, strides = list(x.shape), c_strides(x.shape, x.dtype.itemsize)
    for a, n in zip(axes, extents, strict=True):
        shape[a] -= n - 1
        require(n >= 0 and shape[a] >= 0, ShapeError, name, f"window {tuple(extents)} is larger than shape {x.shape}")
    return view(x, (*shape, *extents), (*strides, *(strides[a] for a in axes)))


# ---- joining and splitting


def join_dtype(arrays: Sequence[Node], dtype: Any, op: str) -> np.dtype:
    """The dtype that arrays are joined in."""
    if dtype is not None:
        return canonical(dtype, op)
    return canonical(np.result_type(*[x.dtype for x in arrays]), op)


@composite
def concatenate(arrays: Sequence[Node], axis: int | None = 0, dtype: Any = None) -> Node:
    """Join arrays along an axis they have.

    Parameters
    ----------
    arrays : sequence of arrays, whose shapes differ in `axis` alone
    axis : int or None, default 0
        None joins the flattened arrays.
    dtype : dtype, optional
        Of the result; by promotion otherwise.

    Raises
    ------
    ShapeError
        When there is none, one is 0-d, or other extents differ.
    """
    parts = list(arrays)
    require(bool(parts), ShapeError, "concatenate", "need at least one array to concatenate")
    if axis is None:
        parts, axis = [ravel(x) for x in parts], 0
    first = parts[0]
    require(all(x.ndim for x in parts), ShapeError, "concatenate", "zero-dimensional arrays cannot be concatenated", "Use stack.")
    axis = normalize_axis(axis, first.ndim, "concatenate")
    for x in parts:
        if x.ndim != first.ndim or any(a != b for i, (a, b) in enumerate(zip(x.shape, first.shape, strict=True)) if i != axis):
            fail(ShapeError, "concatenate", f"shapes differ outside axis {axis}: {first.shape} and {x.shape}")
    found = join_dtype(parts, dtype, "concatenate")
    total = sum(x.shape[axis] for x in parts)
    shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
    parts = [x for x in parts if x.size]
    if len(parts) == 1 and parts[0].shape == shape:
        return _ir.cast(parts[0], found)
    strides = c_strides(shape, found.itemsize)
    out, start = empty(shape, found), 0
    for x in parts:
        out = place(out, x, x.shape, strides, start * strides[axis])
        start += x.shape[axis]
    return out


@composite
def stack(arrays: Sequence[Node], axis: int = 0, dtype: Any = None) -> Node:
    """Join arrays of one shape along a new axis."""
    parts = list(arrays)
    require(bool(parts), ShapeError, "stack", "need at least one array to stack")
    shapes = {x.shape for x in parts}
    require(len(shapes) == 1, ShapeError, "stack", f"all arrays must have the same shape, got {sorted(shapes)}")
    axis = normalize_axis(axis, parts[0].ndim + 1, "stack")
    return concatenate([expand_dims(x, axis) for x in parts], axis, dtype)


@composite
def vstack(arrays: Sequence[Node], dtype: Any = None) -> Node:
    """Join arrays along the first axis; 1-d arrays are rows."""
    return concatenate([atleast_2d(x) for x in arrays], 0, dtype)


@composite
def hstack(arrays: Sequence[Node], dtype: Any = None) -> Node:
    """Join arrays along the second axis, 1-d arrays along the first."""
    parts = [atleast_1d(x) for x in arrays]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1, dtype)


@composite
def dstack(arrays: Sequence[Node]) -> Node:
    """Join arrays along the third axis."""
    return concatenate([atleast_3d(x) for x in arrays], 2)


@composite
def column_stack(arrays: Sequence[Node]) -> Node:
    """Join arrays along the second axis; 1-d arrays are columns."""
    return concatenate([x if x.ndim > 1 else reshape(x, (x.size, 1)) for x in arrays], 1)


@composite
def append(x: Node, values: Node, axis: int | None = None) -> Node:
    """Join two arrays, flattened unless an axis is given."""
    return concatenate([x, values], axis)


@composite
def array_split(x: Node, indices_or_sections: Any, axis: int = 0) -> list[Node]:
    """Views of `x` cut along an axis, of nearly equal extents or at the given indices.

    Parameters
    ----------
    x : array, at least one dimension
    indices_or_sections : int or sequence of int
    axis : int, default 0

    Returns
    -------
    list of arrays
    """
    axis = normalize_axis(axis, x.ndim, "array_split")
    extent = x.shape[axis]
    if isinstance(indices_or_sections, Sequence | np.ndarray):
        cuts = [slice(None, int(i)).indices(extent)[1] for i in indices_or_sections]
        bounds = list(zip([0, *cuts], [*cuts, extent], strict=True))
    else:
        count = int(indices_or_sections)
        require(count > 0, OptionError, "array_split", f"the number of sections must be positive, got {count}")
        short, longer = divmod(extent, count)
        ends = [(i + 1) * short + min(i + 1, longer) for i in range(count)]
        bounds = list(zip([0, *ends[:-1]], ends, strict=True))
    return [slice_axis(x, axis, a, max(0, b - a)) for a, b in bounds]


@composite
def split(x: Node, indices_or_sections: Any, axis: int = 0) -> list[Node]:
    """Views of `x` cut along an axis, of equal extents or at the given indices.

    Raises
    ------
    ShapeError
        When the extent is not a multiple of the number of sections.
    """
    axis = normalize_axis(axis, x.ndim, "split")
    if not isinstance(indices_or_sections, Sequence | np.ndarray):
        extent, count = x.shape[axis], int(indices_or_sections)
        require(count > 0 and extent % count == 0, ShapeError, "split",
                f"axis {axis} of extent {extent} does not divide into {count} equal parts",
                "Use array_split.")  # fmt: skip
    return array_split(x, indices_or_sections, axis)


@composite
def vsplit(x: Node, indices_or_sections: Any) -> list[Node]:
    """Split along the first axis."""
    require(x.ndim > 1, ShapeError, "vsplit", "needs at least two dimensions")
    return split(x, indices_or_sections, 0)


@composite
def hsplit(x: Node, indices_or_sections: Any) -> list[Node]:
    """Split along the second axis, a 1-d array along the first."""
    require(x.ndim > 0, ShapeError, "hsplit", "needs at least one dimension")
    return split(x, indices_or_sections, min(1, x.ndim - 1))


@composite
def dsplit(x: Node, indices_or_sections: Any) -> list[Node]:
    """Split along the third axis."""
    require(x.ndim > 2, ShapeError, "dsplit", "needs at least three dimensions")
    return split(x, indices_or_sections, 2)


# ---- repeating and moving


@composite
def roll(x: Node, shift: Any, axis: Any = None) -> Node:
    """Shift elements along axes; what leaves one end enters at the other.

    Parameters
    ----------
    x : array, any shape
    shift : int or tuple of int
    axis : int or tuple of int, optional
        Without it the flattened array is rolled.
    """
    if axis is None:
        return reshape(roll(ravel(x), sum(axis_list(shift)), 0), x.shape)
    shifts, axes = axis_list(shift), axis_list(axis)
    pairs = np.broadcast(np.asarray(shifts), np.asarray(axes))
    total: dict[int, int] = {}
    for by, a in pairs:
        i = normalize_axis(a, x.ndim, "roll")
        total[i] = total.get(i, 0) + int(by)
    for i, by in total.items():
        extent = x.shape[i]
        cut = by % extent if extent else 0
        if cut:
            tail = slice_axis(x, i, extent - cut, cut)
            x = concatenate([tail, slice_axis(x, i, 0, extent - cut)], i)
    return x


@composite
def tile(x: Node, reps: Any) -> Node:
    """Repeat the whole of `x` along each axis."""
    counts = [n.__index__() for n in axis_list(reps)]
    require(all(n >= 0 for n in counts), ShapeError, "tile", f"negative repeats {counts}")
    ndim = max(x.ndim, len(counts))
    shape = (1,) * (ndim - x.ndim) + x.shape
    counts = [1] * (ndim - len(counts)) + counts
    apart = [n for extent in shape for n in (1, extent)]
    wide = [n for pair in zip(counts, shape, strict=True) for n in pair]
    whole = tuple(a * b for a, b in zip(counts, shape, strict=True))
    return reshape(broadcast_to(reshape(x, tuple(apart)), tuple(wide)), whole)


@composite
def repeat(x: Node, repeats: Any, axis: int | None = None) -> Node:
    """Repeat each element.

    Parameters
    ----------
    x : array, any shape
    repeats : int or sequence of int
        How often, for all or for each index along `axis`.
    axis : int, optional
        Without it the flattened array is used.
    """
    if axis is None:
        x, axis = ravel(x), 0
    axis = normalize_axis(axis, x.ndim, "repeat")
    counts = [n.__index__() for n in np.atleast_1d(np.asarray(repeats)).ravel()]
    require(all(n >= 0 for n in counts), ShapeError, "repeat", "repeats may not contain negative values")
    before, extent, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    if len(counts) == 1:
        wide = broadcast_to(expand_dims(x, axis + 1), (*before, extent, counts[0], *after))
        return reshape(wide, (*before, extent * counts[0], *after))
    require(len(counts) == extent, ShapeError, "repeat", f"{len(counts)} repeats for an axis of extent {extent}")
    if not extent:
        return x
    return concatenate([repeat(slice_axis(x, axis, start, n), times, axis) for start, n, times in runs(counts)], axis)


def runs(counts: Sequence[int]) -> list[tuple[int, int, int]]:
    """Runs of equal numbers: (start, length, number)."""
    found: list[tuple[int, int, int]] = []
    for i, n in enumerate(counts):
        if found and found[-1][2] == n:
            found[-1] = (found[-1][0], found[-1][1] + 1, n)
        else:
            found.append((i, 1, n))
    return found


PERIODIC = ("reflect", "symmetric", "wrap", "edge")


@composite
def pad(x: Node, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Node:
    """Enlarge `x` at its ends.

    Parameters
    ----------
    x : array, any shape
    pad_width : int, (before, after), or one pair for each axis
    mode : {'constant', 'edge', 'reflect', 'symmetric', 'wrap', 'empty'}, default 'constant'
    constant_values : number, (before, after), or one pair for each axis, default 0

    Raises
    ------
    OptionError
        For other modes.
    """
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    require(widths.dtype.kind in "iu" or not widths.size, DTypeError, "pad", "`pad_width` must be of integral type")
    require(bool((widths >= 0).all()), OptionError, "pad", f"negative widths {widths.tolist()}")
    require(mode in (*PERIODIC, "constant", "empty"), OptionError, "pad", f"mode {mode!r} is not supported",
            "Choose constant, edge, reflect, symmetric, wrap or empty.")  # fmt: skip
    pairs = [(int(a), int(b)) for a, b in widths]
    if mode in PERIODIC:
        for axis, (before, after) in enumerate(pairs):
            if before or after:
                require(x.shape[axis] > 0, ShapeError, "pad", f"cannot extend empty axis {axis} by mode {mode!r}")
                x = pad_periodic(x, axis, before, after, mode)
        return x
    values = np.broadcast_to(np.asarray(constant_values), (x.ndim, 2))
    shape = tuple(a + n + b for n, (a, b) in zip(x.shape, pairs, strict=True))
    if shape == x.shape:
        return x
    same = mode == "empty" or not values.size or bool((values == values.flat[0]).all())
    if not same:
        for axis, (before, after) in enumerate(pairs):
            x = pad_constant(x, axis, before, after, values[axis])
        return x
    outer = empty(shape, x.dtype) if mode == "empty" else full(shape, values.flat[0], x.dtype)
    strides = c_strides(shape, x.dtype.itemsize)
    start = sum(a * s for (a, _), s in zip(pairs, strides, strict=True)) if x.size else 0
    return update(outer, x, x.shape, strides, start, True)


def pad_constant(x: Node, axis: int, before: int, after: int, values: Any) -> Node:
    """Pad one axis with two numbers."""
    ends = [full((*x.shape[:axis], n, *x.shape[axis + 1 :]), v, x.dtype)
            for n, v in zip((before, after), values, strict=True)]  # fmt: skip
    return concatenate([ends[0], x, ends[1]], axis)


def pad_periodic(x: Node, axis: int, before: int, after: int, mode: str) -> Node:
    """Pad one axis with copies of its own elements: runs of indices that rise, fall or stand."""
    n = x.shape[axis]
    at = np.arange(-before, n + after)
    if mode == "edge" or n == 1:
        source = at.clip(0, n - 1)
    elif mode == "wrap":
        source = at % n
    elif mode == "symmetric":
        source = at % (2 * n)
        source = np.where(source < n, source, 2 * n - 1 - source)
    else:
        source = at % (2 * n - 2)
        source = np.where(source < n, source, 2 * n - 2 - source)
    parts = []
    first = 0
    while first < len(source):
        last = first + 1
        step = int(source[last] - source[first]) if last < len(source) else 1
        step = step if step in (-1, 0, 1) else 1
        while last < len(source) and source[last] - source[last - 1] == step:
            last += 1
        parts.append(slice_axis(x, axis, int(source[first]), last - first, step))
        first = last
    return concatenate(parts, axis)


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
    require(x.ndim > 1, ShapeError, op, f"needs at least two dimensions, got shape {x.shape}")
    rows, columns = x.shape[-2:]
    return positions((columns,)) <= positions((rows, 1)) + int(k)


def eye(rows: int, columns: int, k: int, dtype: np.dtype) -> Node:
    """Ones on diagonal `k`, zeros elsewhere."""
    return _ir.cast(registry["equal"](positions((columns,)), positions((rows, 1)) + int(k)), dtype)


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


@composite
def diff(x: Node, n: int = 1, axis: int = -1) -> Node:
    """The `n`-th difference of neighbours along an axis."""
    require(n >= 0, OptionError, "diff", f"order must be non-negative, got {n}")
    require(x.ndim > 0, ShapeError, "diff", "needs at least one dimension")
    axis = normalize_axis(axis, x.ndim, "diff")
    op = registry["not_equal" if x.dtype.kind == "b" else "subtract"]
    for _ in range(n):
        count = max(0, x.shape[axis] - 1)
        x = op(slice_axis(x, axis, min(1, x.shape[axis]), count), slice_axis(x, axis, 0, count))
    return x


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
    flat = [i for i, (n, s) in enumerate(zip(y.shape, strides, strict=True)) if n > 1 and s == 0]
    if flat:
        g = registry["sum"](g, axis=tuple(flat), keepdims=True)
    kept = [i for i, n in enumerate(g.shape) if n != 1]
    kept.sort(key=lambda i: -abs(strides[i]))
    shape = tuple(g.shape[i] for i in kept)
    reach = tuple(strides[i] for i in kept)
    g = transpose(reshape(g, tuple(g.shape[i] for i in sorted(kept))), [sorted(kept).index(i) for i in kept])
    if not g.size:
        return full(base.shape, 0, base.dtype)
    if dtype is base.dtype and g.size == base.size:
        whole = c_strides(shape, dtype.itemsize)
        if all(abs(a) == b for a, b in zip(reach, whole, strict=True)):
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
    """The cotangent of the value is read from where it went; that of the old value is zero there."""
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
