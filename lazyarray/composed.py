"""NumPy's functions that are made of others: recorded, fused and differentiated as those are."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazyarray import lines
from lazyarray._handle import window
from lazyarray._record import ArrayBase
from lazyarray.dtypes import BOOL, canonical, is_inexact
from lazyarray.errors import OptionError, ShapeError, fail, require
from lazyarray.ops.define import normalize_axis

from .array import Array, asarray
from .functions import (
    broadcast_to,
    empty_like,
    expand_dims,
    flip,
    full,
    moveaxis,
    ones,
    where,
    zeros,
)
from .hosted import observe, unmarked
from .lift import LIFTED, RECALLS, stored, warned
from .observers import peek

__all__ = [
    "argsort",
    "corrcoef",
    "cov",
    "cross",
    "cumulative_prod",
    "cumulative_sum",
    "diagflat",
    "ediff1d",
    "einsum",
    "fix",
    "gradient",
    "iscomplex",
    "isneginf",
    "isposinf",
    "isreal",
    "nancumprod",
    "nancumsum",
    "polyval",
    "resize",
    "select",
    "sinc",
    "sort",
    "sort_complex",
    "trapezoid",
    "unwrap",
    "vander",
]

concatenate, diff, isnan, stack = (LIFTED[n] for n in ("concatenate", "diff", "isnan", "stack"))
FLOAT64 = np.dtype(np.float64)


def at(ndim: int, axis: int, part: Any) -> tuple[Any, ...]:
    """The index that takes `part` of one axis."""
    key: list[Any] = [slice(None)] * ndim
    key[axis] = part
    return tuple(key)


def result(found: Array, out: Any, name: str) -> Array:
    """`found`, written to `out` where there is one."""
    return found if out is None else stored(out, found, name)


# ---- calculus


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Array:
    """Return the integral along an axis by the trapezoidal rule; as `numpy.trapezoid`."""
    y = asarray(y)
    d = dx
    if x is not None:
        x = asarray(x)
        d = diff(x, axis=0 if x.ndim == 1 else axis)
        if x.ndim == 1:
            d = d.reshape([-1 if i == axis % y.ndim else 1 for i in range(y.ndim)])
    low, high = y[at(y.ndim, axis, slice(None, -1))], y[at(y.ndim, axis, slice(1, None))]
    return (d * (high + low) / 2.0).sum(axis)


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return central differences, one-sided ones at the ends; as `numpy.gradient`.

    Distances that are given as arrays are read at once.
    """
    f = asarray(f)
    named = range(f.ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    axes = [normalize_axis(each, f.ndim, "gradient") for each in named]
    require(len(set(axes)) == len(axes), ShapeError, "gradient", f"axis {axis} names an axis twice")
    require(edge_order <= 2, OptionError, "gradient", "'edge_order' greater than 2 not supported")
    given = [spacing(each) for each in varargs]
    if not given:
        given = [1.0] * len(axes)
    elif len(given) == 1 and not np.ndim(given[0]):
        given = given * len(axes)
    elif len(given) != len(axes):
        raise TypeError("gradient: invalid number of arguments")
    kind = f.dtype if is_inexact(f.dtype) else FLOAT64
    f = f.astype(FLOAT64) if f.dtype.kind in "iu" else f
    found = []
    for each, d in zip(axes, given, strict=True):
        extent = f.shape[each]
        if np.ndim(d):
            require(
                len(d) == extent,
                ShapeError,
                "gradient",
                "when 1d, distances must match the length of the corresponding dimension",
            )
            d = np.diff(d.astype(float) if d.dtype.kind in "iu" else d)
            d = d[0] if (d == d[0]).all() else d
        require(
            extent > edge_order,
            ShapeError,
            "gradient",
            "Shape of array too small to calculate a numerical gradient, at least "
            f"(edge_order + 1) elements are required, got shape {f.shape}",
        )
        found.append(slopes(f, d, each, edge_order, kind))
    return found[0] if len(axes) == 1 else tuple(found)


def spacing(value: Any) -> Any:
    """A distance as a number, or several as an array."""
    if isinstance(value, int | float | complex):
        return value
    read = peek(value)
    require(read.ndim < 2, ShapeError, "gradient", "distances must be either scalars or 1d")
    return read if read.ndim else read[()]


def slopes(f: Array, d: Any, axis: int, edge_order: int, kind: np.dtype) -> Array:
    """The differences along one axis."""

    def part(i: Any) -> Array:
        return f[at(f.ndim, axis, i)]

    even = not np.ndim(d)
    if even:
        inner = (part(slice(2, None)) - part(slice(None, -2))) / (2.0 * d)
    else:
        before, after = d[:-1], d[1:]
        shape = [-1 if i == axis else 1 for i in range(f.ndim)]
        weights = (
            -after / (before * (before + after)),
            (after - before) / (before * after),
            before / (after * (before + after)),
        )
        low, mid, high = (asarray(w.reshape(shape)) for w in weights)
        inner = low * part(slice(None, -2)) + mid * part(slice(1, -1)) + high * part(slice(2, None))
    if edge_order == 1:
        first = (part(1) - part(0)) / (d if even else d[0])
        last = (part(-1) - part(-2)) / (d if even else d[-1])
    else:
        a, b, c = (-1.5 / d, 2.0 / d, -0.5 / d) if even else ends(d[0], d[1])
        first = a * part(0) + b * part(1) + c * part(2)
        a, b, c = (0.5 / d, -2.0 / d, 1.5 / d) if even else ends(d[-2], d[-1], True)
        last = a * part(-3) + b * part(-2) + c * part(-1)
    pieces = [expand_dims(first, axis), inner, expand_dims(last, axis)]
    return concatenate([each.astype(kind) for each in pieces], axis)


def ends(one: Any, two: Any, last: bool = False) -> tuple[Any, Any, Any]:
    """Weights of the three values at an end."""
    if last:
        return (
            two / (one * (one + two)),
            -(two + one) / (one * two),
            (2.0 * two + one) / (two * (one + two)),
        )
    return (
        -(2.0 * one + two) / (one * (one + two)),
        (one + two) / (one * two),
        -one / (two * (one + two)),
    )


def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Array:
    """Return the cross product of vectors of 3 (or 2) elements; as `numpy.cross`."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = asarray(a), asarray(b)
    require(a.ndim > 0 and b.ndim > 0, ShapeError, "cross", "an array has zero dimension")
    a = moveaxis(a, normalize_axis(axisa, a.ndim, "cross"), -1)
    b = moveaxis(b, normalize_axis(axisb, b.ndim, "cross"), -1)
    have = a.shape[-1], b.shape[-1]
    if not set(have) <= {2, 3}:
        fail(ShapeError, "cross", f"vectors must have 2 or 3 elements, got {have[0]} and {have[1]}")
    if 2 in have:
        lines.warn(
            "Arrays of 2-dimensional vectors are deprecated. Use arrays of 3-dimensional vectors "
            "instead. (deprecated in NumPy 2.0)",
            DeprecationWarning,
        )
    dtype = canonical(np.promote_types(a.dtype, b.dtype), "cross")
    a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    a0, a1, a2 = (a[..., min(i, have[0] - 1)] for i in range(3))
    b0, b1, b2 = (b[..., min(i, have[1] - 1)] for i in range(3))
    last = a0 * b1 - a1 * b0
    if have == (2, 2):
        return unmarked(last)
    if have[0] == 2:
        found = [a1 * b2, -(a0 * b2), last]
    elif have[1] == 2:
        found = [-(a2 * b1), a2 * b0, last]
    else:
        found = [a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, last]
    return moveaxis(stack(found, -1), -1, normalize_axis(axisc, last.ndim + 1, "cross"))


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Array:
    """Return the differences of neighbours in the flattened array; as `numpy.ediff1d`."""
    ary = asarray(ary).ravel()
    if ary.dtype.kind == "b":
        raise TypeError("ediff1d: boolean subtract is not supported, use diff")
    parts = [ary[1:] - ary[:-1]]
    for name, extra in (("to_begin", to_begin), ("to_end", to_end)):
        if extra is None:
            continue
        extra = asarray(extra)
        if not np.can_cast(extra.dtype, ary.dtype, "same_kind"):
            raise TypeError(
                f"dtype of `{name}` must be compatible with input `ary` under the `same_kind` rule."
            )
        extra = extra.ravel().astype(ary.dtype)
        parts.insert(0 if name == "to_begin" else len(parts), extra)
    return concatenate(parts) if len(parts) > 1 else parts[0]


def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * math.pi) -> Array:
    """Return the phase without jumps of more than half a period; as `numpy.unwrap`."""
    p = asarray(p)
    dd = diff(p, axis=axis)
    discont = period / 2 if discont is None else discont
    dtype = canonical(np.result_type(dd.dtype, period), "unwrap")
    high, ambiguous = period / 2, True
    if dtype.kind in "iu":
        high, rest = divmod(period, 2)
        ambiguous = rest == 0
    ddmod = (dd + high) % period - high
    if ambiguous:
        ddmod = where((ddmod == -high) & (dd > 0), high, ddmod)
    correct = where(abs(dd) < discont, 0, ddmod - dd)
    key = at(p.ndim, axis, slice(1, None))
    first = p[at(p.ndim, axis, slice(0, 1))].astype(dtype)
    rest = (p[key] + correct.cumsum(axis)).astype(dtype)
    return concatenate([first, rest], axis)


# ---- statistics


def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Array:
    """Return the covariance matrix of variables in rows (or columns); as `numpy.cov`.

    Weights are read at once.
    """
    m = asarray(m)
    require(ddof is None or ddof == int(ddof), OptionError, "cov", "ddof must be integer")
    require(m.ndim < 3, ShapeError, "cov", "m has more than 2 dimensions")
    y = None if y is None else asarray(y)
    require(y is None or y.ndim < 3, ShapeError, "cov", "y has more than 2 dimensions")
    if dtype is None:
        dtype = np.result_type(FLOAT64, *[x.dtype for x in (m, y) if x is not None])
    x = m.astype(dtype)
    x = x.reshape(1, -1) if x.ndim < 2 else x if rowvar else x.T
    if not x.shape[0]:
        return zeros((0, 0))
    if y is not None:
        y = y.astype(dtype)
        y = y.reshape(1, -1) if y.ndim < 2 else y
        x = concatenate([x, y if rowvar or y.shape[0] == 1 else y.T], 0)
    ddof = (0 if bias else 1) if ddof is None else ddof
    w, fact = weights(x.shape[1], ddof, fweights, aweights)
    if fact <= 0:
        lines.warn("Degrees of freedom <= 0 for slice")
        fact = 0.0
    if w is None:
        x = x - x.mean(1, keepdims=True)
        other = x.T
    else:
        w = asarray(w)
        x = x - LIFTED["average"](x, 1, w)[:, None]
        other = (x * w).T
    scale = LIFTED["divide"](1.0, asarray(fact))
    found = LIFTED["matmul"](x, other.conj()) * scale.astype(x.dtype)
    return unmarked(LIFTED["positive"](found.squeeze())) if found.size == 1 else found


def weights(count: int, ddof: int, fweights: Any, aweights: Any) -> tuple[Any, Any]:
    """The weight of each sample, and what sums are divided by."""
    w = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is None:
            continue
        read = np.array(peek(given), float)
        if name == "fweights" and not np.all(read == np.around(read)):
            raise TypeError("cov: fweights must be integer")
        if read.ndim > 1:
            raise RuntimeError(f"cov: cannot handle multidimensional {name}")
        if read.shape[0] != count:
            raise RuntimeError(f"cov: incompatible numbers of samples and {name}")
        require(not (read < 0).any(), OptionError, "cov", f"{name} cannot be negative")
        w = read if w is None else w * read
        if name == "aweights":
            aweights = read
    if w is None:
        return None, count - ddof
    total = w.sum()
    if ddof == 0:
        return w, total
    return w, total - ddof if aweights is None else total - ddof * sum(w * aweights) / total


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Array:
    """Return Pearson's correlation coefficients; as `numpy.corrcoef`."""
    c = cov(x, y, rowvar, dtype=dtype)
    if not c.ndim:
        return c / c  # a scalar, as with NumPy
    deviation = LIFTED["sqrt"](LIFTED["diag"](c).real)
    c = c / deviation[:, None] / deviation[None, :]
    if c.dtype.kind != "c":
        return LIFTED["clip"](c, -1, 1)
    c = c.copy()
    c.real[...] = LIFTED["clip"](c.real, -1, 1)
    c.imag[...] = LIFTED["clip"](c.imag, -1, 1)
    return c


def filled(a: Any, value: int) -> Array:
    """The array with a number for NaN."""
    a = asarray(a)
    return where(isnan(a), value, a) if is_inexact(a.dtype) else a


def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Array:
    """Return running sums, NaN counting as 0; as `numpy.nancumsum`."""
    return result(LIFTED["cumsum"](filled(a, 0), axis, dtype), out, "nancumsum")


def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Array:
    """Return running products, NaN counting as 1; as `numpy.nancumprod`."""
    return result(LIFTED["cumprod"](filled(a, 1), axis, dtype), out, "nancumprod")


def cumulative(
    name: str, x: Any, axis: int | None, dtype: Any, out: Any, include_initial: bool
) -> Array:
    """A scan as the array API has it."""
    x = asarray(x)
    op = f"cumulative_{'sum' if name == 'cumsum' else 'prod'}"
    x = x if x.ndim else x.reshape(1)
    if axis is None:
        text = f"for an array of shape {x.shape} the axis is required"
        require(x.ndim == 1, ShapeError, op, text)
        axis = 0
    found = LIFTED[name](x, axis, dtype)
    if include_initial:
        shape = tuple(1 if i == axis % x.ndim else n for i, n in enumerate(found.shape))
        first = full(shape, 0 if name == "cumsum" else 1, found.dtype)
        found = concatenate([first, found], axis)
    return result(found, out, op)


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, out: Any = None,
    include_initial: bool = False,
) -> Array:  # fmt: skip
    """Return running sums along an axis; as `numpy.cumulative_sum`."""
    return cumulative("cumsum", x, axis, dtype, out, include_initial)


