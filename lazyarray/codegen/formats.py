"""Floating types in the scalar dialect, and what the functions of scalars.py are built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import pack

from .coefficients import TABLE
from .dialect import Scalar, Value, fma, program, select

INF = float("inf")
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
    third: tuple[float, float]  # 1/3
    half_pi: tuple[float, float, float]
    far: float  # up to here half_pi reduces arguments exactly enough

    @property
    def shifter(self) -> float:
        """Adding it rounds to an integer, which then stands in the lowest bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def unit(self) -> float:
        """What `exponent` counts in."""
        return 2.0**-self.mantissa if self.kind == "float32" else 1.0

    @property
    def plain(self) -> float:
        """The exponential of numbers up to here is normal, of either sign."""
        return 87.0 if self.kind == "float32" else 708.0

    @property
    def sign(self) -> int:
        """The bit of the sign."""
        return 1 << (self.mantissa + self.bias.bit_length() + 1)

    def pattern(self, number: float) -> int:
        """The bits of a number that is not negative."""
        code = "f" if self.kind == "float32" else "d"
        return int.from_bytes(pack("<" + code, number), "little")


SINGLE = Format(
    "float32", "uint32", 23, 127, 0x3F2AAAAB, 2.0**-126, -104.0, 89.0,
    hexadecimal("0x1.62e43p-1"), hexadecimal("-0x1.05c61p-29"),
    hexadecimal("0x1.715476p+0"), hexadecimal("0x1.4ae0cp-26"),
    hexadecimal("0x1.bcb7b2p-2"), hexadecimal("-0x1.5b235ep-27"),
    hexadecimal("0x1.344136p-2"), hexadecimal("-0x1.ec10cp-27"),
    (hexadecimal("0x1.555556p-2"), hexadecimal("-0x1.555556p-27")),
    (hexadecimal("0x1.921fb6p+0"), hexadecimal("-0x1.777a5cp-25"), hexadecimal("-0x1.ee59dap-50")),
    2.0**17,
)  # fmt: skip
DOUBLE = Format(
    "float64", "uint64", 52, 1023, 0x3FE5555555555555, 2.0**-1022, -746.0, 710.0,
    hexadecimal("0x1.62e42fefa39efp-1"), hexadecimal("0x1.abc9e3b39803fp-56"),
    hexadecimal("0x1.71547652b82fep+0"), hexadecimal("0x1.777d0ffda0d24p-56"),
    hexadecimal("0x1.bcb7b1526e50ep-2"), hexadecimal("0x1.95355baaafad3p-57"),
    hexadecimal("0x1.34413509f79ffp-2"), hexadecimal("-0x1.9dc1da994fd21p-59"),
    (hexadecimal("0x1.5555555555555p-2"), hexadecimal("0x1.5555555555555p-56")),
    (hexadecimal("0x1.921fb54442d18p+0"), hexadecimal("0x1.1a62633145c07p-54"),
     hexadecimal("-0x1.f1976b7ed8fbcp-110")),
    2.0**25,
)  # fmt: skip
FORMATS = {"float32": SINGLE, "float64": DOUBLE}


Short = tuple[Value, Value]
"""A value, and whether it is rare: not to be had in this way."""
Body = Callable[[Format, Value], Value]
Pair = tuple[Callable[[Format, Value], Short], Body]
Maker = Callable[[str, str], Scalar]


def unary(body: Body) -> Maker:
    """What makes the program of a function of one number."""
    return lambda name, kind: program(name, (kind,), lambda x: body(FORMATS[kind], x))


def paired(short: Callable[[Format, Value], Short], full: Body) -> Maker:
    """What makes the two programs of a function with rare numbers."""

    def make(name: str, kind: str) -> Scalar:
        f = FORMATS[kind]
        return program(name, (kind,), lambda x: short(f, x), lambda x: full(f, x))

    return make


PAIRS = 7  # coefficients from which on a polynomial is evaluated by pairs


def polynomial(name: str, x: Value) -> Value:
    """The polynomial of this name in `x`: by Horner's rule, or a long one in half as many steps."""
    first, *rest = TABLE[name, x.type]
    step, power = 1, x
    if x.type == "float64" and len(rest) >= PAIRS - 1:
        step, power = 2, x * x
    y: Value | None = None
    for at in reversed(range(0, len(rest), step)):
        term = x.literal(rest[at])
        if step == 2 and at + 1 < len(rest):
            term = fma(x.literal(rest[at + 1]), x, term)
        y = term if y is None else fma(y, power, term)
    assert y is not None
    return fma(y, x, first)


