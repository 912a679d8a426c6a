"""Elementwise ops: an element of the result comes from the same element of the broadcast inputs.

Arithmetic, extremes, comparisons, bits and complex parts; powers, exponentials, trigonometry and
special functions are in elementary.py. Dtypes and values are NumPy's (or SciPy's): the ops run
their ufuncs' inner loops, or our own of the same name (codegen/operations.py). Complex cotangents
follow the convention of the conjugate Wirtinger derivative: the rule of a holomorphic f is
``g * conj(f'(x))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _ir
from lazyarray._ir import Node, cast, operators
from lazyarray.dtypes import BFLOAT16, BOOL, HALVES, INTP, REAL_OF, kind_of
from lazyarray.errors import DTypeError, require
from lazyarray.number import fixed

from .define import (
    Elementwise,
    as_node,
    composite,
    elementwise,
    result_dtype,
    zero_gradient,
)

ANY = "any dtype"
REAL = "bool, integer or real floating"
INTEGER = "bool or integer"
INEXACT = "floating or complex; integers are converted as NumPy does"
FLOAT = "real floating; integers are converted as NumPy does"
LIBM = "Below 4 units in the last place."


def described(
    summary: str, names: tuple[str, ...], dtypes: str, result: str, error: str = ""
) -> str:
    """A docstring from what differs between ops."""
    shape = "any shape" if len(names) == 1 else "shapes that broadcast"
    lines = [summary, "", "Parameters", "----------"]
    lines += [f"{', '.join(names)} : array_like, {shape}, {dtypes}", "", "Returns", "-------"]
    lines += [
        f"array, {'the shape of `x`' if len(names) == 1 else 'the broadcast shape'}",
        f"    {result}",
    ]
    if error:
        lines += ["", "Notes", "-----", error]
    lines += ["", "Raises", "------", "DTypeError", "    Where NumPy has no loop for the dtypes."]
    if len(names) > 1:
        lines += ["ShapeError", "    When the shapes do not broadcast."]
    return "\n".join(lines) + "\n"


def unary(
    ufunc: np.ufunc, summary: str, dtypes: str = INEXACT, error: str = LIBM, **options: Any
) -> Elementwise:
    """Define an op of one input by its ufunc."""
    result = options.pop("result", "The dtype that NumPy gives.")
    return elementwise(ufunc, doc=described(summary, ("x",), dtypes, result, error), **options)


def binary(
    ufunc: np.ufunc, summary: str, dtypes: str = ANY, error: str = "", **options: Any
) -> Elementwise:
    """Define an op of two inputs by its ufunc."""
    result = options.pop("result", "The promoted dtype of the inputs.")
    return elementwise(
        ufunc, doc=described(summary, ("x1", "x2"), dtypes, result, error), **options
    )


def conj(x: Node) -> Node:
    """The conjugate of a complex node; a real node itself."""
    return conjugate(x) if x.dtype.kind == "c" else x


def filled(value: complex, like: Node, dtype: np.dtype) -> Node:
    """One number in the shape of a node."""
    return _ir.view(_ir.scalar(value, dtype), like.shape, (0,) * like.ndim)


def common_dtype(a: Any, b: Any) -> np.dtype:
    """The dtype of two choices; Python's int, float and complex are weak."""
    if isinstance(a, np.dtype) and isinstance(b, np.dtype):
        return np.promote_types(a, b)
    return result_dtype(a, b)


# ---- conversion, choice, position

cast_op = elementwise(
    name="cast",
    nin=1,
    loop="cast",
    resolver=lambda dtype: ((dtype,), dtype),
    doc="Conversion to another dtype, with the values of NumPy's astype.\n",
)
cast_op.vjp(lambda g, y, x: g)

stop_gradient = elementwise(
    name="stop_gradient",
    nin=1,
    loop="cast",
    resolver=lambda dtype: ((result_dtype(dtype),), result_dtype(dtype)),
    doc=described(
        "The value of `x`, through which no gradient flows.", ("x",), ANY, "The dtype of `x`."
    ),
)

