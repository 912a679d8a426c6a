"""The scalar program of each loop, by its name and dtypes.

The programs here have the bits of NumPy's own loops (tests/test_dialect.py); the vector functions
of scalars.py have their own.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from functools import cache, partial
from inspect import signature
from typing import Any

from .dialect import (
    COMPARISONS,
    FLOATS,
    INTEGERS,
    STORED,
    TYPES,
    Scalar,
    Value,
    inlined,
    program,
    rounded,
    rounding,
    select,
    sqrt,
    stored,
    width,
)
from .scalars import FUNCTIONS

NAMES = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal",
}  # fmt: skip


X86 = platform.machine() == "x86_64"


def magnitude(x: Value) -> Value:
    """The bits of a float without its sign."""
    kind = f"uint{width(x.type)}"
    return x.bits(kind) & ((1 << (width(x.type) - 1)) - 1)


def infinity(x: Value) -> int:
    """The bits of infinity."""
    return 0x7F800000 if x.type == "float32" else 0x7FF0000000000000


def sign_bit(x: Value) -> Value:
    """The sign of a float as a bit."""
    return x.bits(f"uint{width(x.type)}") & (1 << (width(x.type) - 1))


def copysign(x: Value, y: Value) -> Value:
    """`x` with the sign of `y`."""
    return (magnitude(x) | sign_bit(y)).bits(x.type)


def sign(x: Value) -> Value:
    """-1, 0 or 1."""
    if x.type in FLOATS:  # zeros give 0, NaN itself
        return select(x > 0, 1, select(x < 0, -1, select(x == 0, 0, x)))
    above = select(x > 0, x.literal(1), x.literal(0))
    return select(x < 0, -1, above) if x.type[0] == "i" else above


def shift_left(x: Value, n: Value) -> Value:
    """``x << n``: 0 beyond the width."""
    # A negative count is a huge one, as in NumPy.
    bits = width(x.type)
    inside = n.convert(f"uint{bits}") < bits
    return select(inside, x << (n & (bits - 1)), 0)


def shift_right(x: Value, n: Value) -> Value:
    """``x >> n``: 0 or the sign beyond the width."""
    bits = width(x.type)
    inside = n.convert(f"uint{bits}") < bits
    beyond: Any = x >> (bits - 1) if x.type[0] == "i" else x.literal(0)
    return select(inside, x >> (n & (bits - 1)), beyond)


def to_integer(x: Value, kind: str) -> Value:
    """A float as an integer, with what x86-64 gives out of range (see native/types.hpp)."""
    if kind == "uint64":
        high = x >= 2.0**63
        low = to_integer(select(high, x - 2.0**63, x), "int64").convert(kind)
        return select(high, low ^ (1 << 63), low)
    if kind == "uint32":
        high = x >= 2.0**31
        low = to_integer(select(high, x - 2.0**31, x), "int32").convert(kind)
        return select(high, low ^ (1 << 31), low)
    if kind not in ("int32", "int64"):
        return to_integer(x, "int32").convert(kind)
    top = 2.0 ** (width(kind) - 1)
    # -2**31 - 0.5 truncates into range, too; of the types here only float64 tells it from -2**31.
    lowest = x > -top - 1 if (x.type, kind) == ("float64", "int32") else x >= -top
    inside = lowest & (x < top)
    return select(inside, select(inside, x, 0).convert(kind), -(1 << (width(kind) - 1)))


def cast(x: Value, kind: str) -> Value:
    """The conversion of NumPy's astype."""
    if x.type in FLOATS and kind in INTEGERS:
        return to_integer(x, kind)
    return x.convert(kind)


def same(x: Value) -> Value:
    """A copy."""
    return x


def truth(x: Value) -> Value:
    """Whether `x` is not 0."""
    return x.convert("bool")


def compared(op: str) -> Callable[[Value, Value], Value]:
    """A comparison, of bool by its numbers."""

    def compare(a: Value, b: Value) -> Value:
        if a.type == "bool":
            a, b = a.convert("uint8"), b.convert("uint8")
        return a.binary(op, b)

    return compare


ARITHMETIC: dict[str, Callable[..., Value]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "square": lambda x: x * x,
    "negative": lambda x: -x,
    "absolute": abs,
    "positive": same,
    "conjugate": same,
    "copy": same,
    "sign": sign,
    # The second of equal arguments, so of 0.0 and -0.0; a NaN wins, the first of two.
    "maximum": lambda a, b: select((a > b) | (a != a), a, b),
    "minimum": lambda a, b: select((a < b) | (a != a), a, b),
    # NumPy's own loops give either of two zeros, by their place in the block.
    "fmax": lambda a, b: select((a > b) | (b != b), a, b),
    "fmin": lambda a, b: select((a < b) | (b != b), a, b),
}

FLOATING: dict[str, Callable[..., Value]] = {
    "divide": lambda a, b: a / b,
    "reciprocal": lambda x: 1 / x,
    "sqrt": sqrt,
    "fabs": abs,
    "floor": lambda x: rounding("floor", x),
    "ceil": lambda x: rounding("ceil", x),
    "trunc": lambda x: rounding("trunc", x),
    "rint": lambda x: rounding("rint", x),
    "copysign": copysign,
    # NumPy divides in the type.
    "deg2rad": lambda x: x * (rounded(math.pi, x.type) / 180),
    "rad2deg": lambda x: x * (180 / rounded(math.pi, x.type)),
}

