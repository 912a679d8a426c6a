"""Elementwise ops: an element of the result comes from the same element of the broadcast inputs.

Dtypes and values are NumPy's (or SciPy's): the ops run their ufuncs' inner loops. Complex
cotangents follow the convention of the conjugate Wirtinger derivative: the rule of a holomorphic f
is ``g * conj(f'(x))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special
from scipy.special import _ufuncs as special_ufuncs

from lazyarray import _ir, _loops
from lazyarray._ir import Node, cast, operators
from lazyarray.dtypes import BOOL, INTP, REAL_OF
from lazyarray.errors import DTypeError, require

from .define import (
    Elementwise,
    arrayop,
    as_node,
    composite,
    elementwise,
    result_dtype,
    zero_gradient,
)

CONST = 2  # _ir.State

ANY = "any dtype"
REAL = "bool, integer or real floating"
INTEGER = "bool or integer"
INEXACT = "floating or complex; integers are converted as NumPy does"
FLOAT = "real floating; integers are converted as NumPy does"
LIBM = "As NumPy's: below 4 units in the last place."
CEPHES = "As SciPy's: relative error near 1e-15 in float64 and 1e-6 in float32 away from zeros."


def _doc(summary: str, names: tuple[str, ...], dtypes: str, result: str, error: str = "") -> str:
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


def _unary(
    ufunc: np.ufunc, summary: str, dtypes: str = INEXACT, error: str = LIBM, **options: Any
) -> Elementwise:
    result = options.pop("result", "The dtype that NumPy gives.")
    return elementwise(ufunc, doc=_doc(summary, ("x",), dtypes, result, error), **options)


def _binary(
    ufunc: np.ufunc, summary: str, dtypes: str = ANY, error: str = "", **options: Any
) -> Elementwise:
    result = options.pop("result", "The promoted dtype of the inputs.")
    return elementwise(ufunc, doc=_doc(summary, ("x1", "x2"), dtypes, result, error), **options)


def conj(x: Node) -> Node:
    """The conjugate of a complex node; a real node itself."""
    return conjugate(x) if x.dtype.kind == "c" else x


def _full(value: complex, like: Node, dtype: np.dtype) -> Node:
    return _ir.view(_ir.scalar(value, dtype), like.shape, (0,) * like.ndim)


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
    doc=_doc(
        "The value of `x`, through which no gradient flows.", ("x",), ANY, "The dtype of `x`."
    ),
)

where = elementwise(
    name="where",
    nin=3,
    loop="where",
    resolver=lambda c, a, b: ((BOOL, result_dtype(a, b), result_dtype(a, b)), result_dtype(a, b)),
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
    `dtype` (in float32 for float16). `start` and `step` are data: another start finds the same
    plan.
    """
    index = iota_node((count,))
    work = np.dtype(np.float32) if dtype == np.float16 else dtype
    first = np.array(start).astype(dtype)
    second = np.array(start + step).astype(dtype)
    if dtype == BOOL:
        return where(equal(index, 0), _ir.scalar(bool(first), BOOL), _ir.scalar(bool(second), BOOL))
    if dtype == INTP and first == 0 and second == 1:
        return index
    with np.errstate(all="ignore"):
        base = first.astype(work)
        delta = (second.astype(work) - base).astype(work)
        again = (base + delta).astype(dtype)
    line = add(_ir.scalar(base[()], work), multiply(cast(index, work), _ir.scalar(delta[()], work)))
    line = cast(line, dtype)
    if count > 1 and again != second:  # the difference was rounded
        line = where(equal(index, 1), _ir.scalar(second[()], dtype), line)
    return line


# ---- arithmetic