where = elementwise(
    name="where",
    nin=3,
    loop="where",
    resolver=lambda c, a, b: ((BOOL, both := common_dtype(a, b), both), both),
    doc="""Elements of `x1` where `condition` holds, elsewhere of `x2`.

Parameters
----------
condition : array_like, any shape, any dtype
    Converted to bool: what is not zero holds.
x1, x2 : array_like, shapes that broadcast with `condition`, any dtype

Returns
-------
array, the broadcast shape
    The promoted dtype of `x1` and `x2`.

Raises
------
ShapeError
    When the shapes do not broadcast.
""",
)
where.vjp(lambda g, y, c, a, b: (None, where(c, g, 0), where(c, 0, g)))

iota = Elementwise("iota", 0)
iota.__doc__ = "The flat C-order index of each element of the result, int64. Structure, not data.\n"
zero_gradient(stop_gradient, iota)


def iota_node(shape: tuple[int, ...]) -> Node:
    """The flat C-order index of each element, int64."""
    return iota.node((), shape, INTP)


def arange_node(start: Any, step: Any, count: int, dtype: np.dtype) -> Node:
    """``start + i*step`` for i below `count`, rounded as np.arange does.

    NumPy computes the first two elements, takes their difference as the step, and multiplies in
    `dtype` (in float32 for halves). `start` and `step` are data: another start finds the same
    plan.
    """
    index = iota_node((count,))
    work = np.dtype(np.float32) if dtype in HALVES else dtype
    first, second = (np.zeros((), dtype) for _ in range(2))
    for cell, value in ((first, start), (second, start + step))[:count]:
        cell[...] = float(value) if dtype is BFLOAT16 else value  # NumPy checks the range
    if count == 1:
        second = first
    if dtype == BOOL:
        return where(equal(index, 0), _ir.scalar(bool(first), BOOL), _ir.scalar(bool(second), BOOL))
    if dtype == INTP and first == 0 and second == 1:
        return index
    with np.errstate(all="ignore"):
        base = first.astype(work)
        delta = (second.astype(work) - base).astype(work)
        again = (base + delta).astype(dtype)
    line = cast(index, work)
    if base != 0 or delta != 1:  # as `range` does, most arrays count from 0 by 1
        line = add(_ir.scalar(base[()], work), multiply(line, _ir.scalar(delta[()], work)))
    line = cast(line, dtype)
    if not np.isfinite(delta):  # nor is its product with 0
        line = where(equal(index, 0), _ir.scalar(first[()], dtype), line)
    if count > 1 and again != second:  # the difference was rounded
        line = where(equal(index, 1), _ir.scalar(second[()], dtype), line)
    return line


# ---- arithmetic

add = binary(np.add, "Sum of `x1` and `x2`; of bools, logical or.", operator="add")
subtract = binary(np.subtract, "`x1` less `x2`. Not defined for bool.", operator="subtract")
multiply = binary(
    np.multiply, "Product of `x1` and `x2`; of bools, logical and.", operator="multiply"
)
divide = binary(np.divide, "Quotient of `x1` and `x2`; of integers, in float64.", operator="divide")
floor_divide = binary(
    np.floor_divide,
    "Largest integer not above ``x1 / x2``. An integer divided by zero gives 0.",
    REAL,
    operator="floor_divide",
)
remainder = binary(
    np.remainder, "Remainder of `floor_divide`, with the sign of `x2`.", REAL, operator="remainder"
)
fmod = binary(np.fmod, "Remainder of division rounded towards zero, with the sign of `x1`.", REAL)
negative = unary(np.negative, "`x` with its sign changed.", ANY, "", operator="negative")
positive = unary(np.positive, "A copy of `x`.", ANY, "", operator="positive")
absolute = unary(
    np.absolute,
    "Absolute value of `x`; of complex numbers, their magnitude.",
    ANY,
    "",
    operator="absolute",
)
fabs = unary(np.fabs, "Absolute value of `x`, as floating.", FLOAT, "")
sign = unary(np.sign, "-1, 0 or 1 by the sign of `x`; of complex numbers, ``x / abs(x)``.", ANY, "")
square = unary(np.square, "`x` times itself.", ANY, "")
sqrt = unary(np.sqrt, "Square root of `x`, exactly rounded for real `x`.", error="")
cbrt = unary(np.cbrt, "Cube root of `x`.", FLOAT)
reciprocal = unary(np.reciprocal, "One divided by `x`.", ANY, "")
hypot = binary(np.hypot, "``sqrt(x1**2 + x2**2)`` without overflow on the way.", FLOAT, LIBM)
conjugate = unary(np.conjugate, "`x` with its imaginary part negated.", ANY, "")

