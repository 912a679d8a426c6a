"""Exponentials, logarithms, trigonometry, erf and powers in the scalar dialect.

All are free of branches and tables, so that loops over them become vector code, and divide at most
once. What is exact is said; the bounds of the results are measured in tests/test_vmath.py. The
usual scheme: reduce the argument exactly enough, evaluate a polynomial whose leading terms are
written out (so that their rounding does not count), rebuild the result by scaling or selecting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from .coefficients import TABLE
from .dialect import Scalar, Value, fma, program, rounding, select

INF = float("inf")
NAN = float("nan")
hexadecimal = float.fromhex


@dataclass(frozen=True, slots=True)
class Format:
    """A floating type, and constants rounded to it; `_lo` is what the first rounding lost."""

    kind: str
    bits: str  # the unsigned integer of its width
    mantissa: int  # stored bits
    bias: int
    two_thirds: int  # the bits of 2/3
    smallest: float  # normal number
    exp_low: float  # exp is 0 from here on
    exp_high: float  # and infinite from here on
    ln2: float
    ln2_lo: float
    log2e: float
    log2e_lo: float
    log10e: float
    log10e_lo: float
    log10_2: float
    log10_2_lo: float
    half_pi: tuple[float, float, float]
    far: float  # up to here half_pi reduces arguments exactly enough

    @property
    def shifter(self) -> float:
        """Adding it rounds to an integer, which then stands in the lowest bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def sign(self) -> int:
        """The bit of the sign."""
        return 1 << (self.mantissa + self.bias.bit_length() + 1)


SINGLE = Format(
    "float32", "uint32", 23, 127, 0x3F2AAAAB, 2.0**-126, -104.0, 89.0,
    hexadecimal("0x1.62e43p-1"), hexadecimal("-0x1.05c61p-29"),
    hexadecimal("0x1.715476p+0"), hexadecimal("0x1.4ae0cp-26"),
    hexadecimal("0x1.bcb7b2p-2"), hexadecimal("-0x1.5b235ep-27"),
    hexadecimal("0x1.344136p-2"), hexadecimal("-0x1.ec10cp-27"),
    (hexadecimal("0x1.921fb6p+0"), hexadecimal("-0x1.777a5cp-25"), hexadecimal("-0x1.ee59dap-50")),
    2.0**17,
)  # fmt: skip
DOUBLE = Format(
    "float64", "uint64", 52, 1023, 0x3FE5555555555555, 2.0**-1022, -746.0, 710.0,
    hexadecimal("0x1.62e42fefa39efp-1"), hexadecimal("0x1.abc9e3b39803fp-56"),
    hexadecimal("0x1.71547652b82fep+0"), hexadecimal("0x1.777d0ffda0d24p-56"),
    hexadecimal("0x1.bcb7b1526e50ep-2"), hexadecimal("0x1.95355baaafad3p-57"),
    hexadecimal("0x1.34413509f79ffp-2"), hexadecimal("-0x1.9dc1da994fd21p-59"),
    (hexadecimal("0x1.921fb54442d18p+0"), hexadecimal("0x1.1a62633145c07p-54"),
     hexadecimal("-0x1.f1976b7ed8fbcp-110")),
    2.0**25,
)  # fmt: skip
FORMATS = {"float32": SINGLE, "float64": DOUBLE}

TWO_OVER_PI = (
    0x0000000000000000, 0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041,
    0xFE5163ABDEBBC561, 0xB7246E3A424DD2E0, 0x06492EEA09D1921C, 0xFE1DEB1CB129A73E,
    0xE88235F52EBB4484, 0xE99C7026B45F7E41, 0x3991D639835339F4, 0x9C845F8BBDF9283B,
    0x1FF897FFDE05980F, 0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7, 0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B, 0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08, 0x56033046FC7B6BAB,
)  # fmt: skip
"""The bits of 2/pi behind the point, after 64 zeros."""


def polynomial(name: str, x: Value) -> Value:
    """The polynomial of this name in `x`, by Horner's rule."""
    *rest, last = TABLE[name, x.type]
    y = x.literal(last)
    for coefficient in reversed(rest):
        y = fma(y, x, coefficient)
    return y