def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, out: Any = None,
    include_initial: bool = False,
) -> Array:  # fmt: skip
    """Return running products along an axis; as `numpy.cumulative_prod`."""
    return cumulative("cumprod", x, axis, dtype, out, include_initial)


def einsum(*operands: Any, out: Any = None, optimize: Any = False, **options: Any) -> Any:
    """Return sums of products over named axes; as `numpy.einsum`."""
    if not operands or (len(operands) == 1 and not isinstance(operands[0], str)):
        raise ValueError(
            "einsum: must specify the einstein sum subscripts and at least one operand"
        )
    if options:
        return observe(np.einsum, operands, {**options, "out": out, "optimize": optimize})
    if not isinstance(operands[0], str):
        operands = named_axes(operands)
    if len(operands) == 2 and out is None and isinstance(operands[1], Array):
        view = axes_chosen(operands[0], operands[1])
        if view is not None:
            return view
    return result(LIFTED["einsum"](*operands), out, "einsum")


def axes_chosen(text: str, a: Array) -> Array | None:
    """The view that subscripts name which sum nothing: axes in another order, diagonals."""
    names, arrow, wanted = text.replace(" ", "").partition("->")
    if not names.isalpha() or len(names) != a.ndim or not a.ndim:
        return None
    if not arrow:
        wanted = "".join(sorted(each for each in names if names.count(each) == 1))
    if set(wanted) != set(names) or len(set(wanted)) != len(wanted):
        return None
    along = [[i for i, each in enumerate(names) if each == name] for name in wanted]
    if any(len({a.shape[i] for i in axes}) > 1 for axes in along):
        return None
    shape = tuple([a.shape[axes[0]] for axes in along])
    return window(a, shape, tuple([sum(a.strides[i] for i in axes) for axes in along]), 0)