add = _binary(np.add, "Sum of `x1` and `x2`; of bools, logical or.", operator="add")
subtract = _binary(np.subtract, "`x1` less `x2`. Not defined for bool.", operator="subtract")
multiply = _binary(
    np.multiply, "Product of `x1` and `x2`; of bools, logical and.", operator="multiply"
)
divide = _binary(
    np.divide, "Quotient of `x1` and `x2`; of integers, in float64.", operator="divide"
)
floor_divide = _binary(
    np.floor_divide,
    "Largest integer not above ``x1 / x2``. An integer divided by zero gives 0.",
    REAL,
    operator="floor_divide",
)
remainder = _binary(
    np.remainder, "Remainder of `floor_divide`, with the sign of `x2`.", REAL, operator="remainder"
)
fmod = _binary(np.fmod, "Remainder of division rounded towards zero, with the sign of `x1`.", REAL)
float_power = _binary(
    np.float_power,
    "`x1` to the power `x2`, in float64 or complex128.",
    error=LIBM,
    result="float64, or complex128 when an input is complex.",
)
negative = _unary(np.negative, "`x` with its sign changed.", ANY, "", operator="negative")
positive = _unary(np.positive, "A copy of `x`.", ANY, "", operator="positive")
absolute = _unary(
    np.absolute,
    "Absolute value of `x`; of complex numbers, their magnitude.",
    ANY,
    "",
    operator="absolute",
)
fabs = _unary(np.fabs, "Absolute value of `x`, as floating.", FLOAT, "")
sign = _unary(
    np.sign, "-1, 0 or 1 by the sign of `x`; of complex numbers, ``x / abs(x)``.", ANY, ""
)
square = _unary(np.square, "`x` times itself.", ANY, "")
sqrt = _unary(np.sqrt, "Square root of `x`, exactly rounded for real `x`.", error="")
cbrt = _unary(np.cbrt, "Cube root of `x`.", FLOAT)
reciprocal = _unary(np.reciprocal, "One divided by `x`.", ANY, "")
hypot = _binary(np.hypot, "``sqrt(x1**2 + x2**2)`` without overflow on the way.", FLOAT, LIBM)
conjugate = _unary(np.conjugate, "`x` with its imaginary part negated.", ANY, "")

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


# ---- powers

power_op = elementwise(
    np.power, name="pow", doc="`power` without its check of integer exponents.\n"
)
NEGATIVE_POWER = "Integers to negative integer powers are not allowed."


@arrayop(inplace=True, dear=False, fallible=True)
def _exponent(x: Node) -> Any:
    """The integers `x`, none of which may be negative (they are exponents of integers)."""
    return (x,), x.shape, x.dtype, {}


@_exponent.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    return _loops.check_power(out.dtype, out.size)


@composite
def power(x1: Any, x2: Any) -> Node:
    """`x1` to the power `x2`.

    Parameters
    ----------
    x1, x2 : array_like, shapes that broadcast, any dtype

    Returns
    -------
    array, the broadcast shape
        The promoted dtype of the inputs; integers wrap.

    Raises
    ------
    ValueError
        When an integer is raised to a negative integer: at the call where `x2` is a number,
        otherwise when the result is waited for.
    DTypeError, ShapeError
        Where NumPy raises TypeError and ValueError.

    Notes
    -----
    Below 4 units in the last place. Gradients are finite wherever the power has a finite
    derivative, also at base 0; that of the exponent is taken as 0 where the base is 0, and is NaN
    where it is negative.
    """
    kinds = [x.dtype if type(x) is Node else np.min_scalar_type(x) for x in (x1, x2)]
    if kinds[0].kind in "biu" and kinds[1].kind == "i":
        x2 = _checked_exponent(kinds[0], x2)
    return power_op(x1, x2)


def _checked_exponent(base: np.dtype, x: Any) -> Any:
    # `x` is a Python int below 0, or a NumPy scalar or Node of signed integers.
    if type(x) is not Node:
        known = x < 0
    elif x.state == CONST:
        known = x.value < 0
    else:
        known = False
        if result_dtype(base, x.dtype).kind == "i":
            return _exponent(x)
    if known and (type(x) is int or result_dtype(base, as_node(x).dtype).kind == "i"):
        raise ValueError(NEGATIVE_POWER)
    return x


@power_op.vjp
def _(g: Node, y: Node, a: Node, p: Node) -> Any:
    return (
        _power_base(g, a, p) if a.tracked else None,
        _power_exponent(g, y, a) if p.tracked else None,
    )


def _power_base(g: Node, a: Node, p: Node) -> Node | None:
    if p.state == CONST:
        number = p.value.item()
        if number == 0:
            return None
        return g * conj(power_op(a, _ir.scalar(number - 1, p.dtype)) * p)
    flat = equal(p, 0)  # 0 * 0**-1 would be NaN
    return g * conj(where(flat, 0, p * power_op(a, where(flat, 1, p - 1))))


def _power_exponent(g: Node, y: Node, a: Node) -> Node:
    return g * conj(y * log(where(equal(a, 0), 1, a)))