add.vjp(lambda g, y, a, b: (g, g))
subtract.vjp(lambda g, y, a, b: (g, -g))
multiply.vjp(lambda g, y, a, b: (g * conj(b), g * conj(a)))


@divide.vjp
def _(g: Node, y: Node, a: Node, b: Node) -> Any:
    slope = g / conj(b)
    return slope, -slope * conj(y) if b.tracked else None


remainder.vjp(lambda g, y, a, b: (g, -g * floor_divide(a, b)))
negative.vjp(lambda g, y, x: -g)
positive.vjp(lambda g, y, x: g)
absolute.vjp(lambda g, y, x: g * sign(x))
fabs.vjp(lambda g, y, x: g * sign(x))
square.vjp(lambda g, y, x: 2 * g * conj(x))
sqrt.vjp(lambda g, y, x: 0.5 * g / conj(y))
cbrt.vjp(lambda g, y, x: g / (3 * y * y))
reciprocal.vjp(lambda g, y, x: -g * conj(y * y))
conjugate.vjp(lambda g, y, x: conjugate(g))


@hypot.vjp
def _(g: Node, y: Node, a: Node, b: Node) -> Any:
    slope = g / where(equal(y, 0), 1, y)
    return slope * a, slope * b


@sign.vjp
def _(g: Node, y: Node, x: Node) -> Node | None:
    if x.dtype.kind != "c":
        return None
    radius = absolute(x)
    across = g - y * real(g * conjugate(y))
    return where(equal(radius, 0), 0, across / where(equal(radius, 0), 1, radius))


# ---- extremes and rounding

maximum = binary(
    np.maximum,
    "The greater of `x1` and `x2`; NaN where either is NaN.",
    error="Where the inputs are equal, each gets half the gradient.",
)
minimum = binary(
    np.minimum,
    "The smaller of `x1` and `x2`; NaN where either is NaN.",
    error="Where the inputs are equal, each gets half the gradient.",
)
fmax = binary(np.fmax, "The greater of `x1` and `x2`, leaving NaN out.")
fmin = binary(np.fmin, "The smaller of `x1` and `x2`, leaving NaN out.")
floor = unary(np.floor, "Largest integer not above `x`.", REAL, "")
ceil = unary(np.ceil, "Smallest integer not below `x`.", REAL, "")
trunc = unary(np.trunc, "`x` rounded towards zero.", REAL, "")
rint = unary(np.rint, "`x` rounded to the nearest integer, halves to even.", error="")
copysign = binary(np.copysign, "`x1` with the sign of `x2`.", FLOAT)
nextafter = binary(np.nextafter, "The number next to `x1` towards `x2`.", FLOAT)
ldexp = binary(
    np.ldexp, "``x1 * 2**x2`` with integer `x2`, exactly.", FLOAT, result="The dtype of `x1`."
)
heaviside = binary(
    np.heaviside, "0 where `x1` is negative, 1 where positive, `x2` where it is 0.", FLOAT
)

zero_gradient(floor_divide, floor, ceil, trunc, rint)


def on_parts(function: Callable[[Node], Node], a: Node) -> Node:
    """Apply `function` to the real and imaginary parts of a complex node."""
    part = REAL_OF[a.dtype]
    split = (*a.shape, 2)
    parts = _ir.view(a, split, _ir.c_strides(split, part.itemsize), 0, False, part)
    strides = _ir.c_strides(a.shape, a.dtype.itemsize)
    return _ir.view(function(parts), a.shape, strides, 0, False, a.dtype)


