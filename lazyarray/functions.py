"""Functions on arrays that are more than an op: creation, and what gives views."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _handle, _ir, _record
from lazyarray._handle import from_node, seen, shadow
from lazyarray._ir import registry
from lazyarray._record import ArrayBase
from lazyarray.dtypes import canonical
from lazyarray.errors import ShapeError, fail
from lazyarray.ops import elementwise, shaping

from .array import Array, asarray, node
from .device import as_device
from .lift import LIFTED
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
    "divmod",
    "empty",
    "empty_like",
    "expand_dims",
    "eye",
    "flip",
    "fliplr",
    "flipud",
    "full",
    "full_like",
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
    "reshape",
    "rollaxis",
    "rot90",
    "shape",
    "size",
    "split",
    "squeeze",
    "swapaxes",
    "transpose",
    "where",
    "zeros",
    "zeros_like",
]

# ---- creation


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


def zeros(shape: Any, dtype: Any = np.float64, *, device: Any = None) -> Array:
    """Return an array of zeros (float64 unless `dtype` says otherwise)."""
    return filled("zeros", shape, 0, dtype, device)


def ones(shape: Any, dtype: Any = np.float64, *, device: Any = None) -> Array:
    """Return an array of ones (float64 unless `dtype` says otherwise)."""
    return filled("ones", shape, 1, dtype, device)


def full(shape: Any, fill_value: Any, dtype: Any = None, *, device: Any = None) -> Array:
    """Return an array of one number, or of `fill_value` broadcast to `shape`."""
    return filled("full", shape, fill_value, dtype, device)


def filled(op: str, shape: Any, fill_value: Any, dtype: Any, device: Any = None) -> Array:
    """`full`, whose errors speak of `op`."""
    as_device(device)
    extents = as_shape(shape, op)
    if isinstance(fill_value, int | float | complex | np.generic) and not isinstance(
        fill_value, ArrayBase
    ):
        wanted = canonical(np.asarray(fill_value).dtype if dtype is None else dtype, op)
        return from_node(shaping.full(extents, fill_value, wanted), False)
    value = node(fill_value)
    if dtype is not None:
        value = _ir.cast(value, canonical(dtype, op))
    return from_node(shaping.broadcast_to(value, extents), False)


def empty(shape: Any, dtype: Any = np.float64, *, device: Any = None) -> Array:
    """Return an array whose elements are not set."""
    as_device(device)
    return from_node(shaping.empty(as_shape(shape, "empty"), canonical(dtype, "empty")), False)


def like(op: str, a: Any, dtype: Any, shape: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of an array made like `a`."""
    a = asarray(a)
    return (
        a.shape if shape is None else as_shape(shape, op),
        a.dtype if dtype is None else canonical(dtype, op),
    )


def zeros_like(a: Any, dtype: Any = None, *, shape: Any = None) -> Array:
    """Return zeros of the shape and dtype of `a`."""
    extents, kind = like("zeros_like", a, dtype, shape)
    return filled("zeros_like", extents, 0, kind)


def ones_like(a: Any, dtype: Any = None, *, shape: Any = None) -> Array:
    """Return ones of the shape and dtype of `a`."""
    extents, kind = like("ones_like", a, dtype, shape)
    return filled("ones_like", extents, 1, kind)


def empty_like(a: Any, dtype: Any = None, *, shape: Any = None) -> Array:
    """Return an array that is not set, of the shape and dtype of `a`."""
    return empty(*like("empty_like", a, dtype, shape))


def full_like(a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None) -> Array:
    """Return one number in the shape and dtype of `a`."""
    extents, kind = like("full_like", a, dtype, shape)
    return filled("full_like", extents, fill_value, kind)


def arange(
    start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, *, device: Any = None
) -> Array:
    """Return evenly spaced numbers in the half-open interval [start, stop).

    Raises
    ------
    ZeroDivisionError
        When `step` is zero.
    """
    as_device(device)
    if stop is None:
        start, stop = 0, start
    start, stop, step = (
        x.item() if isinstance(x, ArrayBase | np.generic) else x for x in (start, stop, step)
    )
    wanted = canonical(
        np.result_type(*map(np.asarray, (start, stop, step))) if dtype is None else dtype, "arange"
    )
    count = max(0, math.ceil((stop - start) / step))
    return from_node(elementwise.arange_node(start, step, count, wanted), False)


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
    as_device(device)
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


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = np.float64) -> Array:
    """Return ones on diagonal `k`, zeros elsewhere; shape (N, M)."""
    return from_node(shaping.eye(N, N if M is None else M, k, canonical(dtype, "eye")), False)


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

    @functools.wraps(function)
    def view(a: Any, *args: Any, **options: Any) -> Array:
        a = as_it_is(a)
        return seen(a, function(shadow(a), *args, **options))

    view.__doc__ = f"Return a view; as `numpy.{function.__name__}`."
    view.__module__ = "lazyarray"
    return view


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
atleast_1d = on_shadow(np.atleast_1d)
atleast_2d = on_shadow(np.atleast_2d)
atleast_3d = on_shadow(np.atleast_3d)
matrix_transpose = on_shadow(np.matrix_transpose)


def flip(m: Any, axis: Any = None) -> Array:
    """Return a view with the order of elements reversed along all axes, or those given."""
    m = asarray(m)
    if axis is None:
        return m[tuple([slice(None, None, -1)] * m.ndim)]
    return seen(m, np.flip(shadow(m), axis))


def broadcast_to(array: Any, shape: Any) -> Array:
    """Return a read-only view with another shape, in which elements repeat."""
    array = asarray(array)
    return seen(array, np.broadcast_to(_handle.shadow(array), shape))


def broadcast_arrays(*args: Any) -> tuple[Array, ...]:
    """Return views of the arrays, broadcast against each other."""
    arrays = [asarray(a) for a in args]
    shape = _ir.broadcast_shapes(*[a.shape for a in arrays])
    return tuple(a if a.shape == shape else broadcast_to(a, shape) for a in arrays)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Return views of parts along an axis; as `numpy.array_split`."""
    ary = asarray(ary)
    return [seen(ary, part) for part in np.array_split(shadow(ary), indices_or_sections, axis)]


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Return views of parts along an axis; as `numpy.split`."""
    ary = asarray(ary)
    return [seen(ary, part) for part in np.split(shadow(ary), indices_or_sections, axis)]


def real(val: Any) -> Array:
    """Return the real part: a view of complex data."""
    return as_it_is(val).real


def imag(val: Any) -> Array:
    """Return the imaginary part: a view of complex data."""
    return as_it_is(val).imag


def copy(a: Any, order: str = "K") -> Array:
    """Return a copy."""
    return asarray(a).copy(order)


def astype(x: Any, dtype: Any, *, copy: bool = True) -> Array:
    """Return the elements converted to `dtype`."""
    return asarray(x).astype(dtype, copy=copy)


def divmod(x1: Any, x2: Any) -> tuple[Array, Array]:
    """Return the floor of the quotients and the remainders, element by element."""
    return LIFTED["floor_divide"](x1, x2), LIFTED["remainder"](x1, x2)


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