BITWISE: dict[str, Callable[..., Value]] = {
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "bitwise_xor": lambda a, b: a ^ b,
    "invert": lambda x: ~x,
    "left_shift": shift_left,
    "right_shift": shift_right,
}

BOOLEAN: dict[str, Callable[..., Value]] = {
    "add": lambda a, b: a | b,
    "multiply": lambda a, b: a & b,
    "maximum": lambda a, b: a | b,
    "minimum": lambda a, b: a & b,
    "fmax": lambda a, b: a | b,
    "fmin": lambda a, b: a & b,
    "absolute": same,
    "copy": same,
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "bitwise_xor": lambda a, b: a ^ b,
    "invert": lambda x: ~x,
}

LOGICAL: dict[str, Callable[..., Value]] = {
    "logical_and": lambda a, b: truth(a) & truth(b),
    "logical_or": lambda a, b: truth(a) | truth(b),
    "logical_xor": lambda a, b: truth(a) ^ truth(b),
    "logical_not": lambda x: ~truth(x),
    **{NAMES[op]: compared(op) for op in COMPARISONS},
}

# Of floats; each gives a bool.
TESTS: dict[str, Callable[..., Value]] = {
    "isnan": lambda x: x != x,
    "isinf": lambda x: magnitude(x) == infinity(x),
    "isfinite": lambda x: magnitude(x) < infinity(x),
    "signbit": lambda x: sign_bit(x) != 0,
}

# ---- bfloat16, the upper half of a float32


def from_brain(x: Value) -> Value:
    """The float32 of a bfloat16's bits."""
    return (x.convert("uint32") << 16).bits("float32")


def to_brain(x: Value) -> Value:
    """The bits of a float32 rounded to bfloat16, ties to even."""
    bits = x.bits("uint32")
    near = (bits + ((bits >> 16) & 1) + 0x7FFF) >> 16
    return select(x != x, ((bits >> 16) & 0x8000) | 0x7FC0, near).convert("uint16")


def of_brains(name: str, types: tuple[str, ...]) -> Scalar | None:
    """The program of a loop of bfloat16, over its bits: that of float32, rounded."""
    bits = tuple(map(stored, types))
    if name in ("copy", "positive", "where"):
        return found(name, bits)
    wide = found(name, tuple("float32" if kind in STORED else kind for kind in types))
    if wide is None:
        return None

    def body(scalar: Scalar, *xs: Value) -> Any:
        args = [from_brain(x) if k in STORED else x for x, k in zip(xs, types, strict=False)]
        copies = inlined(xs[0].trace, scalar.steps, args)
        value = copies[scalar.outputs[0]]
        value = to_brain(value) if types[-1] in STORED else value
        return value if scalar.rare is None else (value, copies[scalar.rare])

    full = None if wide.full is None else partial(body, wide.full)
    return program(f"{name}_bfloat16", bits[:-1], partial(body, wide), full)


ALIASES = {("float_power", "float64"): "power"}


def tables(kind: str, result: str) -> list[dict[str, Callable[..., Value]]]:
    """Where programs with this type of inputs and of the result stand."""
    if kind == "bool":
        return [BOOLEAN, LOGICAL] if result == kind else []
    if result == "bool":
        return [LOGICAL, TESTS] if kind in FLOATS else [LOGICAL]
    if result != kind:
        return []
    return [ARITHMETIC, FLOATING if kind in FLOATS else BITWISE]


def found(name: str, types: tuple[str, ...]) -> Scalar | None:
    """The program of a loop, by the names of its types."""
    inputs, result = types[:-1], types[-1]
    if name == "cast" and len(inputs) == 1:
        if inputs[0] in FLOATS and result in INTEGERS and not X86:
            return None  # out of range the loop has what the processor gives
        return program(name, inputs, lambda x: cast(x, result))
    if name == "where" and len(inputs) == 3 and inputs[0] == "bool":
        return program(name, inputs, select) if set(inputs[1:]) == {result} else None
    if len(set(inputs)) != 1:
        return None
    kind = inputs[0]
    make = FUNCTIONS.get(ALIASES.get((name, kind), name))
    if make is not None and kind == result and kind in FLOATS:
        scalar = make(name, kind)
        return scalar if scalar.inputs == inputs else None
    for table in tables(kind, result):
        function = table.get(name)
        if function is not None and len(signature(function).parameters) == len(inputs):
            return program(name, inputs, function)
    return None


# Loops that the package compiles, as NumPy has none, or none with these bits.
COMPILED = (*FUNCTIONS, "float_power", "fmax", "fmin")


def compiled() -> list[Scalar]:
    """The programs of the loops that are made when the package is built."""
    shapes = ((name, (kind,) * count) for name in COMPILED for kind in FLOATS for count in (2, 3))
    return [scalar for name, types in shapes if (scalar := found(name, types)) is not None]


@cache
def lookup(name: str, dtypes: Sequence[Any]) -> Scalar | None:
    """The program of the loop with this name and these dtypes, inputs then output.

    Parameters
    ----------
    name : str
    dtypes : tuple of dtype
        NumPy's dtypes, or their names.

    Returns
    -------
    Scalar or None
        None where there is no program: the loop is the only implementation.
    """
    types = tuple(str(d) for d in dtypes)
    if len(types) < 2 or not set(types) <= {*TYPES, *STORED}:
        return None
    return found(name, types) if STORED.keys().isdisjoint(types) else of_brains(name, types)
