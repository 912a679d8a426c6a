"""Elementary and special functions: powers, exponentials, trigonometry, error functions, gamma."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import _ufuncs as special  # with SCIPY_ARRAY_API, the public ones are no ufuncs

from lazyarray import _ir, _loops
from lazyarray._ir import Node, cast, operators
from lazyarray.dtypes import kind_of
from lazyarray.number import fixed

from .define import arrayop, as_node, composite, elementwise, result_dtype
from .elementwise import (
    FLOAT,
    LIBM,
    binary,
    conj,
    equal,
    filled,
    imag,
    positive,
    real,
    reciprocal,
    sqrt,
    square,
    unary,
    where,
)

CONST = 2  # _ir.State

CEPHES = "As SciPy's: relative error near 1e-15 in float64 and 1e-6 in float32 away from zeros."

# ---- powers

power_op = elementwise(
    np.power, name="pow", doc="`power` without its check of integer exponents.\n"
)
float_power = binary(
    np.float_power,
    "`x1` to the power `x2`, in float64 or complex128.",
    error=LIBM,
    result="float64, or complex128 when an input is complex.",
)
NEGATIVE_POWER = "power: Integers to negative integer powers are not allowed."


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
    OverflowError
        When `x2` is a number that the dtype of integers `x1` does not hold.
    DTypeError, ShapeError
        Where NumPy raises TypeError and ValueError.

    Notes
    -----
    Below 4 units in the last place. Gradients are finite wherever the power has a finite
    derivative, also at base 0; that of the exponent is taken as 0 where the base is 0, and is NaN
    where it is negative.
    """
    x1, x2 = fixed(x1), fixed(x2)
    kinds = [x.dtype if type(x) is Node else np.min_scalar_type(x) for x in (x1, x2)]
    if kinds[0].kind in "biu" and kinds[1].kind == "i":
        if type(x2) is int and type(x1) is Node and kinds[0].kind != "b":
            kinds[0].type(x2)  # OverflowError where it does not fit
        if type(x1) is not Node or x1.size:  # of no elements, none is raised to anything
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
    x1, x2 = fixed(x1), fixed(x2)
    if type(x1) is not Node or type(x2) not in (int, float):
        return power(x1, x2)
    kind = kind_of(x1.dtype)
    if kind in "fc":
        if x2 == 2:
            return square(x1)
        if x2 == 1:
            return positive(x1)
        if x2 == 0.5:
            return sqrt(x1)
        if x2 == 0:
            return filled(1, x1, x1.dtype)
        if x2 == -1:
            return reciprocal(x1)
    elif kind in "iu" and x2 == 2 and type(x2) is int:
        return square(x1)
    return power(x1, x2)


operators["power"] = power_operator


# ---- exponentials and logarithms

LN2 = math.log(2.0)
LN10 = math.log(10.0)

exp = unary(np.exp, "e to the power `x`.")
exp2 = unary(np.exp2, "2 to the power `x`.", FLOAT)
expm1 = unary(np.expm1, "``exp(x) - 1``, accurate for small `x`.")
log = unary(np.log, "Natural logarithm of `x`.")
log2 = unary(np.log2, "Logarithm of `x` to base 2.")
log10 = unary(np.log10, "Logarithm of `x` to base 10.")
log1p = unary(np.log1p, "``log(1 + x)``, accurate for small `x`.")
logaddexp = binary(np.logaddexp, "``log(exp(x1) + exp(x2))`` without overflow.", FLOAT, LIBM)
logaddexp2 = binary(np.logaddexp2, "``log2(2**x1 + 2**x2)`` without overflow.", FLOAT, LIBM)

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

sin = unary(np.sin, "Sine of `x` radians.")
cos = unary(np.cos, "Cosine of `x` radians.")
tan = unary(np.tan, "Tangent of `x` radians.")
arcsin = unary(np.arcsin, "Inverse sine of `x`, in radians from -pi/2 to pi/2.")
arccos = unary(np.arccos, "Inverse cosine of `x`, in radians from 0 to pi.")
arctan = unary(np.arctan, "Inverse tangent of `x`, in radians from -pi/2 to pi/2.")
arctan2 = binary(
    np.arctan2, "Angle of the point with ordinate `x1` and abscissa `x2`, in radians.", FLOAT, LIBM
)
sinh = unary(np.sinh, "Hyperbolic sine of `x`.")
cosh = unary(np.cosh, "Hyperbolic cosine of `x`.")
tanh = unary(np.tanh, "Hyperbolic tangent of `x`.")
arcsinh = unary(np.arcsinh, "Inverse hyperbolic sine of `x`.")
arccosh = unary(np.arccosh, "Inverse hyperbolic cosine of `x`.")
arctanh = unary(np.arctanh, "Inverse hyperbolic tangent of `x`.")
deg2rad = unary(np.deg2rad, "`x` degrees in radians.", FLOAT)
rad2deg = unary(np.rad2deg, "`x` radians in degrees.", FLOAT)

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

erf = unary(special.erf, "Error function of `x`.")
erfc = unary(special.erfc, "``1 - erf(x)``, accurate for large `x`.", error=CEPHES)
erfinv = unary(special.erfinv, "Inverse of `erf`, for `x` between -1 and 1.", FLOAT, CEPHES)
expit = unary(
    special.expit,
    "The logistic function ``1 / (1 + exp(-x))``.",
    FLOAT,
)
logit = unary(special.logit, "Inverse of `expit`: ``log(x / (1 - x))``.", FLOAT, CEPHES)
gammaln = unary(
    special.gammaln, "Logarithm of the magnitude of the gamma function of `x`.", FLOAT, CEPHES
)
digamma = unary(
    special.psi,
    "Derivative of the logarithm of the gamma function of `x`.",
    FLOAT,
    CEPHES,
    name="digamma",
)
zeta = binary(
    special._zeta,
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