def named_axes(operands: Sequence[Any]) -> tuple[Any, ...]:
    """Operands that are followed by lists of axes' numbers, with one text of letters instead."""

    def letters(axes: Any) -> str:
        return "".join("..." if i is Ellipsis else chr(i + (97 if i < 26 else 39)) for i in axes)

    arrays, lists = operands[0 : len(operands) // 2 * 2 : 2], operands[1::2]
    text = ",".join(map(letters, lists))
    return (text + ("->" + letters(operands[-1]) if len(operands) % 2 else ""), *arrays)


# ---- element by element


def sinc(x: Any) -> Array:
    """Return ``sin(pi*x) / (pi*x)``, 1 at 0; as `numpy.sinc`."""
    x = math.pi * (x if isinstance(x, Array) else asarray(x))
    eps = float(np.finfo(x.dtype).eps) if x.dtype.kind == "f" else 1e-20
    y = where(x.astype(BOOL), x, eps)
    return LIFTED["sin"](y) / y


def fix(x: Any, out: Any = None) -> Array:
    """Return the elements without what is behind the point; as `numpy.fix`."""
    found = LIFTED["trunc"](x)
    return result(found, out, "fix")


def is_infinite(x: Any, negative: bool, out: Any, name: str) -> Array:
    """Where elements are infinite with one sign."""
    x = x if isinstance(x, Array) else asarray(x)
    if x.dtype.kind == "c":
        raise TypeError(f"{name}: not supported for {x.dtype}, because it would be ambiguous")
    sign = LIFTED["signbit"](x) if x.dtype.kind == "f" else x < 0
    return result(LIFTED["isinf"](x) & (sign if negative else ~sign), out, name)


def isposinf(x: Any, out: Any = None) -> Array:
    """Return where elements are positive infinity; as `numpy.isposinf`."""
    return is_infinite(x, False, out, "isposinf")


def isneginf(x: Any, out: Any = None) -> Array:
    """Return where elements are negative infinity; as `numpy.isneginf`."""
    return is_infinite(x, True, out, "isneginf")


def iscomplex(x: Any) -> Array:
    """Return where elements have an imaginary part; as `numpy.iscomplex`."""
    x = x if isinstance(x, Array) else asarray(x)
    return LIFTED["imag"](x) != 0 if x.dtype.kind == "c" or not x.ndim else zeros(x.shape, bool)


def isreal(x: Any) -> Array:
    """Return where elements have no imaginary part; as `numpy.isreal`."""
    x = x if isinstance(x, Array) else asarray(x)
    return LIFTED["imag"](x) == 0 if x.dtype.kind == "c" or not x.ndim else ones(x.shape, bool)


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Array:
    """Return elements of the first choice whose condition holds; as `numpy.select`."""
    if len(condlist) != len(choicelist):
        raise ValueError("select: list of cases must be same length as list of conditions")
    if not len(condlist):
        raise ValueError("select: select with an empty condition list is not possible")
    plain = (int, float, complex)
    values = [x if type(x) in plain else asarray(x) for x in [*choicelist, default]]
    kinds = [x if type(x) in plain else x.dtype for x in values]
    dtype = canonical(np.result_type(*kinds), "select")
    conditions = [x if isinstance(x, ArrayBase) else asarray(x) for x in condlist]
    for i, condition in enumerate(conditions):
        if condition.dtype != BOOL:
            raise TypeError(f"select: invalid entry {i} in condlist: should be boolean ndarray")
    shapes = [x.shape for x in (*conditions, *values) if not isinstance(x, plain)]
    shape = np.broadcast_shapes(*shapes)
    found = full(shape, values[-1], dtype) if type(default) in plain else values[-1].astype(dtype)
    for condition, value in zip(reversed(conditions), reversed(values[:-1]), strict=True):
        value = asarray(value, dtype) if type(value) in plain else value.astype(dtype, copy=False)
        found = where(condition, value, found)
    return found if found.shape == shape else broadcast_to(found, shape).copy()


# ---- shapes


def resize(a: Any, new_shape: Any) -> Array:
    """Return the elements, repeated as needed, in another shape; as `numpy.resize`."""
    shape = tuple(new_shape) if np.iterable(new_shape) else (new_shape,)
    a = asarray(a).ravel()
    size = math.prod(shape)
    if any(n < 0 for n in shape):
        raise ValueError("resize: all elements of `new_shape` must be non-negative")
    if not a.size or not size:
        return zeros(shape, a.dtype)
    if size <= a.size:
        return a[:size].copy().reshape(shape)
    found, whole = empty_like(a, shape=size), size // a.size
    found[: whole * a.size].reshape(whole, a.size)[...] = a
    if rest := size % a.size:
        found[size - rest :] = a[:rest]
    return found.reshape(shape)


def diagflat(v: Any, k: int = 0) -> Array:
    """Return a matrix with the flattened input on a diagonal; as `numpy.diagflat`."""
    return LIFTED["diag"](asarray(v).ravel(), operator.index(k))


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Array:
    """Return the powers of a vector in columns; as `numpy.vander`."""
    x = asarray(x)
    if x.ndim != 1:
        raise ValueError("vander: x must be a one-dimensional array or sequence.")
    count = len(x) if N is None else N
    x = x.astype(canonical(np.promote_types(x.dtype, int), "vander"))
    if not count:
        return zeros((len(x), 0), x.dtype)
    powers = [full(x.shape, 1, x.dtype)]
    while len(powers) < count:
        powers.append(powers[-1] * x if len(powers) > 1 else x)
    return stack(powers if increasing else powers[::-1], 1)


def polyval(p: Any, x: Any) -> Any:
    """Return a polynomial's values, highest power first; as `numpy.polyval`."""
    p = asarray(p)
    if isinstance(x, np.poly1d):
        found: Any = 0
        for each in peek(p):
            found = found * x + each
        return found
    x = x if isinstance(x, Array) else asarray(x)
    found = full(x.shape, 0, x.dtype)
    for i in range(len(p)):
        found = found * x + p[i]
    return found


def sort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *,
    stable: bool | None = None, descending: bool = False,
) -> Array:  # fmt: skip
    """Return the elements sorted along an axis, stably; as `numpy.sort`.

    With `descending` the greatest come first.
    """
    if order is not None:
        raise ValueError("sort: Cannot specify order when the array has no fields.")
    if kind is stable is None and not descending:
        found = RECALLS["sort"]((a, axis))
        if found is not NotImplemented:
            return found
    found = LIFTED["sort"](a, axis, kind, stable)
    return flip(found, -1 if axis is None else axis) if descending else found