def _float_power(g: Node, y: Node, a: Node, p: Node) -> Any:
    a, p = cast(a, y.dtype), cast(p, y.dtype)
    return (
        _power_base(g, a, p) if a.tracked else None,
        _power_exponent(g, y, a) if p.tracked else None,
    )


float_power.vjp(_float_power)


def power_operator(x1: Any, x2: Any) -> Any:
    """``x1 ** x2``.

    As in NumPy, the literals 2, 0.5, 1, 0 and -1 are square, sqrt, a copy, ones and reciprocal.
    """
    if type(x1) is not Node or type(x2) not in (int, float):
        return power(x1, x2)
    kind = x1.dtype.kind
    if kind in "fc":
        if x2 == 2:
            return square(x1)
        if x2 == 1:
            return positive(x1)
        if x2 == 0.5:
            return sqrt(x1)
        if x2 == 0:
            return _full(1, x1, x1.dtype)
        if x2 == -1:
            return reciprocal(x1)
    elif kind in "iu" and x2 == 2 and type(x2) is int:
        return square(x1)
    return power(x1, x2)


operators["power"] = power_operator


# ---- exponentials and logarithms

LN2 = math.log(2.0)
LN10 = math.log(10.0)

exp = _unary(np.exp, "e to the power `x`.")
exp2 = _unary(np.exp2, "2 to the power `x`.", FLOAT)
expm1 = _unary(np.expm1, "``exp(x) - 1``, accurate for small `x`.")
log = _unary(np.log, "Natural logarithm of `x`.")
log2 = _unary(np.log2, "Logarithm of `x` to base 2.")
log10 = _unary(np.log10, "Logarithm of `x` to base 10.")
log1p = _unary(np.log1p, "``log(1 + x)``, accurate for small `x`.")
logaddexp = _binary(np.logaddexp, "``log(exp(x1) + exp(x2))`` without overflow.", FLOAT, LIBM)
logaddexp2 = _binary(np.logaddexp2, "``log2(2**x1 + 2**x2)`` without overflow.", FLOAT, LIBM)

exp.vjp(lambda g, y, x: g * conj(y))
exp2.vjp(lambda g, y, x: g * (y * LN2))
expm1.vjp(lambda g, y, x: g * conj(y + 1))
log.vjp(lambda g, y, x: g / conj(x))
log2.vjp(lambda g, y, x: g / conj(x * LN2))
log10.vjp(lambda g, y, x: g / conj(x * LN10))
log1p.vjp(lambda g, y, x: g / conj(x + 1))


def _below(x: Node, y: Node) -> Node:
    # x - y <= 0, where both may be the same infinity.
    return where(equal(x, y), 0, x - y)


logaddexp.vjp(lambda g, y, a, b: (g * exp(_below(a, y)), g * exp(_below(b, y))))
logaddexp2.vjp(lambda g, y, a, b: (g * exp2(_below(a, y)), g * exp2(_below(b, y))))

# ---- trigonometry

sin = _unary(np.sin, "Sine of `x` radians.")
cos = _unary(np.cos, "Cosine of `x` radians.")
tan = _unary(np.tan, "Tangent of `x` radians.")
arcsin = _unary(np.arcsin, "Inverse sine of `x`, in radians from -pi/2 to pi/2.")
arccos = _unary(np.arccos, "Inverse cosine of `x`, in radians from 0 to pi.")
arctan = _unary(np.arctan, "Inverse tangent of `x`, in radians from -pi/2 to pi/2.")
arctan2 = _binary(
    np.arctan2, "Angle of the point with ordinate `x1` and abscissa `x2`, in radians.", FLOAT, LIBM
)
sinh = _unary(np.sinh, "Hyperbolic sine of `x`.")
cosh = _unary(np.cosh, "Hyperbolic cosine of `x`.")
tanh = _unary(np.tanh, "Hyperbolic tangent of `x`.")
arcsinh = _unary(np.arcsinh, "Inverse hyperbolic sine of `x`.")
arccosh = _unary(np.arccosh, "Inverse hyperbolic cosine of `x`.")
arctanh = _unary(np.arctanh, "Inverse hyperbolic tangent of `x`.")
deg2rad = _unary(np.deg2rad, "`x` degrees in radians.", FLOAT)
rad2deg = _unary(np.rad2deg, "`x` radians in degrees.", FLOAT)

