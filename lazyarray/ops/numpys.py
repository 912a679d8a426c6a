"""Functions that NumPy computes, a line or so each: what they take, and their results' types."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazyarray import _ir
from lazyarray._ir import Node, registry
from lazyarray.dtypes import INTP, is_inexact
from lazyarray.errors import (
    ArrayIndexError,
    DTypeError,
    GradientError,
    OptionError,
    ShapeError,
    fail,
    require,
)

from .define import normalize_axes, normalize_axis
from .host import BYTE, FLOAT64, Result, arguments, dtype_of, frozen, host, like, without
from .shaping import Shape, full, slice_axis


@host(np.interp)
def interp(
    x: Node, xp: Node, fp: Node, left: Any = None, right: Any = None, period: Any = None
) -> Result:
    """Linear interpolation at `x` of the points (`xp`, `fp`); as `numpy.interp`."""
    fits = xp.ndim == 1 and xp.shape == fp.shape
    require(fits, ShapeError, "interp", f"xp {xp.shape} and fp {fp.shape} must be equal vectors")
    require(xp.shape[0] > 0, ShapeError, "interp", "array of sample points is empty")
    return like(x, np.complex128 if fp.dtype.kind == "c" else FLOAT64)


@interp.vjp
def _(g: Node, y: Node, x: Node, xp: Node, fp: Node, *ends: Node) -> Any:
    given = arguments(y)
    if xp.tracked or ends or given["period"] is not None:
        raise GradientError("interp: has a gradient by x and fp alone, without a period")
    take, where = registry["take"], registry["where"]
    count = xp.shape[0]
    if count == 1:
        return None, registry["sum"](g, keepdims=True)
    inside = digitize(x, xp)
    low = registry["clip"](inside - 1, 0, count - 2)
    width = take(xp, low + 1) - take(xp, low)
    part = registry["clip"]((x - take(xp, low)) / width, 0, 1)
    within = registry["logical_and"](x >= take(xp, low), x <= take(xp, low + 1))
    slope = where(within, (take(fp, low + 1) - take(fp, low)) / width, 0)
    held = g
    if given["left"] is not None:
        held = where(x < xp_end(xp, 0), 0, held)
    if given["right"] is not None:
        held = where(xp_end(xp, count - 1) < x, 0, held)
    add = registry["scatter_add"]
    found = add(full((count,), 0, g.dtype), low, held * (1 - part))
    found = add(found, low + 1, held * part)
    by_x = g * registry["conjugate"](slope)
    return real_for(by_x, x), None, real_for(found, fp)


def xp_end(xp: Node, at: int) -> Node:
    """The first or the last sample point."""
    size = xp.dtype.itemsize
    return _ir.view(xp, (), (), at * size, at != 0)


def real_for(g: Node, x: Node) -> Node:
    """A cotangent in the dtype of the input, whose kind may be real."""
    g = registry["real"](g) if g.dtype.kind == "c" and x.dtype.kind != "c" else g
    return _ir.cast(g, x.dtype) if is_inexact(x.dtype) else g


def sliding(a: Node, v: Node, mode: str, compute: Any) -> Result:
    """The result of a correlation of vectors."""
    op = compute.__name__
    require(a.ndim <= 1 and v.ndim <= 1, ShapeError, op, f"{a.shape}, {v.shape}: object too deep")
    require(mode in ("full", "same", "valid"), OptionError, op, f"mode {mode!r} is unknown")
    require(a.size > 0 and v.size > 0, ShapeError, op, "arrays cannot be empty")
    long, short = max(a.size, v.size), min(a.size, v.size)
    extent = {"full": long + short - 1, "same": long, "valid": long - short + 1}[mode]
    return Result((extent,), np.result_type(a.dtype, v.dtype))


@host(np.convolve)
def convolve(a: Node, v: Node, mode: str = "full") -> Result:
    """Discrete linear convolution of two vectors; as `numpy.convolve`."""
    return sliding(a, v, mode, np.convolve)


@host(np.correlate)
def correlate(a: Node, v: Node, mode: str = "valid") -> Result:
    """Cross-correlation of two vectors; as `numpy.correlate`."""
    return sliding(a, v, mode, np.correlate)


def whole_result(g: Node, a: int, v: int, mode: str, turned: bool) -> Node:
    """The cotangent of the full result, of which the mode takes a part."""
    long, short = max(a, v), min(a, v)
    first = {"full": 0, "same": short - 1 - short // 2, "valid": short - 1}[mode]
    total = long + short - 1
    if turned and v > a:  # NumPy swaps the vectors, and turns the result round
        first = total - first - g.shape[0]
    return registry["pad"](g, (first, total - first - g.shape[0]))


@convolve.vjp
def _(g: Node, y: Node, a: Node, v: Node) -> Any:
    at = whole_result(g, a.size, v.size, arguments(y)["mode"], False)
    return tuple(
        registry["reshape"](real_for(correlate(at, other, "valid"), x), x.shape)
        for x, other in ((a, v), (v, a))
    )


@correlate.vjp
def _(g: Node, y: Node, a: Node, v: Node) -> Any:
    at = whole_result(g, a.size, v.size, arguments(y)["mode"], True)
    other = registry["conjugate"](registry["flip"](registry["ravel"](v)))
    by_v = registry["conjugate"](registry["flip"](correlate(at, a, "valid")))
    by_a = correlate(at, other, "valid")
    return tuple(
        registry["reshape"](real_for(found, x), x.shape) for found, x in ((by_a, a), (by_v, v))
    )


@host(np.digitize)
def digitize(x: Node, bins: Node, right: bool = False) -> Result | None:
    """Indices of the bins to which values belong; as `numpy.digitize`."""
    require(bins.ndim == 1, ShapeError, "digitize", f"bins must be a vector, got {bins.shape}")
    require(x.dtype.kind != "c", DTypeError, "digitize", "x may not be complex")
    return like(x, INTP)


@host(np.lexsort)
def lexsort(keys: Sequence[Node], axis: int = -1) -> Result | None:
    """Indices that sort by several keys, the last one first; as `numpy.lexsort`."""
    require(len(keys) > 0, DTypeError, "lexsort", "need sequence of keys with len > 0 in lexsort")
    shapes = {key.shape for key in keys}
    require(
        len(shapes) == 1, ShapeError, "lexsort", f"all keys need to be the same shape: {shapes}"
    )
    if not keys[0].ndim:
        return None
    normalize_axis(axis, keys[0].ndim, "lexsort")
    return like(keys[0], INTP)


def parted(a: Node, kth: Any, axis: int | None, dtype: Any, op: str) -> Result:
    """The result of a partition."""
    if axis is None:
        a = _ir.view(a, (a.size,), (a.dtype.itemsize,))
    extent = a.shape[normalize_axis(-1 if axis is None else axis, a.ndim, op)] if a.ndim else 1
    for k in np.atleast_1d(kth).tolist():
        if not -extent <= k < extent:
            fail(OptionError, op, f"kth(={k}) out of bounds ({extent})")
    return like(a, dtype)


@host(np.partition)
def partition(a: Node, kth: Any, axis: int | None = -1, kind: str = "introselect") -> Result | None:
    """Elements such that those before the k-th are not greater; as `numpy.partition`."""
    return parted(a, kth, axis, None, "partition")


@host(np.argpartition)
def argpartition(
    a: Node, kth: Any, axis: int | None = -1, kind: str = "introselect"
) -> Result | None:
    """The indices that `partition` would put elements at; as `numpy.argpartition`."""
    return parted(a, kth, axis, INTP, "argpartition") if a.ndim else None


def mergeable(shape: Shape, axis: Any, op: str) -> None:
    """Several axes are made one, which NumPy can not where another one is empty."""
    if isinstance(axis, tuple | list) and len(axis) > 1 and math.prod(shape) == 0:
        axes = normalize_axes(axis, len(shape), op)
        others = [n for i, n in enumerate(shape) if i not in axes]
        text = f"cannot merge the axes {axis} of shape {shape}, of which another is empty"
        require(0 not in others, ShapeError, op, text)


def middle(compute: Any) -> Callable[..., Any]:
    """A median over axes: what it is of an array of its rank, without them."""

    def rule(a: Node, axis: Any = None, *, keepdims: bool = False) -> Result:
        name = compute.__name__
        if compute is np.median:
            mergeable(a.shape, axis, name)
        return Result(without(a.shape, axis, keepdims, name), dtype_of(compute, a))

    rule.__name__ = compute.__name__
    rule.__doc__ = f"As `numpy.{compute.__name__}`."
    return rule


median = host(np.median)(middle(np.median))
nanmedian = host(np.nanmedian)(middle(np.nanmedian))


def to_ranks(a: Node, axis: Any, shares: Sequence[tuple[int, Node]]) -> Node:
    """The cotangent of `a` where elements of some ranks along axes get a share each."""
    axes = normalize_axes(axis, a.ndim, "median")
    rest = [i for i in range(a.ndim) if i not in axes]
    order = [*rest, *axes]
    lead = tuple(a.shape[i] for i in rest)
    rows = registry["reshape"](registry["transpose"](a, order), (*lead, -1))
    places = registry["argsort"](rows)
    found = zeros = full(rows.shape, 0, a.dtype)
    for rank, share in shares:
        at = registry["take"](places, _ir.scalar(rank, INTP), -1)
        at, share = registry["reshape"](at, (*lead, 1)), registry["reshape"](share, (*lead, 1))
        found = found + registry["put_along_axis"](zeros, at, share, -1)
    back = registry["reshape"](found, tuple(a.shape[i] for i in order))
    return registry["transpose"](back, [order.index(i) for i in range(a.ndim)])


def extent(a: Node, axis: Any) -> int:
    """How many elements lie along axes."""
    return math.prod(a.shape[i] for i in normalize_axes(axis, a.ndim, "median"))


@median.vjp
def _(g: Node, y: Node, a: Node) -> Node:
    # To the element in the middle, or half of it to each of the two.
    axis = arguments(y)["axis"]
    count = extent(a, axis)
    return to_ranks(a, axis, [((count - 1) // 2, g * 0.5), (count // 2, g * 0.5)])


def slots(value: Any) -> bool:
    """Whether a structure has Nodes in it."""
    return type(value) is Node or (isinstance(value, list | tuple) and any(map(slots, value)))


def ranked(compute: Any) -> Callable[..., Any]:
    """Quantiles over axes: those of `q` come first."""

    def rule(
        a: Node, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False
    ) -> Result:
        name = compute.__name__
        rest = without(a.shape, axis, keepdims, name)
        if type(q) is not Node and not slots(q):
            whole = 100 if "percent" in name else 1
            known = np.asarray(q, float)
            text = f"q must be in the range [0, {whole}], got {q}"
            require(bool(((known >= 0) & (known <= whole)).all()), OptionError, name, text)
        if name.startswith("nan"):
            if not a.size:  # NumPy leaves the quantiles' axes out
                return Result(rest, dtype_of(np.nanmean, a))
        else:
            mergeable(a.shape, axis, name)
        if not extent(a, axis):
            text = f"there are no elements: shape {a.shape}, axis {axis}"
            fail(ArrayIndexError, name, text)
        if type(q) is Node:
            return Result((*q.shape, *rest), dtype_of(compute, a, q, method=method))
        dtype = dtype_of(compute, a, q=frozen(q, []), method=method)
        return Result((*np.shape(q), *rest), dtype)

    rule.__name__ = compute.__name__
    rule.__doc__ = f"As `numpy.{compute.__name__}`."
    return rule


percentile = host(np.percentile)(ranked(np.percentile))
quantile = host(np.quantile)(ranked(np.quantile))


def quantile_rule(whole: float) -> Callable[..., Node]:
    """The gradient rule of quantiles: to the two elements between which they lie."""

    def rule(g: Node, y: Node, a: Node, *q: Node) -> Node:
        given = arguments(y)
        if q or given["method"] != "linear":
            raise GradientError("quantile: has a gradient for numbers q and method='linear' alone")
        wanted = np.asarray(given["q"], float) / whole
        count = extent(a, given["axis"])
        parts = registry["reshape"](g, (wanted.size, -1))
        shares: list[tuple[int, Node]] = []
        for i, each in enumerate(wanted.ravel() * (count - 1)):
            low = min(int(each), max(count - 2, 0))
            row = slice_axis(parts, 0, i, 1)
            high = min(low + 1, count - 1)
            shares += [(low, row * (1 - (each - low))), (high, row * (each - low))]
        return to_ranks(a, given["axis"], shares)

    return rule


percentile.vjp(quantile_rule(100))
quantile.vjp(quantile_rule(1))
# Their dtype is that of the elements where the first row is all NaN.
nanpercentile = host(np.nanpercentile, casts=True)(ranked(np.nanpercentile))
nanquantile = host(np.nanquantile, casts=True)(ranked(np.nanquantile))


def extreme(compute: Any) -> Callable[..., Any]:
    """The place of an extreme along an axis."""

    def rule(a: Node, axis: int | None = None, *, keepdims: bool = False) -> Result:
        name = compute.__name__
        if axis is not None and not a.ndim:
            normalize_axis(axis, 1, name)
            axis = None
        text = f"there are no elements: shape {a.shape}, axis {axis}"
        require(extent(a, axis) > 0, ShapeError, name, text)
        return Result(without(a.shape, axis, keepdims, name), INTP)

    rule.__name__ = compute.__name__
    rule.__doc__ = f"As `numpy.{compute.__name__}`."
    return rule


nanargmax = host(np.nanargmax)(extreme(np.nanargmax))
nanargmin = host(np.nanargmin)(extreme(np.nanargmin))


@host(np.i0)
def i0(x: Node) -> Result:
    """Modified Bessel function of the first kind and order 0; as `numpy.i0`."""
    require(x.dtype.kind != "c", DTypeError, "i0", "i0 not supported for complex values")
    return like(x, x.dtype if x.dtype.kind == "f" else FLOAT64)


@host(np.isin)
def isin(
    element: Node,
    test_elements: Node,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: str | None = None,
) -> Result:
    """Whether each element is among others; as `numpy.isin`."""
    require(kind in (None, "sort", "table"), OptionError, "isin", f"Invalid kind: '{kind}'.")
    return like(element, np.bool_)


@host(np.packbits)
def packbits(a: Node, axis: int | None = None, bitorder: str = "big") -> Result:
    """Bits packed into bytes; as `numpy.packbits`."""
    text = "Expected an input array of integer or boolean data type"
    require(a.dtype.kind in "biu", DTypeError, "packbits", text)
    require(bitorder in ("big", "little"), OptionError, "packbits", "'order' must be either")
    if axis is None:
        return Result((-(-a.size // 8),), BYTE)
    shape = a.shape or (1,)
    axis = normalize_axis(axis, len(shape), "packbits")
    return Result(tuple(-(-n // 8) if i == axis else n for i, n in enumerate(shape)), BYTE)


@host(np.unpackbits)
def unpackbits(
    a: Node, axis: int | None = None, count: int | None = None, bitorder: str = "big"
) -> Result:
    """Bits of bytes; as `numpy.unpackbits`."""
    text = "Expected an input array of unsigned byte data type"
    require(a.dtype == BYTE, DTypeError, "unpackbits", text)
    require(bitorder in ("big", "little"), OptionError, "unpackbits", "'order' must be either")
    extents = (a.size,) if axis is None else a.shape or (1,)
    axis = 0 if axis is None else normalize_axis(axis, len(extents), "unpackbits")
    bits = 8 * extents[axis]
    if count is not None:
        bits = count if count >= 0 else bits + count
        require(bits >= 0, OptionError, "unpackbits", f"-count larger than {8 * extents[axis]}")
    return Result(tuple(bits if i == axis else n for i, n in enumerate(extents)), BYTE)


@host(np.pad, "_padded")
def padded(
    array: Node,
    pad_width: tuple[tuple[int, int], ...],
    mode: str,
    *,
    stat_length: Any = None,
    end_values: Any = 0,
    reflect_type: str = "even",
) -> Result:
    """The array enlarged at its ends by what is made of its elements; as `numpy.pad`."""
    for axis, (n, width) in enumerate(zip(array.shape, pad_width, strict=True)):
        text = f"cannot extend shape {array.shape} along empty axis {axis} by mode {mode!r}"
        require(n > 0 or not any(width), ShapeError, "pad", text)
    shape = tuple(n + sum(width) for n, width in zip(array.shape, pad_width, strict=True))
    return Result(shape, array.dtype)


@host(np.choose)
def choose(a: Node, choices: Sequence[Node], mode: str = "raise") -> Result:
    """Elements of the choices that indices name; as `numpy.choose`."""
    require(a.dtype.kind in "biu", DTypeError, "choose", f"indices are integers, got {a.dtype}")
    require(mode in ("raise", "wrap", "clip"), OptionError, "choose", f"mode {mode!r} is unknown")
    shape = _ir.broadcast_shapes(a.shape, *[each.shape for each in choices])
    return Result(shape, np.result_type(*[each.dtype for each in choices]))


@host(np.unravel_index, outputs=lambda arguments: np.size(arguments["shape"]))
def unravel_index(indices: Node, shape: Any, order: str = "C") -> list[Result] | None:
    """Indices along each axis of flat indices; as `numpy.unravel_index`."""
    require(indices.dtype.kind in "iu", DTypeError, "unravel_index", "indices must be integers")
    extents = shape if isinstance(shape, tuple | list) else (shape,)
    return [like(indices, INTP) for _ in extents] or None


@host(np.ravel_multi_index)
def ravel_multi_index(
    multi_index: Sequence[Node], dims: Any, mode: Any = "raise", order: str = "C"
) -> Result | None:
    """Flat indices of indices along each axis; as `numpy.ravel_multi_index`."""
    if not multi_index or any(each.dtype.kind not in "iu" for each in multi_index):
        return None
    return Result(_ir.broadcast_shapes(*[each.shape for each in multi_index]), INTP)


@host(np.histogram, outputs=lambda arguments: 2)
def histogram(
    a: Node, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> list[Result] | None:
    """Counts of values in bins, and the bins' edges; as `numpy.histogram`."""
    if weights is not None or isinstance(bins, str) or a.dtype.kind in "bcV":
        return None
    kind = FLOAT64 if density else INTP
    if type(bins) is Node:
        fits = bins.ndim == 1 and bins.size > 1 and bins.dtype.kind in "iuf"
        return [Result((bins.size - 1,), kind), like(bins)] if fits else None
    if type(bins) is not int or bins < 1:
        return None
    return [Result((bins,), kind), Result((bins + 1,), dtype_of(edges, a))]


def edges(a: np.ndarray) -> np.ndarray:
    """The edges of equal bins, for their dtype."""
    return np.histogram(a, 1)[1]


@host(np.histogram_bin_edges)
def histogram_bin_edges(
    a: Node, bins: Any = 10, range: Any = None, weights: Any = None
) -> Result | None:
    """The edges of a histogram's bins; as `numpy.histogram_bin_edges`."""
    known = type(bins) is int and bins > 0 and a.dtype.kind in "iuf" and weights is None
    return Result((bins + 1,), dtype_of(edges, a)) if known else None