def clamped(x: Value, low: float, high: float) -> Value:
    """`x` between two numbers; NaN stays."""
    x = select(x < low, low, x)
    return select(x > high, high, x)


def with_sign(f: Format, y: Value, x: Value) -> Value:
    """`y` with the sign of `x`, where `y` has none."""
    return (y.bits(f.bits) | (x.bits(f.bits) & f.sign)).bits(f.kind)


# ---- sums of two

Sum = tuple[Value, Value]
"""A number as a rounded sum, and what the rounding lost."""


def added(a: Value, b: Value) -> Sum:
    """``a + b``, where `a` is not the smaller one."""
    whole = a + b
    return whole, (a - whole) + b


def times(a: Sum, b: Sum) -> Sum:
    """A product of two sums."""
    whole = a[0] * b[0]
    return whole, fma(a[0], b[0], -whole) + fma(a[0], b[1], a[1] * b[0])


def divided(a: Sum, b: Sum) -> Value:
    """The quotient of two sums, corrected by what it leaves over."""
    inverse = 1.0 / b[0]
    y = a[0] * inverse
    left = fma(-y, b[0], a[0]) + fma(-y, b[1], a[1])
    return fma(left, inverse, y)


# ---- exponentials


def ln2_steps(f: Format, x: Value, bias: int) -> tuple[Value, Value, Value]:
    """``x - n*log(2)`` for the nearest n, what its rounding lost, and bits that end in n + bias."""
    k = fma(x, f.log2e, f.shifter + bias)
    n = k - (f.shifter + bias)
    first = fma(n, -f.ln2, x)
    r = fma(n, -f.ln2_lo, first)
    return r, fma(n, -f.ln2_lo, first - r), k.bits(f.bits)


def scaled(f: Format, y: Value, k: Value) -> Value:
    """``y * 2**n`` rounded once, k having n + 2*bias in its lowest bits."""
    half = k >> 1
    low = (half << f.mantissa).bits(f.kind)
    high = ((k - half) << f.mantissa).bits(f.kind)
    return y * low * high


def exp(f: Format, x: Value) -> Value:
    """E to the power `x`."""
    r, _, k = ln2_steps(f, clamped(x, f.exp_low, f.exp_high), 2 * f.bias)
    return scaled(f, fma(fma(polynomial("exp", r), r, 1.0), r, 1.0), k)


def exp_inside(f: Format, x: Value) -> Value:
    """`exp` where it neither overflows nor gets subnormal."""
    r, _, k = ln2_steps(f, x, f.bias)
    y = fma(fma(polynomial("exp", r), r, 1.0), r, 1.0)
    return y * (k << f.mantissa).bits(f.kind)


def exp2(f: Format, x: Value) -> Value:
    """2 to the power `x`."""
    x = clamped(x, f.exp_low * 1.5, f.bias + 1.0)
    k = x + (f.shifter + 2 * f.bias)
    r = x - (k - (f.shifter + 2 * f.bias))  # exact
    return scaled(f, fma(polynomial("exp2", r), r, 1.0), k.bits(f.bits))


def expm1(f: Format, x: Value) -> Value:
    """``exp(x) - 1``."""
    # 2**n * (exp(r) - 1) + (2**n - 1), in halves: 2**n overflows before the result does.
    r, lost, k = ln2_steps(f, clamped(x, -40.0, f.exp_high), f.bias - 1)
    half = (k << f.mantissa).bits(f.kind)
    tail = fma(r * r, polynomial("exp", r), lost)
    y = fma(half, tail, fma(half, r, half - 0.5))
    return select(abs(x) < 2.0**-60, x, y + y)


def expit(f: Format, x: Value) -> Value:
    """``1 / (1 + exp(-x))``, by the exponential that is below 1."""
    e = exp(f, -abs(x))
    return select(x < 0, e, 1.0) / (e + 1.0)


# ---- logarithms


def parts(f: Format, x: Value) -> tuple[Value, Value]:
    """The e and f, where ``x = 2**e * (1 + f)`` for positive finite x, and |f| <= 1/3; exact."""
    tiny = x < f.smallest
    grown = f.mantissa + 1
    e, m = normal_parts(f, select(tiny, x * 2.0**grown, x))
    return select(tiny, e - grown, e), m