sin.vjp(lambda g, y, x: g * conj(cos(x)))
cos.vjp(lambda g, y, x: -g * conj(sin(x)))
tan.vjp(lambda g, y, x: g * conj(y * y + 1))
arcsin.vjp(lambda g, y, x: g / conj(sqrt(1 - x * x)))
arccos.vjp(lambda g, y, x: -g / conj(sqrt(1 - x * x)))
arctan.vjp(lambda g, y, x: g / conj(x * x + 1))
sinh.vjp(lambda g, y, x: g * conj(cosh(x)))
cosh.vjp(lambda g, y, x: g * conj(sinh(x)))
tanh.vjp(lambda g, y, x: g * conj(1 - y * y))
arcsinh.vjp(lambda g, y, x: g / conj(sqrt(x * x + 1)))
arccosh.vjp(lambda g, y, x: g / conj(sqrt(x - 1) * sqrt(x + 1)))
arctanh.vjp(lambda g, y, x: g / conj(1 - x * x))
deg2rad.vjp(lambda g, y, x: g * (math.pi / 180))
rad2deg.vjp(lambda g, y, x: g * (180 / math.pi))


@arctan2.vjp
def _(g: Node, y: Node, a: Node, b: Node) -> Any:
    slope = g / (a * a + b * b)
    return slope * b, -slope * a


# ---- extremes and rounding

