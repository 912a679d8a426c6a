"""Trigonometry in the scalar dialect."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from .dialect import Value, fma, select
from .formats import (
    DOUBLE,
    SINGLE,
    Format,
    Maker,
    Sum,
    added,
    at_most,
    paired,
    polynomial,
)

TWO_OVER_PI = (
    0x0000000000000000, 0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041,
    0xFE5163ABDEBBC561, 0xB7246E3A424DD2E0, 0x06492EEA09D1921C, 0xFE1DEB1CB129A73E,
    0xE88235F52EBB4484, 0xE99C7026B45F7E41, 0x3991D639835339F4, 0x9C845F8BBDF9283B,
    0x1FF897FFDE05980F, 0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7, 0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B, 0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08, 0x56033046FC7B6BAB,
)  # fmt: skip
"""The bits of 2/pi behind the point, after 64 zeros."""


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
    nothing = x - x  # or NaN
    if f is DOUBLE:
        return q, r + nothing, tail
    short = r.convert("float32")
    rest_of_it = (r - short.convert("float64")) + tail
    return q, short + nothing, rest_of_it.convert("float32")


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
    """The tangent t of the remainder, or -1/t."""
    q, hi, lo = reduce(f, abs(x))
    u = hi * hi
    t, lost = added(hi, fma(hi * u, polynomial("tan", u), lo))
    # What is added changes no t but 0, whose quotient is not wanted.
    y = -1.0 / (t + (2.0**-60 if f is SINGLE else 2.0**-200))
    y = select((q & 1) == 0, t, fma(y * y, lost, y))
    return (y.bits(f.bits) ^ (x.bits(f.bits) & f.sign)).bits(f.kind)


def circular(body: Callable[[Format, Value, Reduction], Value]) -> Maker:
    """What makes the two programs of a function that reduces by pi/2."""
    # NaN is not up to f.far, and so rare.
    return paired(
        lambda f, x: (body(f, x, near), ~at_most(f, abs(x), f.far)),
        lambda f, x: body(f, x, distant_too),
    )


def distant_too(f: Format, x: Value) -> Reduced:
    """Any `x` (not negative) by pi/2, with the bits of `near` up to f.far."""
    inside = at_most(f, x, f.far)
    pairs = zip(near(f, x), distant(f, x), strict=True)
    q, hi, lo = (select(inside, a, b) for a, b in pairs)
    return q, hi, lo