def normal_parts(f: Format, x: Value) -> tuple[Value, Value]:
    """`parts` of a number that is not subnormal."""
    i, _, e = exponent(f, x)
    m = (i & ((1 << f.mantissa) - 1)) + f.two_thirds
    return e, m.bits(f.kind) - 1.0


def exponent(f: Format, x: Value) -> tuple[Value, Value, Value]:
    """Bits that end in those of x / 2**e, for x / 2**e from 2/3 to 4/3; e + bias + 1; and e."""
    up = f.bias + 1  # so that it stays positive, and the shifter makes it a number
    i = x.bits(f.bits) - (f.two_thirds - (up << f.mantissa))
    above = i >> f.mantissa
    number = (above | ((f.bias + f.mantissa) << f.mantissa)).bits(f.kind)
    return i, above, number - (2.0**f.mantissa + up)


def log_ends(x: Value, y: Value) -> Value:
    """The logarithm `y` of `x`, with the values at and beyond the ends."""
    y = select(x < INF, y, x)
    return select(x <= 0, select(x == 0, x.literal(-INF), NAN), y)


def log_tail(f: Value) -> Value:
    """``log(1 + f) - f``."""
    return f * f * fma(polynomial("log", f), f, -0.5)


def log(f: Format, x: Value) -> Value:
    """The natural logarithm."""
    e, m = parts(f, x)
    y = fma(e, f.ln2, m + fma(e, f.ln2_lo, log_tail(m)))
    return log_ends(x, y)


def log2(f: Format, x: Value) -> Value:
    """The logarithm to base 2; exact for powers of 2."""
    e, m = parts(f, x)
    y = fma(m, f.log2e, fma(m, f.log2e_lo, log_tail(m) * f.log2e))
    return log_ends(x, e + y)


def log10(f: Format, x: Value) -> Value:
    """The logarithm to base 10."""
    e, m = parts(f, x)
    tail = fma(m, f.log10e_lo, log_tail(m) * f.log10e)
    y = fma(e, f.log10_2, fma(m, f.log10e, fma(e, f.log10_2_lo, tail)))
    return log_ends(x, y)


def log1p(f: Format, x: Value) -> Value:
    """``log(1 + x)``."""
    # The exponent e of the rounded 1 + x; then f = x * 2**-e + (2**-e - 1), rounded once.
    _, above, e = exponent(f, x + 1.0)
    k = 3 * f.bias + 1 - above  # 2*bias - e
    half = k >> 1
    low = (half << f.mantissa).bits(f.kind)
    high = ((k - half) << f.mantissa).bits(f.kind)
    m = fma(x * low, high, low * high - 1.0)
    y = fma(e, f.ln2, m + fma(e, f.ln2_lo, log_tail(m)))
    y = select(x < INF, y, x)
    y = select(x <= -1, select(x == -1, x.literal(-INF), NAN), y)
    return select(abs(x) < 2.0**-60, x, y)


# ---- trigonometry

Reduced = tuple[Value, Value, Value]
"""The quotient, and the remainder as a sum of two numbers."""


def near(f: Format, x: Value) -> Reduced:
    """`x` (not negative, up to f.far) by pi/2, after Cody and Waite: pi/2 in three parts."""
    first, second, third = f.half_pi
    k = fma(x, 1 / (first + second), f.shifter)
    n = k - f.shifter
    r = fma(n, -first, x)  # exact
    product = n * second
    hi = r - product
    rest = (r - hi) - product  # exact, as r is a multiple of the last place of product
    lo = fma(n, -third, rest - fma(n, second, -product))
    return k.bits(f.bits), hi, lo


def multiplied(a: Value, b: Value) -> tuple[Value, Value]:
    """The high and the low 64 bits of a product."""
    mask = 0xFFFFFFFF
    a0, a1, b0, b1 = a & mask, a >> 32, b & mask, b >> 32
    low = a0 * b0
    middle = a1 * b0 + (low >> 32)
    other = a0 * b1 + (middle & mask)
    return a1 * b1 + (middle >> 32) + (other >> 32), a * b