maximum = _binary(
    np.maximum,
    "The greater of `x1` and `x2`; NaN where either is NaN.",
    error="Where the inputs are equal, each gets half the gradient.",
)
minimum = _binary(
    np.minimum,
    "The smaller of `x1` and `x2`; NaN where either is NaN.",
    error="Where the inputs are equal, each gets half the gradient.",
)
fmax = _binary(np.fmax, "The greater of `x1` and `x2`, leaving NaN out.")
fmin = _binary(np.fmin, "The smaller of `x1` and `x2`, leaving NaN out.")
floor = _unary(np.floor, "Largest integer not above `x`.", REAL, "")
ceil = _unary(np.ceil, "Smallest integer not below `x`.", REAL, "")
trunc = _unary(np.trunc, "`x` rounded towards zero.", REAL, "")
rint = _unary(np.rint, "`x` rounded to the nearest integer, halves to even.", error="")
copysign = _binary(np.copysign, "`x1` with the sign of `x2`.", FLOAT)
nextafter = _binary(np.nextafter, "The number next to `x1` towards `x2`.", FLOAT)
ldexp = _binary(
    np.ldexp, "``x1 * 2**x2`` with integer `x2`, exactly.", FLOAT, result="The dtype of `x1`."
)
heaviside = _binary(
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
    kind = a.dtype.kind
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
            sides = [math.copysign(math.inf, x) if type(x) is int else 0.0 for x in args]
            (node,) = (x for x in args if type(x) is Node)
            return _full(bool(self.ufunc(*sides)), node, BOOL)


def _comparison(ufunc: np.ufunc, summary: str) -> Comparison:
    op = Comparison(ufunc.__name__, 2, ufunc=ufunc)
    op.__doc__ = _doc(
        summary, ("x1", "x2"), ANY, "bool; complex numbers compare lexicographically."
    )
    operators[op.name] = op
    return op


equal = _comparison(np.equal, "Whether `x1` equals `x2`.")
not_equal = _comparison(np.not_equal, "Whether `x1` differs from `x2`.")
less = _comparison(np.less, "Whether `x1` is below `x2`.")
less_equal = _comparison(np.less_equal, "Whether `x1` is not above `x2`.")
greater = _comparison(np.greater, "Whether `x1` is above `x2`.")
greater_equal = _comparison(np.greater_equal, "Whether `x1` is not below `x2`.")

TRUTH = {"error": "", "result": "bool."}
logical_and = _binary(np.logical_and, "Whether neither `x1` nor `x2` is zero.", **TRUTH)
logical_or = _binary(np.logical_or, "Whether `x1` and `x2` are not both zero.", **TRUTH)
logical_xor = _binary(np.logical_xor, "Whether just one of `x1` and `x2` is zero.", **TRUTH)
logical_not = _unary(np.logical_not, "Whether `x` is zero.", ANY, **TRUTH)
isnan = _unary(np.isnan, "Whether `x` is NaN, in either part.", ANY, **TRUTH)
isinf = _unary(np.isinf, "Whether `x` is infinite, in either part.", ANY, **TRUTH)
isfinite = _unary(np.isfinite, "Whether `x` is neither NaN nor infinite.", ANY, **TRUTH)
signbit = _unary(
    np.signbit, "Whether the sign bit of `x` is set, as it is in -0.0.", FLOAT, **TRUTH
)

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

bitwise_and = _binary(
    np.bitwise_and, "Bits set in both `x1` and `x2`.", INTEGER, operator="bitwise_and"
)
bitwise_or = _binary(np.bitwise_or, "Bits set in `x1` or `x2`.", INTEGER, operator="bitwise_or")
bitwise_xor = _binary(
    np.bitwise_xor, "Bits set in just one of `x1` and `x2`.", INTEGER, operator="bitwise_xor"
)
invert = _unary(
    np.invert, "Every bit of `x` changed; of bool, logical not.", INTEGER, "", operator="invert"
)
left_shift = _binary(
    np.left_shift,
    "`x1` shifted left by `x2` bits; a shift by its width or more gives 0.",
    INTEGER,
    operator="left_shift",
)
right_shift = _binary(
    np.right_shift,
    "`x1` shifted right by `x2` bits, keeping its sign.",
    INTEGER,
    operator="right_shift",
)
bitwise_count = _unary(
    np.bitwise_count, "Number of bits set in the magnitude of `x`.", INTEGER, "", result="uint8."
)
gcd = _binary(np.gcd, "Greatest common divisor of `x1` and `x2`.", "integer")
lcm = _binary(np.lcm, "Lowest common multiple of `x1` and `x2`.", "integer")

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
        return _full(0, x, x.dtype)
    strides = _ir.c_strides(x.shape, x.dtype.itemsize)
    return _ir.view(x, x.shape, strides, part.itemsize, True, part)


@composite
def angle(z: Node, deg: bool = False) -> Node:
    """The argument of complex numbers.

    Parameters
    ----------
    z : array_like, any shape, any dtype
    deg : bool, default False
        Degrees instead of radians.

    Returns
    -------
    array, the shape of `z`, floating
        From -pi to pi, or -180 to 180.

    Notes
    -----
    Below 4 units in the last place.
    """
    found = arctan2(imag(z), real(z)) if z.dtype.kind == "c" else arctan2(0, z)
    return found * (180 / math.pi) if deg else found


# ---- special functions (SciPy)

erf = _unary(special.erf, "Error function of `x`.", error=CEPHES)
erfc = _unary(special.erfc, "``1 - erf(x)``, accurate for large `x`.", error=CEPHES)
erfinv = _unary(special.erfinv, "Inverse of `erf`, for `x` between -1 and 1.", FLOAT, CEPHES)
expit = _unary(
    special.expit,
    "The logistic function ``1 / (1 + exp(-x))``.",
    FLOAT,
    CEPHES,
)
logit = _unary(special.logit, "Inverse of `expit`: ``log(x / (1 - x))``.", FLOAT, CEPHES)
gammaln = _unary(
    special.gammaln, "Logarithm of the magnitude of the gamma function of `x`.", FLOAT, CEPHES
)
digamma = _unary(
    special.digamma,
    "Derivative of the logarithm of the gamma function of `x`.",
    FLOAT,
    CEPHES,
    name="digamma",
)
zeta = _binary(
    special_ufuncs._zeta,
    "Hurwitz's zeta function: the sum of ``(k + x2)**-x1`` over k from 0.",
    FLOAT,
    CEPHES,
    name="zeta",
)

erf.vjp(lambda g, y, x: g * conj(exp(-x * x) * (2 / math.sqrt(math.pi))))
erfc.vjp(lambda g, y, x: g * conj(exp(-x * x) * (-2 / math.sqrt(math.pi))))
erfinv.vjp(lambda g, y, x: g * (exp(y * y) * (math.sqrt(math.pi) / 2)))
expit.vjp(lambda g, y, x: g * (y * (1 - y)))
logit.vjp(lambda g, y, x: g / (x * (1 - x)))
gammaln.vjp(lambda g, y, x: g * digamma(x))
digamma.vjp(lambda g, y, x: g * zeta(2, x))
# In its first argument the derivative has no closed form.
zeta.vjp(lambda g, y, s, q: (None, -g * s * zeta(s + 1, q)))
