"""Functions on arrays that are more than an op: creation, and what gives views."""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _handle, _ir, _record, lines
from lazyarray._handle import from_node, seen, shadow
from lazyarray._ir import registry
from lazyarray._record import ArrayBase
from lazyarray.dtypes import canonical
from lazyarray.errors import DTypeError, ShapeError, fail, require, retell
from lazyarray.ops import elementwise, shaping

from .array import LARGE_MASK, Array, asarray, node
from .device import placed, placed_as
from .hosted import observe
from .lift import LIFTED, warned
from .observers import nonzero

__all__ = [
    "arange",
    "array_split",
    "astype",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_to",
    "copy",
    "diagonal",
    "dsplit",
    "empty",
    "empty_like",
    "expand_dims",
    "eye",
    "flip",
    "fliplr",
    "flipud",
    "full",
    "full_like",
    "hsplit",
    "identity",
    "imag",
    "linspace",
    "matrix_transpose",
    "meshgrid",
    "moveaxis",
    "ndim",
    "ones",
    "ones_like",
    "permute_dims",
    "ravel",
    "real",
    "real_if_close",
    "reshape",
    "rollaxis",
    "rot90",
    "shape",
    "size",
    "split",
    "squeeze",
    "swapaxes",
    "transpose",
    "vsplit",
    "where",
    "zeros",
    "zeros_like",
]

# ---- creation