def two_over_pi(start: Value, words: int) -> list[Value]:
    """Words of 64 bits of 2/pi, from this bit of TWO_OVER_PI on."""
    index, shift = start >> 6, start & 63
    found = []
    for word in range(words + 1):
        w = start.literal(TWO_OVER_PI[word])
        for i in range(1, len(TWO_OVER_PI) - words):
            w = select(index == i, TWO_OVER_PI[i + word], w)
        found.append(w)
    return [(high << shift) | ((low >> 1) >> (63 - shift)) for high, low in pairwise(found)]


def distant(f: Format, x: Value) -> Reduced:
    """Any `x` (not negative) by pi/2, after Payne and Hanek: an integer product modulo 4."""
    i = x.bits(f.bits).convert("uint64")
    significand = (i & ((1 << f.mantissa) - 1)) | (1 << f.mantissa)
    # The bits of 2/pi before this one give multiples of 4.
    start = (i >> f.mantissa) + (64 - 2 - f.bias - f.mantissa)
    first, second, third = two_over_pi(start, 3)
    high, low = multiplied(significand, second)
    more, _ = multiplied(significand, third)
    low = low + more
    high = high + significand * first + (low < more).convert("uint64")
    # 2 bits of quotient, 126 of fraction: rounded, then the rest as a signed number.
    quotient = (high + (1 << 61)) >> 62
    rest = (high - (quotient << 62)).bits("int64")
    hi = rest.convert("float64")
    left = rest - hi.convert("int64")
    lo = fma((low >> 11).bits("int64").convert("float64"), 2.0**-53, left.convert("float64"))
    # Times pi/2, as sums of two.
    whole = hi + lo
    lo = ((hi - whole) + lo) * 2.0**-62
    whole = whole * 2.0**-62
    first_part, second_part, _ = DOUBLE.half_pi
    r = whole * first_part
    tail = fma(whole, first_part, -r) + fma(whole, second_part, lo * first_part)
    q = quotient.convert(f.bits)
    finite = x < INF
    if f is DOUBLE:
        return q, select(finite, r, NAN), tail
    short = r.convert("float32")
    rest_of_it = (r - short.convert("float64")) + tail
    return q, select(finite, short, NAN), rest_of_it.convert("float32")


def sine_and_cosine(hi: Value, lo: Value) -> tuple[Sum, Sum]:
    """Of ``hi + lo`` between -pi/4 and pi/4."""
    u = hi * hi
    sine = added(hi, fma(hi * u, polynomial("sin", u), lo))
    head = fma(u, -0.5, 1.0)
    rest = fma(u, -0.5, 1.0 - head)  # exact
    cosine = added(head, fma(u * u, polynomial("cos", u), fma(-hi, lo, rest)))
    return sine, cosine


Reduction = Callable[[Format, Value], Reduced]


def quadrant(f: Format, q: Value, turn: int) -> Value:
    """The bit `turn` of a quotient as a sign."""
    return (q << (f.sign.bit_length() - 1 - turn)) & f.sign


def sin(f: Format, x: Value, reduce: Reduction) -> Value:
    """The sine, by either polynomial."""
    q, hi, lo = reduce(f, abs(x))
    sine, cosine = sine_and_cosine(hi, lo)
    y = select((q & 1) == 0, sine[0], cosine[0])
    sign = quadrant(f, q, 1) ^ (x.bits(f.bits) & f.sign)
    return (y.bits(f.bits) ^ sign).bits(f.kind)


def cos(f: Format, x: Value, reduce: Reduction) -> Value:
    """The cosine, by either polynomial."""
    q, hi, lo = reduce(f, abs(x))
    sine, cosine = sine_and_cosine(hi, lo)
    y = select((q & 1) == 0, cosine[0], sine[0])
    return (y.bits(f.bits) ^ quadrant(f, q + 1, 1)).bits(f.kind)


def tan(f: Format, x: Value, reduce: Reduction) -> Value:
    """The tangent: a corrected quotient."""
    q, hi, lo = reduce(f, abs(x))
    sine, cosine = sine_and_cosine(hi, lo)
    even = (q & 1) == 0
    over, under = (
        [select(even, a, b) for a, b in zip(*pair, strict=True)]
        for pair in ((sine, cosine), (cosine, sine))
    )
    y = divided((over[0], over[1]), (under[0], under[1]))
    sign = quadrant(f, q, 0) ^ (x.bits(f.bits) & f.sign)
    return (y.bits(f.bits) ^ sign).bits(f.kind)


