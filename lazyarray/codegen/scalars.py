"""Exponentials, logarithms, hyperbolic functions and erf in the scalar dialect.

All are free of branches and tables, so that loops over them become vector code, and divide at most
once. What is exact is said; the bounds of the results are measured in tests/test_vmath.py. The
usual scheme: reduce the argument exactly enough, evaluate a polynomial whose leading terms are
written out (so that their rounding does not count), rebuild the result by scaling or selecting.

A function of two programs leaves the rare numbers to the second: where a result overflows or gets
subnormal, and beyond the ends. The flags of an invalid operation, a division by zero and an
overflow are those of C99, where the compilers leave them alone (tests/test_vmath.py asks).
"""

from __future__ import annotations

from collections.abc import Callable

from .circular import circular, cos, sin, tan
from .dialect import Scalar, Value, fma, select, sqrt
from .formats import (
    INF,
    SINGLE,
    Body,
    Format,
    Maker,
    Pair,
    Short,
    added,
    at_most,
    exponent,
    keep_nan,
    lowered,
    negative,
    ordered,
    paired,
    parts,
    parts_any,
    polynomial,
    positive,
    power_of_two,
    raised,
    scaled,
    unary,
    usual,
    with_sign,
)
from .powers import power

# ---- exponentials


def ln2_steps(f: Format, x: Value, near: Value, bias: int) -> tuple[Value, Value, Value]:
    """``x - n*log(2)`` for some n, what its rounding lost, and bits that end in n + bias.

    n is nearest for `near`, which is `x`, but within the range of the result.
    """
    k = fma(near, f.log2e, f.shifter + bias)
    n = k - (f.shifter + bias)
    first = fma(n, -f.ln2, x)
    r = fma(n, -f.ln2_lo, first)
    return r, fma(n, -f.ln2_lo, first - r), k.bits(f.bits)


def exp(f: Format, x: Value, halvings: int = 0) -> Value:
    """E to the power `x`, which +NaN may be; over ``2**halvings``."""
    # An infinite or huge `x` goes through as it is: infinity is exact, the other overflows.
    x = raised(f, x, f.exp_low)
    r, _, k = ln2_steps(f, x, lowered(f, x, f.exp_high + 1.0), 2 * f.bias - halvings)
    return scaled(f, fma(fma(polynomial("exp", r), r, 1.0), r, 1.0), k)


def exp_any(f: Format, x: Value) -> Value:
    """`exp` of any number."""
    return keep_nan(exp(f, x), x)


def exp_inside(f: Format, x: Value) -> Value:
    """`exp` where it neither overflows nor gets subnormal."""
    r, _, k = ln2_steps(f, x, x, f.bias)
    y = fma(fma(polynomial("exp", r), r, 1.0), r, 1.0)
    return y * power_of_two(f, k)


def exp_short(f: Format, x: Value) -> Short:
    """`exp` of the numbers that are not rare."""
    return exp_inside(f, x), ~at_most(f, abs(x), f.plain)


def exp2_short(f: Format, x: Value) -> Short:
    """2 to the power `x`, of the numbers that are not rare."""
    k = x + (f.shifter + f.bias)
    r = x - (k - (f.shifter + f.bias))  # exact
    y = fma(polynomial("exp2", r), r, 1.0) * power_of_two(f, k.bits(f.bits))
    return y, ~at_most(f, abs(x), f.bias - 2.0)


def exp2_any(f: Format, x: Value) -> Value:
    """2 to the power of any number."""
    t = abs(x)
    finite = ordered(f, t) < f.pattern(INF)
    limited = with_sign(f, lowered(f, t, -1.5 * f.exp_low), x)
    given = (limited.bits(f.bits) & (0 - finite.convert(f.bits))).bits(f.kind)
    k = given + (f.shifter + 2 * f.bias)
    r = given - (k - (f.shifter + 2 * f.bias))
    y = scaled(f, fma(polynomial("exp2", r), r, 1.0), k.bits(f.bits))
    none = x.bits(f.bits) == f.sign | f.pattern(INF)
    return select(finite, y, select(none, 0.0, x))


