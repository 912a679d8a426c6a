"""Joining, splitting, repeating, padding: values put together from parts of others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazyarray import _ir
from lazyarray._ir import Node, c_strides, registry
from lazyarray.dtypes import canonical
from lazyarray.errors import DTypeError, OptionError, ShapeError, fail, require

from .define import as_index, composite, normalize_axis
from .shaping import (
    Shape,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    axis_list,
    broadcast_to,
    empty,
    expand_dims,
    full,
    place,
    ravel,
    reshape,
    slice_axis,
    update,
)

# ---- joining and splitting


def join_dtype(arrays: Sequence[Node], dtype: Any, op: str) -> np.dtype:
    """The dtype that arrays are joined in."""
    if dtype is not None:
        wanted = canonical(dtype, op)
        for x in arrays:
            text = f"cannot cast an array of {x.dtype} to {wanted} by the rule 'same_kind'"
            require(np.can_cast(x.dtype, wanted, "same_kind"), DTypeError, op, text)
        return wanted
    kinds = [x.dtype for x in arrays]
    try:
        return canonical(np.result_type(*kinds), op)
    except np.exceptions.DTypePromotionError:
        names = ", ".join(dict.fromkeys(kind.name for kind in kinds))
        fail(DTypeError, op, f"{names} have no common dtype", "Convert with astype first.")


def rows(x: Node) -> list[Node]:
    """The parts of an array along its first axis."""
    require(x.ndim > 0, DTypeError, "concatenate", "iteration over a 0-d array")
    return [reshape(slice_axis(x, 0, i, 1), x.shape[1:]) for i in range(x.shape[0])]


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
    parts = rows(arrays) if type(arrays) is Node else list(arrays)
    require(bool(parts), ShapeError, "concatenate", "need at least one array to concatenate")
    if type(axis) is Node:
        text = f"the axis is an array of shape {getattr(axis, 'shape', ())}"
        fail(DTypeError, "concatenate", text, "Put the arrays into one list.")
    if axis is None:
        parts, axis = [ravel(x) for x in parts], 0
    first = parts[0]
    axis = normalize_axis(axis, first.ndim, "concatenate") if first.ndim else axis
    require(
        all(x.ndim for x in parts),
        ShapeError,
        "concatenate",
        "zero-dimensional arrays cannot be concatenated",
        "Use stack.",
    )
    for x in parts:
        if x.ndim != first.ndim or any(
            a != b for i, (a, b) in enumerate(zip(x.shape, first.shape, strict=True)) if i != axis
        ):
            fail(
                ShapeError,
                "concatenate",
                f"shapes differ outside axis {axis}: {first.shape} and {x.shape}",
            )
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
    require(
        len(shapes) == 1,
        ShapeError,
        "stack",
        f"all arrays must have the same shape, got {sorted(shapes)}",
    )
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
        require(
            count > 0,
            OptionError,
            "array_split",
            f"the number of sections must be positive, got {count}",
        )
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
        require(
            count > 0 and extent % count == 0,
            ShapeError,
            "split",
            f"axis {axis} of shape {x.shape} does not divide into {count} equal parts",
            "Use array_split.",
        )
    return array_split(x, indices_or_sections, axis)


@composite
def vsplit(x: Node, indices_or_sections: Any) -> list[Node]:
    """Split along the first axis."""
    require(x.ndim > 1, ShapeError, "vsplit", f"needs at least two dimensions, got shape {x.shape}")
    return split(x, indices_or_sections, 0)


@composite
def hsplit(x: Node, indices_or_sections: Any) -> list[Node]:
    """Split along the second axis, a 1-d array along the first."""
    require(x.ndim > 0, ShapeError, "hsplit", f"needs at least one dimension, got shape {x.shape}")
    return split(x, indices_or_sections, min(1, x.ndim - 1))


@composite
def dsplit(x: Node, indices_or_sections: Any) -> list[Node]:
    """Split along the third axis."""
    require(
        x.ndim > 2, ShapeError, "dsplit", f"needs at least three dimensions, got shape {x.shape}"
    )
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
    cuts = {i: by % x.shape[i] for i, by in total.items() if x.shape[i] and by % x.shape[i]}
    if len(cuts) > 1 and x.size:
        return rolled(x, cuts)
    for i, cut in cuts.items():
        tail = slice_axis(x, i, x.shape[i] - cut, cut)
        x = concatenate([tail, slice_axis(x, i, 0, x.shape[i] - cut)], i)
    return x


def rolled(x: Node, cuts: dict[int, int]) -> Node:
    """`x` rolled along several axes at once: each block is moved to its place."""
    strides = c_strides(x.shape, x.dtype.itemsize)
    found = empty(x.shape, x.dtype)
    for turned in itertools.product((False, True), repeat=len(cuts)):
        block, offset = x, 0
        for (axis, cut), last in zip(cuts.items(), turned, strict=True):
            rest = x.shape[axis] - cut
            block = slice_axis(block, axis, rest if last else 0, cut if last else rest)
            offset += 0 if last else cut * strides[axis]
        found = place(found, block, block.shape, strides, offset)
    return found


@composite
def tile(x: Node, reps: Any) -> Node:
    """Repeat the whole of `x` along each axis."""
    counts = [as_index(n, "reps", "tile") for n in axis_list(reps)]
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
    if axis is None or not x.ndim:  # as in NumPy, 0-d counts as 1-d
        x, axis = ravel(x), 0 if axis is None else axis
    axis = normalize_axis(axis, x.ndim, "repeat")
    counts = [as_index(n, "repeats", "repeat") for n in np.atleast_1d(np.asarray(repeats)).ravel()]
    require(
        all(n >= 0 for n in counts),
        ShapeError,
        "repeat",
        f"repeats may not contain negative values, for shape {x.shape}",
    )
    before, extent, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    if len(counts) == 1:
        wide = broadcast_to(expand_dims(x, axis + 1), (*before, extent, counts[0], *after))
        return reshape(wide, (*before, extent * counts[0], *after))
    require(
        len(counts) == extent,
        ShapeError,
        "repeat",
        f"{len(counts)} repeats for an axis of extent {extent}, shape {x.shape}",
    )
    if not extent:
        return x
    return concatenate(
        [repeat(slice_axis(x, axis, start, n), times, axis) for start, n, times in runs(counts)],
        axis,
    )


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
    require(
        widths.dtype.kind in "iu" or not widths.size,
        DTypeError,
        "pad",
        "`pad_width` must be of integral type",
    )
    require(bool((widths >= 0).all()), OptionError, "pad", f"negative widths {widths.tolist()}")
    require(
        mode in (*PERIODIC, "constant", "empty"),
        OptionError,
        "pad",
        f"mode {mode!r} is not supported",
        "Choose constant, edge, reflect, symmetric, wrap or empty.",
    )
    pairs = [(int(a), int(b)) for a, b in widths]
    if mode in PERIODIC:
        for axis, (before, after) in enumerate(pairs):
            if before or after:
                require(
                    x.shape[axis] > 0,
                    ShapeError,
                    "pad",
                    f"cannot extend shape {x.shape} along empty axis {axis} by mode {mode!r}",
                )
                x = pad_periodic(x, axis, before, after, mode)
        return x
    values = np.broadcast_to(np.asarray(constant_values), (x.ndim, 2))
    shape = tuple(a + n + b for n, (a, b) in zip(x.shape, pairs, strict=True))
    if shape == x.shape:
        return x
    if mode == "empty":
        strides = c_strides(shape, x.dtype.itemsize)
        start = sum(a * s for (a, _), s in zip(pairs, strides, strict=True)) if x.size else 0
        return update(empty(shape, x.dtype), x, x.shape, strides, start, True)
    if not x.size:
        for axis, (before, after) in enumerate(pairs):
            x = pad_constant(x, axis, before, after, values[axis])
        return x
    return framed(x, pairs, values, shape)


def framed(x: Node, pairs: Sequence[tuple[int, int]], values: Any, shape: Shape) -> Node:
    """`x` within numbers: along each axis two slabs, which reach over those of the axes before."""
    strides = c_strides(shape, x.dtype.itemsize)
    starts = [a * step for (a, _), step in zip(pairs, strides, strict=True)]
    found = place(empty(shape, x.dtype), x, x.shape, strides, sum(starts))
    for axis, widths in enumerate(pairs):
        offset = sum(starts[axis + 1 :])
        ends = 0, shape[axis] - widths[1]
        for width, value, at in zip(widths, values[axis], ends, strict=True):
            if width:
                slab = (*shape[:axis], width, *x.shape[axis + 1 :])
                number = full((), value, x.dtype)
                found = place(found, number, slab, strides, offset + at * strides[axis])
    return found


def pad_constant(x: Node, axis: int, before: int, after: int, values: Any) -> Node:
    """Pad one axis with two numbers."""
    ends = [
        full((*x.shape[:axis], n, *x.shape[axis + 1 :]), v, x.dtype)
        for n, v in zip((before, after), values, strict=True)
    ]
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