# ---- hyperbolic functions


def halves(f: Format, x: Value) -> tuple[Value, Value, Value, Value, Value]:
    """For ``x = n*log(2) + r``: r, sinh(r) - r, cosh(r) - 1; 2**n and 2**-n, both over 4."""
    r, lost, k = ln2_steps(f, clamped(x, 0.0, f.exp_high + 0.5), 0)
    u = r * r
    s = fma(r * u, polynomial("sinh", u), lost)
    c = u * fma(polynomial("cosh", u), u, 0.5)
    n = k & (2 * f.bias + 1)
    grow = ((n + (f.bias - 2)) << f.mantissa).bits(f.kind)
    shrink = select(n < f.bias - 2, ((f.bias - 2) - n) << f.mantissa, 0).bits(f.kind)
    return r, s, c, grow, shrink


def sinh(f: Format, x: Value) -> Value:
    """The hyperbolic sine."""
    r, s, c, a, b = halves(f, abs(x))
    odd = a - b
    y = fma(a + b, r, odd) + fma(a + b, s, odd * c)
    return with_sign(f, select(abs(x) < 2.0**-60, abs(x), y + y), x)


def cosh(f: Format, x: Value) -> Value:
    """The hyperbolic cosine."""
    r, s, c, a, b = halves(f, abs(x))
    even = a + b
    y = even + fma(even, c, (a - b) * (r + s))
    return y + y


def tanh(f: Format, x: Value) -> Value:
    """The hyperbolic tangent."""
    t = abs(x)
    if f is SINGLE:
        u = t * t
        low = fma(t * u, polynomial("tanh", u), t)
        high = 1.0 - 2.0 / (exp_inside(f, clamped(t + t, 0.0, 20.0)) + 1.0)
        y = select(t < 1, low, high)
    else:
        # e / (e + 2) for e = exp(2*t) - 1, as a sum; corrected by what the quotient leaves over.
        r, lost, k = ln2_steps(f, clamped(t + t, 0.0, 40.0), f.bias)
        power = (k << f.mantissa).bits(f.kind)
        tail = fma(r * r, polynomial("exp", r), lost)
        e, e_lo = added(fma(power, r, power - 1.0), power * tail)
        under = e + 2.0
        inverse = 1.0 / under
        y = e * inverse
        left = fma(-y, under, e) + fma(-y, e - (under - 2.0), e_lo)
        y = fma(left, inverse, y)
        y = select(t < 2.0**-60, t, y)
    return with_sign(f, y, x)


# ---- erf


def erf(f: Format, x: Value) -> Value:
    """The error function."""
    t = abs(x)
    u = t * t
    low = fma(polynomial("erf_small", u), t, t)
    if f is SINGLE:
        high = polynomial("erf_large", select(t > 3.95, 3.95, t))
    else:
        high = polynomial("erf_large", select(t > 5.95, 5.95, t) - 2.0)
    high = 1.0 - exp_inside(f, -high)
    y = select(t < (0.9375 if f is SINGLE else 1.0), low, high)
    return with_sign(f, y, x)


# ---- powers


def power_ends(f: Format, x: Value, y: Value, z: Value) -> Value:
    """``x**y`` from ``abs(x)**y``: signs, and what C99 says (F.10.4.4)."""
    whole = rounding("rint", y) == y
    half = y * 0.5
    odd = whole & (rounding("rint", half) != half)
    sign = select(odd, x.bits(f.bits) & f.sign, 0)
    z = (z.bits(f.bits) | sign).bits(f.kind)
    z = select((x < 0) & ~whole & (x > -INF) & (z == z), NAN, z)
    one = (y == 0) | (x == 1) | ((x == -1) & (abs(y) == INF))
    return select(one, 1.0, z)