def expm1_short(f: Format, x: Value) -> Short:
    """``exp(x) - 1`` of the numbers that are not rare."""
    # 2**n * (exp(r) - 1) + (2**n - 1)
    r, lost, k = ln2_steps(f, x, x, f.bias)
    grow = power_of_two(f, k)
    tail = fma(r * r, polynomial("exp", r), lost)
    y = fma(grow, tail, fma(grow, r, grow - 1.0))
    return with_sign(f, y, x), ~at_most(f, abs(x), f.plain)


def expm1_any(f: Format, x: Value) -> Value:
    """``exp(x) - 1`` of any number."""
    inside = at_most(f, abs(x), f.plain)
    short, _ = expm1_short(f, select(inside, x, 0.0))
    return keep_nan(select(inside, short, select(negative(f, x), -1.0, exp(f, x))), x)


def expit(f: Format, x: Value) -> Value:
    """``1 / (1 + exp(-x))``, by the exponential that is below 1."""
    e = exp(f, -abs(x))
    return keep_nan(select(negative(f, x), e, 1.0) / (e + 1.0), x)


# ---- logarithms


def beyond(f: Format, x: Value) -> Value:
    """The logarithm of what is not positive and finite."""
    # The square root is NaN or infinity and raises what it should, so does the division: no select
    # may depend on the other's condition, or compilers compute what is not selected; nor may one
    # compare for equality with infinity, or they compare numbers, which finds fault with NaN.
    t = abs(x)
    pole = -1.0 / select(x == 0, t, t + 1.0)
    return select(pole.bits(f.bits) >= f.sign | f.pattern(INF), pole, sqrt(x))


def logarithm(body: Callable[[Format, Value, Value], Value]) -> Pair:
    """The short and the full program of a logarithm, by what it is of `parts`."""
    return (
        lambda f, x: (body(f, *parts(f, x)), ~usual(f, x)),
        lambda f, x: select(positive(f, x), body(f, *parts_any(f, x)), beyond(f, x)),
    )


def log_parts(f: Format, e: Value, m: Value) -> Value:
    """The natural logarithm."""
    y = fma(m * m, polynomial("log", m), m)
    return fma(e, f.ln2 * f.unit, fma(e, f.ln2_lo * f.unit, y))


def log2_parts(f: Format, e: Value, m: Value) -> Value:
    """The logarithm to base 2; exact for powers of 2."""
    return fma(m, polynomial("log2", m), e * f.unit)


def log10_parts(f: Format, e: Value, m: Value) -> Value:
    """The logarithm to base 10."""
    y = fma(e, f.log10_2_lo * f.unit, m * m * polynomial("log10", m))
    return fma(e, f.log10_2 * f.unit, fma(m, f.log10e, y))


def log1p(f: Format, x: Value) -> Short:
    """``log(1 + x)`` of the numbers that are not rare."""
    # The exponent e of the rounded 1 + x; then m = x * 2**-e + (2**-e - 1), rounded once.
    e, high = exponent(f, x + 1.0, f.two_thirds)
    shrink = (f.pattern(1.0) - high).bits(f.kind)
    m = fma(x, shrink, shrink - 1.0)
    inside = (ordered(f, x) < f.pattern(2.0**100)) & (x.bits(f.bits) < f.sign | f.pattern(1.0))
    return with_sign(f, log_parts(f, e, m), x), ~inside


def log1p_any(f: Format, x: Value) -> Value:
    """``log(1 + x)`` of any number."""
    # Beyond 2**100 the 1 is nothing.
    _, rare = log1p(f, x)
    short, _ = log1p(f, select(rare, 1.0, x))
    huge = x.bits(f.bits) - f.pattern(2.0**100) < f.pattern(INF) - f.pattern(2.0**100)
    long = log_parts(f, *parts(f, select(huge, x, 1.0)))
    return select(rare, select(huge, long, beyond(f, x + 1.0)), short)


# ---- hyperbolic functions


def halves(f: Format, x: Value) -> tuple[Value, Value, Value, Value, Value]:
    """For ``x = n*log(2) + r``: r, sinh(r) - r, cosh(r) - 1; 2**n and 2**-n, both over 2."""
    r, lost, k = ln2_steps(f, x, x, f.bias - 1)
    u = r * r
    s = fma(r * u, polynomial("sinh", u), lost)
    c = u * fma(polynomial("cosh", u), u, 0.5)
    grow = k << f.mantissa
    shrink = (2 * f.bias - 2 << f.mantissa) - grow
    return r, s, c, grow.bits(f.kind), shrink.bits(f.kind)