# ---- comparisons
#
# By bits: a comparison of floats with NaN sets the flag of an invalid operation.


def ordered(f: Format, x: Value) -> Value:
    """The bits of `x` as a signed integer: in the order of the numbers, from 0 on."""
    return x.bits(f.bits[1:])


def at_most(f: Format, x: Value, limit: float) -> Value:
    """Whether `x` (not negative) is up to this positive number; NaN is not."""
    return ordered(f, x) <= f.pattern(limit)


def lowered(f: Format, x: Value, limit: float) -> Value:
    """The smaller one of `x` and a positive number, which +NaN is above."""
    i = ordered(f, x)
    top = f.pattern(limit)
    return select(i < top, i, top).bits(f.kind)


def raised(f: Format, x: Value, limit: float) -> Value:
    """The larger one of `x` and a negative number, which -NaN is below."""
    i = x.bits(f.bits)
    lowest = f.sign | f.pattern(-limit)
    return select(i < lowest, i, lowest).bits(f.kind)


def keep_nan(y: Value, x: Value) -> Value:
    """`y`, or NaN where `x` is."""
    return select(x == x, y, x)


def negative(f: Format, x: Value) -> Value:
    """Whether the bit of the sign is set."""
    return ordered(f, x) < 0


def with_sign(f: Format, y: Value, x: Value) -> Value:
    """`y` with the sign of `x`, where `y` has none, or the same."""
    return (y.bits(f.bits) | (x.bits(f.bits) & f.sign)).bits(f.kind)


def usual(f: Format, x: Value) -> Value:
    """Whether `x` is positive, finite and not subnormal."""
    smallest = f.pattern(f.smallest)
    return x.bits(f.bits) - smallest < f.pattern(INF) - smallest


# ---- exponents


def power_of_two(f: Format, k: Value) -> Value:
    """``2**n``, k having n + bias in its lowest bits."""
    return (k << f.mantissa).bits(f.kind)


def scaled(f: Format, y: Value, k: Value) -> Value:
    """``y * 2**n`` rounded once, k having n + 2*bias in its lowest bits."""
    half = k >> 1
    return y * power_of_two(f, half) * power_of_two(f, k - half)


def positive(f: Format, x: Value) -> Value:
    """Whether `x` is positive and finite."""
    return x.bits(f.bits) - 1 < f.pattern(INF) - 1


def parts(f: Format, x: Value, half: int = 0) -> tuple[Value, Value]:
    """The e in units of f.unit and m, where ``x = 2**e * (1 + m)`` and |m| <= 1/3; exact.

    `x` is positive, finite and not subnormal. `half` is the bits of the least 1 + m, 2/3 if 0.
    """
    e, high = exponent(f, x, half or f.two_thirds)
    return e, (x.bits(f.bits) - high).bits(f.kind) - 1.0


def exponent(f: Format, x: Value, half: int) -> tuple[Value, Value]:
    """The e of `parts`, and bits to subtract from those of `x` for ``x / 2**e``."""
    if f is SINGLE:
        high = (x.bits(f.bits) - half) & (-1 << f.mantissa)
        return high.bits("int32").convert(f.kind), high
    up = f.bias + 1  # so that it stays positive, and the shifter makes it a number
    i = x.bits(f.bits) - (half - (up << f.mantissa))
    above = i >> f.mantissa
    e = (above | f.pattern(2.0**f.mantissa)).bits(f.kind) - (2.0**f.mantissa + up)
    return e, (above << f.mantissa) - (up << f.mantissa)


def parts_any(f: Format, x: Value, half: int = 0) -> tuple[Value, Value]:
    """`parts` of any positive finite number; of others, something."""
    plain = usual(f, x)
    # The bits of a subnormal number count it in units of the smallest.
    count = select(positive(f, x), ordered(f, x).convert(f.kind), 1.0)
    e, m = parts(f, select(plain, x, count), half)
    return select(plain, e, e + (1.0 - f.bias - f.mantissa) / f.unit), m


# ---- sums of two

Sum = tuple[Value, Value]
"""A number as a rounded sum, and what the rounding lost."""


def added(a: Value, b: Value) -> Sum:
    """``a + b``, where `a` is not the smaller one."""
    whole = a + b
    return whole, (a - whole) + b