def argsort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *,
    stable: bool | None = None, descending: bool = False,
) -> Array:  # fmt: skip
    """Return the indices that sort an array along an axis, stably; as `numpy.argsort`.

    With `descending` the greatest come first, equal ones in their order.
    """
    if order is not None:
        raise ValueError("argsort: Cannot specify order when the array has no fields.")
    if not descending:
        return LIFTED["argsort"](a, axis, kind, stable)
    a = asarray(a)
    a, axis = (a.ravel(), 0) if axis is None else (a, axis)
    turned = LIFTED["argsort"](flip(a, axis), axis, kind, stable)
    return a.shape[axis] - 1 - flip(turned, axis)


def sort_complex(a: Any) -> Array:
    """Return the elements sorted, as complex numbers; as `numpy.sort_complex`."""
    found = LIFTED["sort"](asarray(a))
    if found.dtype.kind == "c":
        return found
    return found.astype(np.complex64 if found.dtype.char in "bhBH" else np.complex128)


# What is recorded for these warns as NumPy's functions do.
for _name in (
    "corrcoef", "cov", "cross", "cumulative_prod", "cumulative_sum", "ediff1d", "gradient",
    "nancumprod", "nancumsum", "polyval", "trapezoid", "unwrap", "vander", "sinc",
):  # fmt: skip
    globals()[_name] = warned(globals()[_name])
