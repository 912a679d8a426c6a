"""Powers in the scalar dialect."""

from __future__ import annotations

from collections.abc import Callable

from .dialect import Scalar, Value, fma, program, rounding, select, sqrt
from .formats import (
    FORMATS,
    INF,
    Format,
    Short,
    Sum,
    added,
    at_most,
    keep_nan,
    lowered,
    negative,
    ordered,
    parts,
    parts_any,
    polynomial,
    positive,
    power_of_two,
    raised,
    scaled,
    usual,
    with_sign,
)

Exponent = Callable[[Value, Value], Value]


def power_ends(
    f: Format, x: Value, y: Value, logarithm: Callable[[Value, Value], Sum], power: Exponent
) -> Value:
    """``x**y``, and what C99 says about its ends (F.10.4.4)."""
    t = abs(x)
    # Beyond 2**80 all powers of other numbers than 1 are 0 or infinite.
    limited = with_sign(f, lowered(f, abs(y), 2.0**80), y)
    regular = positive(f, t)
    finite = ordered(f, abs(y)) < f.pattern(INF)
    # Of 0 and infinity, something whose logarithm has the sign of theirs.
    base = select(regular, t, select(t == 0, t.literal(0.5), 2.0))
    whole = rounding("rint", y) == y
    nothing = regular & negative(f, x) & ~whole & finite
    given = regular & finite & ~nothing
    product = logarithm(base, limited)
    z = power(select(given, product[0], 0.0), select(given, product[1], 0.0))
    ends = select(product[0] > 0, INF, select(product[0] < 0, z.literal(0.0), 1.0))
    z = select(given, z, ends)
    # Whatever raises a flag here stands outside of the select that wants it.
    down = negative(f, y) & (y == y) & (y != 0)
    pole = 1.0 / select((t == 0) & down, t, base + 1.0)
    z = select(ordered(f, pole) == f.pattern(INF), pole, z)
    half = y * 0.5
    odd = whole & (rounding("rint", half) != half)
    root = sqrt((base.bits(f.bits) | select(nothing, x.bits(f.bits) & f.sign, 0)).bits(f.kind))
    z = z + (root - root)  # 0 or NaN
    z = (z.bits(f.bits) | select(odd, x.bits(f.bits) & f.sign, 0)).bits(f.kind)
    z = keep_nan(keep_nan(z, y), x)
    return select((y == 0) | (x == 1), 1.0, z)


def log2_sum(f: Format, e: Value, m: Value) -> Sum:
    """The logarithm to base 2 of the number with these parts; relative error near 2**-32 or -64."""
    # log(1 + m) = 2 * atanh(s) for s = m / (2 + m).
    inverse = 1.0 / (m + 2.0)
    s = m * inverse
    s_lo = fma(-s, m, fma(s, -2.0, m)) * inverse  # the first of the two is exact
    # p = 2/log(2) * s
    p = s * (2 * f.log2e)
    p_lo = fma(s_lo, 2 * f.log2e, fma(s, 2 * f.log2e_lo, fma(s, 2 * f.log2e, -p)))
    # p + p * s**2 * w, the sum's tail first, so that its steps run beside those of s
    u = s * s
    u_lo = fma(s + s, s_lo, fma(s, s, -u))
    third, third_lo = f.third
    rest = polynomial("atanh", u)
    w = fma(u, rest, third)
    w_lo = fma(u, rest, third - w) + third_lo
    q = p * u
    q_lo = fma(p_lo, u, fma(p, u_lo, fma(p, u, -q)))
    pg = q * w
    pg_lo = fma(q_lo, w, fma(q, w_lo, fma(q, w, -pg)))
    y, lost = added(p, pg)
    lost = lost + (pg_lo + p_lo)
    whole, y_lo = added(e * f.unit, y)
    return whole, y_lo + lost


def logarithm_times(f: Format, e: Value, m: Value, y: Value) -> Sum:
    """The logarithm to base 2 of the number with these parts, times `y`."""
    whole, lost = log2_sum(f, e, m)
    product = y * whole
    return product, fma(y, lost, fma(y, whole, -product))


def exp2_steps(f: Format, product: Value, rest: Value, bias: int) -> tuple[Value, Value]:
    """2 to the power of the fraction of a sum, and bits that end in its whole part + bias."""
    k = product + (f.shifter + bias)
    r = (product - (k - (f.shifter + bias))) + rest
    return fma(polynomial("exp2", r), r, 1.0), k.bits(f.bits)


def power_short(f: Format, x: Value, y: Value) -> Short:
    """``x**y`` of numbers that are not rare."""
    product, rest = logarithm_times(f, *parts(f, x, f.pattern(0.5**0.5)), y)
    z, k = exp2_steps(f, product, rest, f.bias)
    return z * power_of_two(f, k), ~(usual(f, x) & at_most(f, abs(product), f.bias - 3.0))


def power_any(f: Format, x: Value, y: Value) -> Value:
    """``x**y`` of any numbers."""
    limit = f.bias + f.mantissa + 25.0

    def logarithm(t: Value, y: Value) -> Sum:
        return logarithm_times(f, *parts_any(f, t, f.pattern(0.5**0.5)), y)

    def exponential(product: Value, rest: Value) -> Value:
        rest = select(at_most(f, abs(product), limit), rest, 0.0)
        product = lowered(f, raised(f, product, -limit), limit)
        return scaled(f, *exp2_steps(f, product, rest, 2 * f.bias))

    return power_ends(f, x, y, logarithm, exponential)


def power(name: str, kind: str) -> Scalar:
    """The program of a power."""
    f = FORMATS[kind]
    return program(
        name, (kind, kind), lambda x, y: power_short(f, x, y), lambda x, y: power_any(f, x, y)
    )