@composite
def round(a: Node, decimals: int = 0) -> Node:
    """`a` rounded to the given number of decimals, halves to even.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    decimals : int, default 0
        Negative numbers round to tens, hundreds and so on.

    Returns
    -------
    array, the shape and dtype of `a`; float16 for bool

    Notes
    -----
    Computed as NumPy does: scaled by a power of ten, rounded, and scaled back.
    """
    kind = kind_of(a.dtype)
    require(kind != "b" or decimals == 0, DTypeError, "round", "bool has no decimals")
    if decimals == 0 and kind in "bfc":
        return rint(a)
    if kind in "iu":
        if decimals >= 0:
            return a
        scale = 10.0**-decimals
        return cast(multiply(rint(divide(a, scale)), scale), a.dtype)
    if kind == "c":  # a complex division would round otherwise
        return on_parts(lambda parts: round(parts, decimals), a)
    scale = 10.0 ** abs(decimals)
    if decimals > 0:
        return divide(rint(multiply(a, scale)), scale)
    return multiply(rint(divide(a, scale)), scale)


@composite
def clip(a: Any, a_min: Any = None, a_max: Any = None) -> Node:
    """`a` limited to the interval from `a_min` to `a_max`.

    Parameters
    ----------
    a : array_like, any shape, any dtype
    a_min, a_max : array_like or None, shapes that broadcast with `a`
        None sets no limit. Where `a_min` is above `a_max`, the result is `a_max`.

    Returns
    -------
    array, the broadcast shape
        The promoted dtype of the inputs.

    Raises
    ------
    DTypeError, ShapeError
        Where NumPy raises TypeError and ValueError.
    """
    if type(a) is Node and a.dtype.kind in "iu":
        # As in NumPy: Python ints beyond the dtype's range set no limit.
        bounds = np.iinfo(a.dtype)
        if type(a_min) is int and a_min <= bounds.min:
            a_min = None
        if type(a_max) is int and a_max >= bounds.max:
            a_max = None
    if a_min is not None:
        a = maximum(a, a_min)
    if a_max is not None:
        a = minimum(a, a_max)
    return as_node(a)


# ---- truth


class Comparison(Elementwise):
    """A comparison; a Python int outside the other input's range compares as its true value."""

    def __call__(self, *args: Any) -> Node:
        """Record the comparison."""
        try:
            return super().__call__(*args)
        except OverflowError:
            args = tuple(fixed(x) for x in args)
            sides = [math.copysign(math.inf, x) if type(x) is int else 0.0 for x in args]
            (node,) = (x for x in args if type(x) is Node)
            return filled(bool(self.ufunc(*sides)), node, BOOL)


def comparison(ufunc: np.ufunc, summary: str) -> Comparison:
    """Define a comparison by its ufunc."""
    op = Comparison(ufunc.__name__, 2, ufunc=ufunc)
    op.__doc__ = described(
        summary, ("x1", "x2"), ANY, "bool; complex numbers compare lexicographically."
    )
    operators[op.name] = op
    return op


equal = comparison(np.equal, "Whether `x1` equals `x2`.")
not_equal = comparison(np.not_equal, "Whether `x1` differs from `x2`.")
less = comparison(np.less, "Whether `x1` is below `x2`.")
less_equal = comparison(np.less_equal, "Whether `x1` is not above `x2`.")
greater = comparison(np.greater, "Whether `x1` is above `x2`.")
greater_equal = comparison(np.greater_equal, "Whether `x1` is not below `x2`.")

TRUTH = {"error": "", "result": "bool."}
logical_and = binary(np.logical_and, "Whether neither `x1` nor `x2` is zero.", **TRUTH)
logical_or = binary(np.logical_or, "Whether `x1` and `x2` are not both zero.", **TRUTH)
logical_xor = binary(np.logical_xor, "Whether just one of `x1` and `x2` is zero.", **TRUTH)
logical_not = unary(np.logical_not, "Whether `x` is zero.", ANY, **TRUTH)
isnan = unary(np.isnan, "Whether `x` is NaN, in either part.", ANY, **TRUTH)
isinf = unary(np.isinf, "Whether `x` is infinite, in either part.", ANY, **TRUTH)
isfinite = unary(np.isfinite, "Whether `x` is neither NaN nor infinite.", ANY, **TRUTH)
signbit = unary(np.signbit, "Whether the sign bit of `x` is set, as it is in -0.0.", FLOAT, **TRUTH)