def power_single(f: Format, x: Value, y: Value) -> Value:
    """``x**y`` in float32."""
    # In double precision, where the logarithm's error, times y, stays below a float's half ulp.
    t = abs(x).convert("float64")
    e, m = normal_parts(DOUBLE, t)
    z = fma(polynomial("log2_wide", m), m, e)
    z = select(t < INF, select(t == 0, -INF, z), t)
    z = clamped(z * y.convert("float64"), -200.0, 200.0)
    k = z + (DOUBLE.shifter + DOUBLE.bias)
    r = z - (k - (DOUBLE.shifter + DOUBLE.bias))
    scale = (k.bits("uint64") << DOUBLE.mantissa).bits("float64")
    z = polynomial("exp2_wide", r) * scale
    return power_ends(f, x, y, z.convert("float32"))


def log2_sum(x: Value) -> Sum:
    """The logarithm of positive finite `x` to base 2; relative error near 2**-64."""
    e, m = parts(DOUBLE, x)
    # log(1 + m) = 2 * atanh(s) for s = m / (2 + m).
    under = added(m.literal(2.0), m)
    inverse = 1.0 / under[0]
    head = m * inverse
    s = head, (fma(-head, under[0], m) - head * under[1]) * inverse
    u = times(s, s)
    third, third_lo = 1 / 3, hexadecimal("0x1.5555555555555p-56")
    w = added(m.literal(third), u[0] * polynomial("atanh", u[0]))
    z = times(s, times(u, (w[0], w[1] + third_lo)))
    half, lost = added(s[0], z[0])
    two_log2e = m.literal(2 * DOUBLE.log2e), m.literal(2 * DOUBLE.log2e_lo)
    y = times((half, lost + (z[1] + s[1])), two_log2e)
    whole, lost = added(e, y[0])
    return whole, lost + y[1]


def power_double(x: Value, y: Value) -> Value:
    """``x**y`` in float64."""
    f = DOUBLE
    t = abs(x)
    whole, lost = log2_sum(t)
    whole = select(t < INF, select(t == 0, -INF, whole), t)
    product = y * whole
    rest = fma(y, lost, fma(y, whole, -product))
    rest = select(abs(product) < 1100.0, rest, 0.0)
    product = clamped(product, -1100.0, 1100.0)
    k = product + (f.shifter + 2 * f.bias)
    r = (product - (k - (f.shifter + 2 * f.bias))) + rest
    z = scaled(f, fma(polynomial("exp2", r), r, 1.0), k.bits(f.bits))
    return power_ends(f, x, y, z)


def power(name: str, kind: str) -> Scalar:
    """The program of a power."""
    if kind == "float64":
        return program(name, (kind, kind), power_double)
    return program(name, (kind, kind), lambda x, y: power_single(SINGLE, x, y))


Body = Callable[[Format, Value], Value]


def unary(body: Body) -> Callable[[str, str], Scalar]:
    """What makes the program of a function of one number."""
    return lambda name, kind: program(name, (kind,), lambda x: body(FORMATS[kind], x))


def circular(body: Callable[[Format, Value, Reduction], Value]) -> Callable[[str, str], Scalar]:
    """What makes the two programs of a function that reduces by pi/2."""

    def make(name: str, kind: str) -> Scalar:
        f = FORMATS[kind]
        # NaN is not up to f.far, and so rare.
        return program(
            name,
            (kind,),
            lambda x: (body(f, x, near), ~(abs(x) <= f.far)),
            lambda x: body(f, x, distant_too),
        )

    return make


def distant_too(f: Format, x: Value) -> Reduced:
    """Any `x` (not negative) by pi/2, with the bits of `near` up to f.far."""
    inside = x <= f.far
    pairs = zip(near(f, x), distant(f, x), strict=True)
    q, hi, lo = (select(inside, a, b) for a, b in pairs)
    return q, hi, lo


FUNCTIONS: dict[str, Callable[[str, str], Scalar]] = {
    "exp": unary(exp), "exp2": unary(exp2), "expm1": unary(expm1), "expit": unary(expit),
    "log": unary(log), "log2": unary(log2), "log10": unary(log10), "log1p": unary(log1p),
    "sin": circular(sin), "cos": circular(cos), "tan": circular(tan),
    "sinh": unary(sinh), "cosh": unary(cosh), "tanh": unary(tanh),
    "erf": unary(erf), "power": power,
}  # fmt: skip