def alike(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function whose calls like one before are recorded without running it."""

    def rule(*args: Any, **options: Any) -> Array:
        return function(*map(unwrapped, args), **options)

    nowhere = tuple({"device", "like"} & inspect.signature(function).parameters.keys())
    recall = _record.Recalled(rule, True, pointwise=True, scalars=False, elsewhere=nowhere)
    return functools.wraps(function)(_record.Remembered(warned(function), recall))


def unwrapped(value: Any) -> Any:
    """An array for a Node."""
    return from_node(value, False) if type(value) is _ir.Node else value


def as_shape(shape: Any, op: str) -> tuple[int, ...]:
    """A shape from an int or a sequence of ints."""
    parts = tuple(shape) if np.iterable(shape) else (shape,)
    try:
        found = tuple(operator.index(part) for part in parts)
    except TypeError:
        raise TypeError(f"{op}: shape must be an int or ints, got {shape!r}") from None
    if any(extent < 0 for extent in found):
        fail(ShapeError, op, f"negative dimensions are not allowed: {found}")
    return found


@alike
@placed
def zeros(
    shape: Any, dtype: Any = np.float64, order: str = "C", *, device: Any = None, like: Any = None
) -> Array:
    """Return an array of zeros (float64 unless `dtype` says otherwise)."""
    return filled("zeros", shape, 0, np.float64 if dtype is None else dtype, device, order)


@alike
@placed
def ones(
    shape: Any, dtype: Any = np.float64, order: str = "C", *, device: Any = None, like: Any = None
) -> Array:
    """Return an array of ones (float64 unless `dtype` says otherwise)."""
    return filled("ones", shape, 1, np.float64 if dtype is None else dtype, device, order)


@alike
@placed
def full(
    shape: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "C",
    *,
    device: Any = None,
    like: Any = None,
) -> Array:
    """Return an array of one number, or of `fill_value` broadcast to `shape`."""
    return filled("full", shape, fill_value, dtype, device, order)


def filled(
    op: str, shape: Any, fill_value: Any, dtype: Any, device: Any = None, order: Any = "C"
) -> Array:
    """`full`, whose errors speak of `op`."""
    extents = as_shape(shape, op)
    if isinstance(fill_value, int | float | complex | np.generic) and not isinstance(
        fill_value, ArrayBase
    ):
        wanted = canonical(np.asarray(fill_value).dtype if dtype is None else dtype, op)
        if wanted.kind not in "cb" and isinstance(fill_value, complex | np.complexfloating):
            text = "Casting complex values to real discards the imaginary part"
            lines.warn(text, np.exceptions.ComplexWarning)
            fill_value = fill_value.real
        columns = order != "C" and in_columns(order, op)
        extents = extents[::-1] if columns else extents
        if wanted.kind in "iu" and isinstance(fill_value, float) and not abs(fill_value) < 2**63:
            made = _ir.cast(shaping.full(extents, fill_value, np.dtype(float)), wanted)  # and warns
        else:
            made = shaping.full(extents, fill_value, wanted)
        return from_node(made, False).T if columns else from_node(made, False)
    value = node(fill_value)
    if dtype is not None:
        value = _ir.cast(value, canonical(dtype, op))
    found = from_node(shaping.broadcast_to(value, extents), False)
    return found.copy("F") if in_columns(order, op) else found


def in_columns(order: Any, op: str) -> bool:
    """Whether an array that is made from nothing is to lie in Fortran order."""
    if order not in ("C", "F", None):
        raise ValueError(f"{op}: only 'C' or 'F' order is permitted, got {order!r}")
    return bool(order == "F")


@alike
@placed
def empty(
    shape: Any, dtype: Any = np.float64, order: str = "C", *, device: Any = None, like: Any = None
) -> Array:
    """Return an array whose elements are not set."""
    extents, wanted = as_shape(shape, "empty"), canonical(dtype, "empty")
    if in_columns(order, "empty"):
        return from_node(shaping.empty(extents[::-1], wanted), False).T
    return from_node(shaping.empty(extents, wanted), False)


def like_it(
    op: str,
    make: Callable[[tuple[int, ...], np.dtype], Array],
    a: Any,
    dtype: Any,
    order: str,
    shape: Any,
) -> Array:
    """What `make` gives for the shape, dtype and memory order of an array like `a`."""
    a = asarray(a)
    wanted = a.dtype if dtype is None else canonical(dtype, op)
    extents = a.shape if shape is None else as_shape(shape, op)
    axes = None
    if order == "K" and len(extents) == a.ndim:
        flags = shadow(a).flags
        axes = None if flags.c_contiguous else _handle.memory_order(shadow(a))
    elif order == "F" or (order == "A" and not shadow(a).flags.c_contiguous):
        flags = shadow(a).flags
        axes = tuple(reversed(range(len(extents)))) if order == "F" or flags.f_contiguous else None
    elif order not in ("C", "A", "K"):
        raise ValueError(f"order must be one of 'C', 'F', 'A', or 'K' (got {order!r})")
    if axes is None:
        return make(extents, wanted)
    return make(tuple([extents[i] for i in axes]), wanted).transpose(np.argsort(axes))


@placed_as
@alike
def zeros_like(
    a: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Array:
    """Return zeros of the shape, dtype and memory order of `a`."""
    return like_it("zeros_like", lambda s, d: filled("zeros_like", s, 0, d), a, dtype, order, shape)


@placed_as
@alike
def ones_like(
    a: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Array:
    """Return ones of the shape, dtype and memory order of `a`."""
    return like_it("ones_like", lambda s, d: filled("ones_like", s, 1, d), a, dtype, order, shape)


@placed_as
@alike
def empty_like(
    prototype: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Array:
    """Return an array that is not set, of the shape, dtype and memory order of another."""
    return like_it("empty_like", empty, prototype, dtype, order, shape)


@placed_as
@alike
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Array:
    """Return one number in the shape, dtype and memory order of `a`."""
    if isinstance(fill_value, int | float | complex | np.generic):
        return like_it(
            "full_like", lambda s, d: filled("full_like", s, fill_value, d), a, dtype, order, shape
        )
    found = like_it("full_like", empty, a, dtype, order, shape)
    found[...] = fill_value
    return found


@alike
@placed
def arange(
    start: Any = None,
    stop: Any = None,
    step: Any = None,
    dtype: Any = None,
    *,
    device: Any = None,
) -> Array:
    """Return evenly spaced numbers in the half-open interval [start, stop).

    Raises
    ------
    ZeroDivisionError
        When `step` is zero.
    """
    if stop is None:
        require(start is not None, DTypeError, "arange", "needs a stop")
        start, stop = None, start
    start, step = 0 if start is None else start, 1 if step is None else step
    start, stop, step = (
        x.item() if isinstance(x, ArrayBase | np.generic) else x for x in (start, stop, step)
    )
    wanted = canonical(
        np.result_type(*map(np.asarray, (start, stop, step))) if dtype is None else dtype, "arange"
    )
    count = max(0, math.ceil((stop - start) / step))
    what = f"of bools has at most 2 elements, not {count}"
    require(wanted.kind != "b" or count <= 2, DTypeError, "arange", what)
    return from_node(elementwise.arange_node(start, step, count, wanted), False)


@alike
@placed
def linspace(
    start: float,
    stop: float,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    *,
    device: Any = None,
) -> Array:
    """Return `num` evenly spaced numbers from `start` to `stop` (float64)."""
    if np.ndim(start) or np.ndim(stop):
        return observe(np.linspace, (start, stop, num, endpoint), {"dtype": dtype})
    start, stop = (x.item() if isinstance(x, ArrayBase) else x for x in (start, stop))
    if num < 0:
        raise ValueError(f"linspace: number of samples, {num}, must be non-negative")
    div = num - 1 if endpoint else num
    delta = stop - start
    step = delta / div if div > 0 else math.nan
    out = from_node(_ir.cast(elementwise.iota_node((num,)), canonical(np.float64)), False)
    if div > 0 and step != 0:
        out = out * step
    elif div > 0:
        out = out / div * delta
    else:
        out = out * delta
    out = out + start
    if endpoint and num > 1:
        out[-1] = stop
    if dtype is None:
        return out
    wanted = canonical(dtype, "linspace")
    return LIFTED["floor"](out).astype(wanted) if wanted.kind in "iu" else out.astype(wanted)


@alike
@placed
def eye(
    N: int, M: int | None = None, k: int = 0, dtype: Any = np.float64, *, device: Any = None
) -> Array:
    """Return ones on diagonal `k`, zeros elsewhere; shape (N, M)."""
    rows, columns = operator.index(N), operator.index(N if M is None else M)
    make = shaping.ones_on_diagonal if rows * columns >= LARGE_MASK else shaping.eye
    return from_node(make(rows, columns, operator.index(k), canonical(dtype, "eye")), False)


def identity(n: int, dtype: Any = np.float64) -> Array:
    """Return the identity matrix, shape (n, n)."""
    return eye(n, dtype=dtype)


def meshgrid(
    *xi: Any, indexing: str = "xy", sparse: bool = False, copy: bool = True
) -> tuple[Array, ...]:
    """Return coordinate arrays from coordinate vectors; as `numpy.meshgrid`."""
    grids = []
    vectors = [asarray(x).reshape(-1) for x in xi]
    for axis, x in enumerate(vectors):
        place = [1] * len(vectors)
        place[axis] = x.size
        grids.append(x.reshape(place))
    if indexing == "xy" and len(grids) > 1:
        grids = [g.swapaxes(0, 1) for g in grids]
    if not sparse:
        grids = list(broadcast_arrays(*grids))
    return tuple(g.copy() for g in grids) if copy else tuple(grids)


# ---- views


NUMBERS = (bool, int, float, complex)


def as_it_is(a: Any) -> Array:
    """Arrays and scalars themselves, what else is array-like as an array."""
    return a if isinstance(a, Array) else asarray(a)


def reshape(a: Any, shape: Any, order: str = "C", *, copy: bool | None = None) -> Array:
    """Return the elements in another shape: a view where NumPy gives one."""
    return as_it_is(a).reshape(shape, order=order, copy=copy)


def ravel(a: Any, order: str = "C") -> Array:
    """Return the elements in one axis: a view of contiguous data."""
    return asarray(a).ravel(order)


def on_shadow(function: Callable[..., np.ndarray]) -> Callable[..., Array]:
    """Lift a NumPy function that gives a view."""

    def view(a: Any, *args: Any, **options: Any) -> Array:
        a = as_it_is(a)
        own = shadow(a)
        try:
            found = function(own, *args, **options)
        except ValueError as error:
            retell(error, function.__name__, a.shape)
        return a if found is own else seen(a, found)

    made: Any = functools.wraps(function)(_record.Viewed(function, view))
    made.__doc__ = f"Return a view; as `numpy.{function.__name__}`."
    made.__module__ = "lazyarray"
    return made


transpose = permute_dims = on_shadow(np.transpose)
swapaxes = on_shadow(np.swapaxes)
moveaxis = on_shadow(np.moveaxis)
rollaxis = on_shadow(np.rollaxis)
expand_dims = on_shadow(np.expand_dims)
squeeze = on_shadow(np.squeeze)
flipud = on_shadow(np.flipud)
fliplr = on_shadow(np.fliplr)
rot90 = on_shadow(np.rot90)
diagonal = on_shadow(np.diagonal)
matrix_transpose = on_shadow(np.matrix_transpose)


def at_least(function: Callable[..., np.ndarray]) -> Callable[..., Any]:
    """One of the functions that give several arrays axes."""
    single = on_shadow(function)

    def views(*arys: Any) -> Any:
        found = tuple(single(each) for each in arys)
        return found[0] if len(arys) == 1 else found

    views.__name__ = views.__qualname__ = function.__name__
    views.__module__ = "lazyarray"
    views.__doc__ = f"Return views with enough axes; as `numpy.{function.__name__}`."
    return views


atleast_1d, atleast_2d, atleast_3d = map(at_least, (np.atleast_1d, np.atleast_2d, np.atleast_3d))


def flipped(m: Any, axis: Any = None) -> Array:
    """Return a view with the order of elements reversed along all axes, or those given."""
    m = asarray(m)
    if axis is None:
        return m[tuple([slice(None, None, -1)] * m.ndim)]
    try:
        return seen(m, np.flip(shadow(m), axis))
    except ValueError as error:
        retell(error, "flip", m.shape)


flip = functools.wraps(flipped)(_record.Viewed(np.flip, flipped))
flip.__name__ = flip.__qualname__ = "flip"


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Array:
    """Return a read-only view with another shape, in which elements repeat."""
    array = asarray(array)
    try:
        return seen(array, np.broadcast_to(shadow(array), shape))
    except ValueError as error:
        if "remapped" not in str(error):
            retell(error, "broadcast_to", array.shape)
        text = f"an array of shape {array.shape} does not fit shape {shape}"
        fail(
            ShapeError,
            "broadcast_to",
            text,
            "Extents must be equal or 1, counted from the last axis.",
        )


def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Array, ...]:
    """Return views of the arrays, broadcast against each other."""
    arrays = [asarray(a) for a in args]
    shape = _ir.broadcast_shapes(*[a.shape for a in arrays])
    return tuple(a if a.shape == shape else broadcast_to(a, shape) for a in arrays)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Return views of parts along an axis; as `numpy.array_split`."""
    return parted(np.array_split, ary, indices_or_sections, axis)


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Return views of parts along an axis; as `numpy.split`."""
    return parted(np.split, ary, indices_or_sections, axis)


def hsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """Return views of parts along the second axis, of a vector along its own."""
    return parted(np.hsplit, ary, indices_or_sections)


def vsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """Return views of parts along the first axis; as `numpy.vsplit`."""
    return parted(np.vsplit, ary, indices_or_sections)


def dsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """Return views of parts along the third axis; as `numpy.dsplit`."""
    return parted(np.dsplit, ary, indices_or_sections)


def parted(function: Any, ary: Any, cuts: Any, *axis: int) -> list[Array]:
    """Views of the parts that NumPy cuts; an array of indices is read."""
    ary = asarray(ary)
    if isinstance(cuts, ArrayBase):
        cuts = _handle.peek_numpy(cuts)
    try:
        return [seen(ary, part) for part in function(shadow(ary), cuts, *axis)]
    except ValueError as error:
        if "equal division" not in str(error):
            retell(error, function.__name__, ary.shape)
        text = f"{error}: {cuts} parts of shape {ary.shape}"
        fail(ShapeError, function.__name__, text, "Use array_split for parts that differ.")


def real(val: Any) -> Array:
    """Return the real part: a view of complex data, an array of others as it is."""
    return val.real if type(val) in NUMBERS else as_it_is(val).real


def imag(val: Any) -> Array:
    """Return the imaginary part: a view of complex data."""
    return val.imag if type(val) in NUMBERS else as_it_is(val).imag


def real_if_close(a: Any, tol: float = 100) -> Array:
    """Return the real part of complex data whose imaginary part is about zero: reads the elements.

    As `numpy.real_if_close`.
    """
    a = asarray(a)
    if a.dtype.kind != "c":
        return a
    if tol > 1:
        tol = float(np.finfo(a.dtype).eps) * tol
    close = np.all(np.absolute(_handle.peek_numpy(a).imag) < tol)
    return a.real if close else a


setattr(real_if_close, "runs", "waits")  # noqa: B010  (functions have no such attribute)


def copy(a: Any, order: str = "K", subok: bool = False) -> Array:
    """Return a copy."""
    return asarray(a).copy(order)


@placed
def astype(x: Any, dtype: Any, *, copy: bool = True, device: Any = None) -> Array:
    """Return the elements converted to `dtype`."""
    return asarray(x).astype(dtype, copy=copy)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """Return elements of `x` where `condition` holds and of `y` elsewhere.

    With one argument, as `nonzero`.
    """
    if x is None and y is None:
        return nonzero(condition)
    if x is None or y is None:
        raise ValueError("where: either both or neither of x and y should be given")
    result = _record.apply(registry["where"], condition, x, y)
    return result if result.ndim else from_node(_handle.to_node(result), False)


def shape(a: Any) -> tuple[int, ...]:
    """Return the shape."""
    return asarray(a).shape


def ndim(a: Any) -> int:
    """Return the number of axes."""
    return asarray(a).ndim


def size(a: Any) -> int:
    """Return the number of elements."""
    return asarray(a).size