# ---- gradients that compare or round

fmod.vjp(lambda g, y, a, b: (g, -g * trunc(a / b)))


def _split(g: Node, mine: Node, other: Node, wins: Node) -> Node:
    # Ties share the gradient.
    return where(equal(mine, other), 0.5 * g, where(wins, g, 0))


maximum.vjp(lambda g, y, a, b: (_split(g, a, b, greater(a, b)), _split(g, b, a, greater(b, a))))
minimum.vjp(lambda g, y, a, b: (_split(g, a, b, less(a, b)), _split(g, b, a, less(b, a))))
fmax.vjp(lambda g, y, a, b: (_split(g, a, b, equal(a, y)), _split(g, b, a, equal(b, y))))
fmin.vjp(lambda g, y, a, b: (_split(g, a, b, equal(a, y)), _split(g, b, a, equal(b, y))))
copysign.vjp(lambda g, y, a, b: (where(equal(signbit(a), signbit(b)), g, -g), None))
nextafter.vjp(lambda g, y, a, b: (g, None))
ldexp.vjp(lambda g, y, a, n: (ldexp(g, n), None))
heaviside.vjp(lambda g, y, a, h: (None, where(equal(a, 0), g, 0)))

# ---- bits and integers

bitwise_and = binary(
    np.bitwise_and, "Bits set in both `x1` and `x2`.", INTEGER, operator="bitwise_and"
)
bitwise_or = binary(np.bitwise_or, "Bits set in `x1` or `x2`.", INTEGER, operator="bitwise_or")
bitwise_xor = binary(
    np.bitwise_xor, "Bits set in just one of `x1` and `x2`.", INTEGER, operator="bitwise_xor"
)
invert = unary(
    np.invert, "Every bit of `x` changed; of bool, logical not.", INTEGER, "", operator="invert"
)
left_shift = binary(
    np.left_shift,
    "`x1` shifted left by `x2` bits; a shift by its width or more gives 0.",
    INTEGER,
    operator="left_shift",
)
right_shift = binary(
    np.right_shift,
    "`x1` shifted right by `x2` bits, keeping its sign.",
    INTEGER,
    operator="right_shift",
)
bitwise_count = unary(
    np.bitwise_count, "Number of bits set in the magnitude of `x`.", INTEGER, "", result="uint8."
)
gcd = binary(np.gcd, "Greatest common divisor of `x1` and `x2`.", "integer")
lcm = binary(np.lcm, "Lowest common multiple of `x1` and `x2`.", "integer")

# ---- complex parts


@composite
def real(x: Node) -> Node:
    """The real part of `x`; a real `x` itself.

    Parameters
    ----------
    x : array_like, any shape, any dtype

    Returns
    -------
    array, the shape of `x`
        float32 for complex64, float64 for complex128, otherwise the dtype of `x`.
    """
    part = REAL_OF.get(x.dtype)
    if part is None:
        return x
    return _ir.view(x, x.shape, _ir.c_strides(x.shape, x.dtype.itemsize), 0, False, part)


@composite
def imag(x: Node) -> Node:
    """The imaginary part of `x`; zeros for a real `x`.

    Parameters
    ----------
    x : array_like, any shape, any dtype

    Returns
    -------
    array, the shape of `x`
        float32 for complex64, float64 for complex128, otherwise the dtype of `x`.
    """
    part: np.dtype | None = REAL_OF.get(x.dtype)
    if part is None:
        return _ir.settled(filled(0, x, x.dtype), x.device, "imag")
    strides = _ir.c_strides(x.shape, x.dtype.itemsize)
    return _ir.view(x, x.shape, strides, part.itemsize, True, part)
