"""Powers in the scalar dialect."""

from __future__ import annotations

from collections.abc import Callable

from .dialect import Scalar, Value, fma, program, rounding, select, sqrt
from .formats import (
    DOUBLE,
    INF,
    SINGLE,
    Format,
    Short,
    Sum,
    added,
    at_most,
    hexadecimal,
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
    times,
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
    z = power(select(given, product[0], 0.0), product[1])
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


def single_product(e: Value, m: Value, y: Value) -> Value:
    """The logarithm to base 2 of the number with these parts, times `y`: in double precision.

    There its error, times `y`, stays below a float's half ulp.
    """
    m, e = m.convert("float64"), (e * SINGLE.unit).convert("float64")
    return fma(polynomial("log2_wide", m), m, e) * y.convert("float64")


def single_exp2(z: Value) -> Value:
    """``2**z`` in double precision, for float32."""
    k = z + (DOUBLE.shifter + DOUBLE.bias)
    r = z - (k - (DOUBLE.shifter + DOUBLE.bias))
    return polynomial("exp2_wide", r) * power_of_two(DOUBLE, k.bits("uint64"))


def power_single(x: Value, y: Value) -> Short:
    """``x**y`` in float32, of numbers that are not rare."""
    z = single_product(*parts(SINGLE, x), y)
    rare = ~(usual(SINGLE, x) & at_most(DOUBLE, abs(z), 125.0))
    return single_exp2(z).convert("float32"), rare


def power_single_any(x: Value, y: Value) -> Value:
    """``x**y`` of any numbers in float32."""

    def product(t: Value, y: Value) -> Sum:
        z = single_product(*parts_any(SINGLE, t), y)
        return z, z

    def power(z: Value, _: Value) -> Value:
        z = lowered(DOUBLE, raised(DOUBLE, z, -200.0), 200.0)
        return single_exp2(z).convert("float32")

    return power_ends(SINGLE, x, y, product, power)


SQRT_HALF = DOUBLE.pattern(0.5**0.5)  # |s| below is smallest from here to its double


def log2_sum(e: Value, m: Value) -> Sum:
    """The logarithm to base 2 of the number with these parts; relative error near 2**-64."""
    # log(1 + m) = 2 * atanh(s) for s = m / (2 + m).
    inverse = 1.0 / (m + 2.0)
    head = m * inverse
    twice = head + head
    s = head, fma(-head, m, m - twice) * inverse  # m - twice is exact
    square = head * head
    u = square, fma(twice, s[1], fma(head, head, -square))
    third, third_lo = 1 / 3, hexadecimal("0x1.5555555555555p-56")
    rest = polynomial("atanh", square)
    w = fma(square, rest, third)
    z = times(s, times(u, (w, fma(square, rest, third - w) + third_lo)))
    half, lost = added(head, z[0])
    two_log2e = m.literal(2 * DOUBLE.log2e), m.literal(2 * DOUBLE.log2e_lo)
    y = times((half, lost + (z[1] + s[1])), two_log2e)
    whole, lost = added(e, y[0])
    return whole, lost + y[1]


def double_product(e: Value, m: Value, y: Value) -> Sum:
    """The logarithm to base 2 of the number with these parts, times `y`."""
    whole, lost = log2_sum(e, m)
    product = y * whole
    return product, fma(y, lost, fma(y, whole, -product))


def power_double(x: Value, y: Value) -> Short:
    """``x**y`` in float64, of numbers that are not rare."""
    f = DOUBLE
    product, rest = double_product(*parts(f, x, SQRT_HALF), y)
    k = product + (f.shifter + f.bias)
    r = (product - (k - (f.shifter + f.bias))) + rest
    z = fma(polynomial("exp2", r), r, 1.0) * power_of_two(f, k.bits(f.bits))
    return z, ~(usual(f, x) & at_most(f, abs(product), 1020.0))


def power_double_any(x: Value, y: Value) -> Value:
    """``x**y`` of any numbers in float64."""
    f = DOUBLE

    def power(product: Value, rest: Value) -> Value:
        rest = select(at_most(f, abs(product), 1100.0), rest, 0.0)
        product = lowered(f, raised(f, product, -1100.0), 1100.0)
        k = product + (f.shifter + 2 * f.bias)
        r = (product - (k - (f.shifter + 2 * f.bias))) + rest
        return scaled(f, fma(polynomial("exp2", r), r, 1.0), k.bits(f.bits))

    return power_ends(f, x, y, lambda t, y: double_product(*parts_any(f, t, SQRT_HALF), y), power)


def power(name: str, kind: str) -> Scalar:
    """The program of a power."""
    if kind == "float64":
        return program(name, (kind, kind), power_double, power_double_any)
    return program(name, (kind, kind), power_single, power_single_any)
