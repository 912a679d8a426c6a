"""NaN as a missing value, and closeness: composites."""

from __future__ import annotations

from typing import Any

import numpy as np

import lazyarray._order as _order
from lazyarray._floats import TELLING
from lazyarray._ir import Node, broadcast_shapes, cast
from lazyarray.dtypes import BFLOAT16, BOOL, REAL_OF, finfo, is_float, is_inexact
from lazyarray.errors import DTypeError, ShapeError, require

from .define import ArrayOp, arrayop, composite, result_dtype
from .elementwise import (
    absolute,
    divide,
    equal,
    isfinite,
    isnan,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    on_parts,
    where,
)
from .reduction import prod, sum
from .shaping import reshape
from .statistics import mean


def _filled(a: Node, value: Any) -> Node:
    return where(isnan(a), value, a) if is_inexact(a.dtype) else a


@composite
def nansum(a: Node, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Node:
    """Sum over the given axes, leaving NaN out.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to sum over; None means all.
    dtype : dtype, optional
        In which to compute; the default is that of `sum`.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`
        0 where nothing is left.

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    """
    return sum(_filled(a, 0), axis, dtype, keepdims)


@composite
def nanprod(a: Node, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Node:
    """Product over the given axes, leaving NaN out.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to multiply over; None means all.
    dtype : dtype, optional
        In which to compute; the default is that of `prod`.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`
        1 where nothing is left.

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    """
    return prod(_filled(a, 1), axis, dtype, keepdims)


@composite
def nanmean(a: Node, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Node:
    """Arithmetic mean over the given axes, leaving NaN out.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    axis : None, int or tuple of int
        The axes to average over; None means all.
    dtype : dtype, optional
        In which to compute; the default is that of `mean`.
    keepdims : bool, default False
        Keep the axes in the result, with extent 1.

    Returns
    -------
    array, the shape of `a` without `axis`
        NaN where nothing is left.

    Raises
    ------
    AxisError
        When an axis is out of bounds.
    """
    if not is_inexact(a.dtype):
        return mean(a, axis, dtype, keepdims)
    if dtype is None and a.dtype is BFLOAT16:  # as in `mean`
        return cast(nanmean(cast(a, np.dtype(np.float32)), axis, None, keepdims), a.dtype)
    total = nansum(a, axis, dtype, keepdims)
    left = sum(logical_not(isnan(a)), axis, None, keepdims)
    return cast(divide(total, left), total.dtype)


def replacing(value: Any, x: Node) -> Any:
    """What replaces elements: a number, or an array of the real dtype that fits."""
    if type(value) is not Node:
        return value
    text = f"values of shape {value.shape} do not fit shape {x.shape}"
    fits = broadcast_shapes(x.shape, value.shape) == x.shape
    require(fits, ShapeError, "nan_to_num", text)
    text = f"values of dtype {value.dtype} do not fit {x.dtype}"
    require(value.dtype.kind != "c", DTypeError, "nan_to_num", text)
    return cast(value, REAL_OF.get(x.dtype, x.dtype)) if is_inexact(x.dtype) else value


@composite
def nan_to_num(
    x: Node, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Node:
    """`x` with NaN and infinities replaced by numbers.

    Parameters
    ----------
    x : array_like, any shape, any dtype
    nan : float or array, default 0.0
    posinf, neginf : float or array, optional
        The defaults are the greatest and smallest finite numbers.

    Returns
    -------
    array, the shape and dtype of `x`
    """
    values = [replacing(each, x) for each in (nan, posinf, neginf)]
    if x.dtype.kind == "c":
        values = [
            reshape(each, (*each.shape, 1)) if type(each) is Node else each for each in values
        ]
        return on_parts(lambda parts: nan_to_num(parts, *values), x)
    if not is_float(x.dtype):
        return x
    info = finfo(x.dtype)
    nan, posinf, neginf = values
    high = float(info.max) if posinf is None else posinf
    low = float(info.min) if neginf is None else neginf
    x = where(isnan(x), nan, x)
    return where(equal(x, np.inf), high, where(equal(x, -np.inf), low, x))


@composite
def isclose(
    a: Node, b: Node, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Node:
    """Whether ``abs(a - b) <= atol + rtol*abs(b)``, element by element.

    Parameters
    ----------
    a, b : array_like, shapes that broadcast, any dtype
    rtol, atol : float, defaults 1e-5 and 1e-8
    equal_nan : bool, default False
        Let NaN be close to NaN.

    Returns
    -------
    array, the broadcast shape, bool
        Equal infinities are close.

    Raises
    ------
    ShapeError
        When the shapes do not broadcast.
    """
    b = cast(b, result_dtype(b.dtype, float))
    near = less_equal(absolute(a - b), atol + rtol * absolute(b))
    found = logical_or(logical_and(near, isfinite(b)), equal(a, b))
    return logical_or(found, logical_and(isnan(a), isnan(b))) if equal_nan else found


# ---- what is said of results


def telling(name: str) -> ArrayOp:
    """An op that gives its first input, and warns where an element of the second does not hold."""

    def body(x: Node, sound: Node) -> Any:
        fits = sound.shape == x.shape and sound.dtype is BOOL
        require(fits, ShapeError, name, f"{x.shape} and {sound.dtype}{list(sound.shape)}")
        return (x, sound), x.shape, x.dtype, {}

    body.__name__ = name
    body.__doc__ = f"""`x`, with the warning "{TELLING[name]}" where an element is not sound.

    Parameters
    ----------
    x : array, any shape, any dtype
    sound : array, the shape of `x`, bool

    Returns
    -------
    array, the shape and dtype of `x`
    """
    op = arrayop(dear=False)(body)

    @op.native
    def _(inputs: Any, out: Any, layouts: Any) -> Any:
        return _order.tell(name, out.size, out.itemsize)

    op.vjp(lambda g, y, x, sound: (g, None))
    return op


for _name in ("mean_of_nothing", "no_freedom", "no_freedom_left"):
    telling(_name)


@arrayop(dear=False)
def all_nan_slice(x: Node) -> Any:
    """`x`, with the warning "All-NaN slice encountered" where an element is NaN.

    Parameters
    ----------
    x : array, any shape, any dtype

    Returns
    -------
    array, the shape and dtype of `x`
    """
    return (x,), x.shape, x.dtype, {}


@all_nan_slice.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _order.tell_nan("all_nan_slice", out.dtype, out.size)


all_nan_slice.vjp(lambda g, y, x: g)