def sinh(f: Format, x: Value) -> Value:
    """The hyperbolic sine up to f.plain."""
    r, s, c, a, b = halves(f, abs(x))
    odd = a - b
    return with_sign(f, fma(a + b, r, odd) + fma(a + b, s, odd * c), x)


def cosh(f: Format, x: Value) -> Value:
    """The hyperbolic cosine up to f.plain."""
    r, s, c, a, b = halves(f, abs(x))
    even = a + b
    return even + fma(even, c, (a - b) * (r + s))


def hyperbolic(body: Body, odd: bool) -> Pair:
    """The short and the full program of one of the two."""

    def full(f: Format, x: Value) -> Value:
        inside = at_most(f, abs(x), f.plain)
        y = keep_nan(exp(f, abs(x), 1), x)
        y = with_sign(f, y, x) if odd else y
        return select(inside, body(f, select(inside, x, 0.0)), y)

    return lambda f, x: (body(f, x), ~at_most(f, abs(x), f.plain)), full


def tanh(f: Format, x: Value) -> Value:
    """The hyperbolic tangent."""
    if f is SINGLE:
        # t + t * (t**2 / p(t**2)), or 1 + 1 * (1**2 / (-exp(2*t)/2 - 1/2)).
        t = lowered(f, abs(x), 10.0)
        least = lowered(f, abs(x), 1.0)
        square = least * least
        k = fma(t, 2 * f.log2e, f.shifter + f.bias - 1)
        r = fma(k - (f.shifter + f.bias - 1), -0.5 * f.ln2, t)
        e = fma(fma(polynomial("exp_twice", r), r, 2.0), r, 1.0)
        under = fma(e, -power_of_two(f, k.bits(f.bits)), -0.5)
        w = square / select(at_most(f, t, 1.0), polynomial("tanh", square), under)
        y = fma(least, w, least)
    else:
        # e / (e + 2) for e = exp(2*t) - 1, as a sum; corrected by what the quotient leaves over.
        t = lowered(f, abs(x), 20.0)
        r, lost, k = ln2_steps(f, t + t, t + t, f.bias)
        power = power_of_two(f, k)
        tail = fma(r * r, polynomial("exp", r), lost)
        e, e_lo = added(fma(power, r, power - 1.0), power * tail)
        under = e + 2.0
        inverse = 1.0 / under
        y = e * inverse
        left = fma(-y, under, e) + fma(-y, e - (under - 2.0) + e_lo, e_lo)
        y = fma(left, inverse, y)
        y = select(at_most(f, t, 2.0**-60), t, y)
    return keep_nan(with_sign(f, y, x), x)


# ---- erf


def erf(f: Format, x: Value) -> Value:
    """The error function."""
    t = lowered(f, abs(x), 3.95 if f is SINGLE else 5.95)
    u = t * t
    low = fma(polynomial("erf_small", u), t, t)
    high = polynomial("erf_large", t if f is SINGLE else t - 2.0)
    high = 1.0 - exp_inside(f, -high)
    y = select(t < (0.9375 if f is SINGLE else 1.0), low, high)
    return keep_nan(with_sign(f, y, x), x)


# ---- all of them


def exponential(name: str, kind: str) -> Scalar:
    """The program of exp."""
    # float32 numbers below f.plain are no exception: masks in neural networks.
    return (unary(exp_any) if kind == "float32" else paired(exp_short, exp_any))(name, kind)


FUNCTIONS: dict[str, Maker] = {
    "exp": exponential,
    "exp2": paired(exp2_short, exp2_any),
    "expm1": paired(expm1_short, expm1_any),
    "expit": unary(expit),
    "log": paired(*logarithm(log_parts)),
    "log2": paired(*logarithm(log2_parts)),
    "log10": paired(*logarithm(log10_parts)),
    "log1p": paired(log1p, log1p_any),
    "sin": circular(sin),
    "cos": circular(cos),
    "tan": circular(tan),
    "sinh": paired(*hyperbolic(sinh, odd=True)),
    "cosh": paired(*hyperbolic(cosh, odd=False)),
    "tanh": unary(tanh),
    "erf": unary(erf),
    "power": power,
}
