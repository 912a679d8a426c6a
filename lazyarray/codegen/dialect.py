"""The scalar dialect: what one element of an operation computes, as a typed program.

A program is written as a Python function over `Value`: arithmetic, comparisons, `select`, `fma`,
typed literals, casts between bits and numbers. There are no branches and no loops at run time; the
function is run once, on symbols, and leaves a `Scalar`, which the emitters turn into C
(emit_c.py) and Numba (emit_numba.py). Nothing is contracted or reassociated, and each step is
correctly rounded or exact, so all emitters give the same bits.

    lookup("exp", (float32, float32)) -> Scalar or None

`lookup` knows loops by their name and dtypes (inputs, then outputs), those of `_loops.Loop`. It
gives None for float16, complex numbers, and operations without a program: they stay loops. Those
of bfloat16 are programs over its bits: of float32, between two conversions.

A `Scalar` has `steps`, a tuple of `Step(op, type, args, value)`; ``args`` are places in it, and
the steps of op "input" come first. `outputs` are places, too. Where `rare` is not None, it is the
place of a bool: on elements for which it holds, the outputs are meaningless, and the program
`full` gives them. On all other elements both give the same bits, so a block is computed by the
short program, and once more by the full one if `rare` held anywhere in it.

Types are NumPy's names: "bool", "int8" to "uint64", "float32", "float64". The ops:

    input const select fma sqrt abs floor ceil trunc rint bits convert
    add sub mul div neg and or xor not shl shr eq ne lt le gt ge

Both sides of an operation have one type. Integers wrap; shl and shr take counts below the width,
shr keeps the sign of signed types. `and`, `or`, `xor` and `not` take integers and bool. `bits`
reinterprets, `convert` converts values: between integers it wraps, from a float it truncates and
must be in range, to a float it rounds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

INTEGERS = tuple(f"{sign}int{width}" for sign in ("", "u") for width in (8, 16, 32, 64))
FLOATS = ("float32", "float64")
TYPES = ("bool", *INTEGERS, *FLOATS)
STORED = {"bfloat16": "uint16"}  # types of elements that programs take by their bits
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def stored(kind: str) -> str:
    """The type that programs see of elements of a type."""
    return STORED.get(kind, kind)


def width(kind: str) -> int:
    """The bits of a type."""
    return 8 if kind == "bool" else int(kind.lstrip("uintfloa"))


def rounded(number: Any, kind: str) -> Any:
    """A number as a value of this type."""
    if kind == "float32":
        return struct.unpack("f", struct.pack("f", number))[0]
    if kind == "float64":
        return float(number)
    if kind == "bool":
        return bool(number)
    number = int(number) & ((1 << width(kind)) - 1)
    signed = kind[0] == "i" and number >> (width(kind) - 1)
    return number - (1 << width(kind)) if signed else number


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: its places of arguments; the number of a const or an input."""

    op: str
    type: str
    args: tuple[int, ...] = ()
    value: Any = None


@dataclass(frozen=True, slots=True)
class Scalar:
    """The program of one element."""

    name: str
    inputs: tuple[str, ...]
    results: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    rare: int | None = None
    full: Scalar | None = None

    @property
    def label(self) -> str:
        """A name that tells it from the programs for other types."""
        return "_".join((self.name, *self.inputs, *self.results))

    def only(self, places: tuple[int, ...]) -> Scalar:
        """The part of the program that computes these steps, as its outputs."""
        return pruned(self.name, self.inputs, self.steps, places)


class Trace:
    """The steps of a program while its function runs."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.places: dict[tuple[Any, ...], int] = {}

    def step(self, op: str, kind: str, args: tuple[Value, ...] = (), value: Any = None) -> Value:
        """Add a step, unless it is there."""
        if any(a.trace is not self for a in args):
            raise ValueError(f"{op}: values of two programs")
        step = Step(op, kind, tuple(a.place for a in args), value)
        key = (step.op, step.type, step.args, repr(value))  # 0.0 and -0.0 are equal, NaN is not
        place = self.places.setdefault(key, len(self.steps))
        if place == len(self.steps):
            self.steps.append(step)
        return Value(self, place, kind)


class Value:
    """A symbol of a program: the result of one of its steps."""

    __slots__ = ("place", "trace", "type")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, trace: Trace, place: int, kind: str) -> None:
        self.trace = trace
        self.place = place
        self.type = kind

    def __bool__(self) -> bool:
        raise TypeError("a scalar program has no branches: use select")

    def literal(self, number: Any, kind: str | None = None) -> Value:
        """A constant, of this value's type unless told otherwise."""
        if isinstance(number, Value):
            return number
        kind = kind or self.type
        return self.trace.step("const", kind, (), rounded(number, kind))

    def binary(self, op: str, other: Any) -> Value:
        """An operation with another value of the type, or with a number."""
        other = self.literal(other)
        if other.type != self.type:
            raise TypeError(f"{op}: {self.type} and {other.type}")
        integer = self.type in INTEGERS
        logical = op in ("and", "or", "xor")
        if self.type == "bool" and not logical and op not in ("eq", "ne"):
            raise TypeError(f"{op} of bool")
        bitwise = logical or op in ("shl", "shr")
        if (bitwise and self.type in FLOATS) or (integer and op == "div"):
            raise TypeError(f"{op} of {self.type}")
        kind = "bool" if op in COMPARISONS else self.type
        return self.trace.step(op, kind, (self, other))

    def unary(self, op: str) -> Value:
        """An operation on this value."""
        return self.trace.step(op, self.type, (self,))

    def __add__(self, other: Any) -> Value:
        return self.binary("add", other)

    def __radd__(self, other: Any) -> Value:
        return self.literal(other).binary("add", self)

    def __sub__(self, other: Any) -> Value:
        return self.binary("sub", other)

    def __rsub__(self, other: Any) -> Value:
        return self.literal(other).binary("sub", self)

    def __mul__(self, other: Any) -> Value:
        return self.binary("mul", other)

    def __rmul__(self, other: Any) -> Value:
        return self.literal(other).binary("mul", self)

    def __truediv__(self, other: Any) -> Value:
        return self.binary("div", other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.literal(other).binary("div", self)

    def __and__(self, other: Any) -> Value:
        return self.binary("and", other)

    def __or__(self, other: Any) -> Value:
        return self.binary("or", other)

    def __xor__(self, other: Any) -> Value:
        return self.binary("xor", other)

    def __lshift__(self, other: Any) -> Value:
        return self.binary("shl", other)

    def __rshift__(self, other: Any) -> Value:
        return self.binary("shr", other)

    def __eq__(self, other: Any) -> Value:  # type: ignore[override]
        return self.binary("eq", other)

    def __ne__(self, other: Any) -> Value:  # type: ignore[override]
        return self.binary("ne", other)

    def __lt__(self, other: Any) -> Value:
        return self.binary("lt", other)

    def __le__(self, other: Any) -> Value:
        return self.binary("le", other)

    def __gt__(self, other: Any) -> Value:
        return self.binary("gt", other)

    def __ge__(self, other: Any) -> Value:
        return self.binary("ge", other)

    def __neg__(self) -> Value:
        return self.unary("neg")

    def __invert__(self) -> Value:
        return self.unary("not")

    def __abs__(self) -> Value:
        if self.type in INTEGERS:
            return select(self < 0, -self, self) if self.type[0] == "i" else self
        return self.unary("abs")

    def bits(self, kind: str) -> Value:
        """The same bits as another type of this width."""
        if width(kind) != width(self.type) or "bool" in (kind, self.type):
            raise TypeError(f"bits of {self.type} as {kind}")
        return self if kind == self.type else self.trace.step("bits", kind, (self,))

    def convert(self, kind: str) -> Value:
        """The same number as another type."""
        if kind == self.type:
            return self
        if kind == "bool":
            return self != 0
        return self.trace.step("convert", kind, (self,))


def select(condition: Value, a: Any, b: Any) -> Value:
    """`a` where the condition holds, else `b`; one of them may be a number."""
    known = a if isinstance(a, Value) else b
    a, b = known.literal(a), known.literal(b)
    if condition.type != "bool" or a.type != b.type:
        raise TypeError(f"select of {condition.type}, {a.type}, {b.type}")
    return condition.trace.step("select", a.type, (condition, a, b))


def fma(a: Value, b: Any, c: Any) -> Value:
    """``a*b + c``, rounded once."""
    b, c = a.literal(b), a.literal(c)
    if a.type not in FLOATS or b.type != a.type or c.type != a.type:
        raise TypeError(f"fma of {a.type}, {b.type}, {c.type}")
    return a.trace.step("fma", a.type, (a, b, c))


def sqrt(x: Value) -> Value:
    """The square root, correctly rounded."""
    return x.unary("sqrt")


def rounding(mode: str, x: Value) -> Value:
    """The float rounded to an integer: floor, ceil, trunc, or rint (ties to even)."""
    return x.unary(mode)


def inlined(trace: Trace, steps: tuple[Step, ...], args: Sequence[Value]) -> list[Value]:
    """The values of a program's steps, added to a trace."""
    copies: list[Value] = []
    for step in steps:
        if step.op == "input":
            copies.append(args[step.value])
        else:
            copies.append(
                trace.step(step.op, step.type, tuple(copies[a] for a in step.args), step.value)
            )
    return copies


def pruned(
    name: str,
    inputs: tuple[str, ...],
    steps: tuple[Step, ...],
    wanted: tuple[int, ...],
    **more: Any,
) -> Scalar:
    """The program of the steps that `wanted` depends on; the inputs stay."""
    needed = set(range(len(inputs))) | set(wanted)
    for place in range(len(steps) - 1, -1, -1):
        if place in needed:
            needed.update(steps[place].args)
    order = sorted(needed)
    moved = {place: i for i, place in enumerate(order)}
    kept = tuple(
        Step(s.op, s.type, tuple(moved[a] for a in s.args), s.value)
        for s in (steps[place] for place in order)
    )
    outputs = tuple(moved[w] for w in wanted)
    return Scalar(name, inputs, tuple(kept[o].type for o in outputs), kept, outputs)


def program(
    name: str,
    inputs: tuple[str, ...],
    function: Callable[..., Any],
    full: Callable[..., Any] | None = None,
) -> Scalar:
    """Trace `function`, which returns one value; with `full`, the pair (value, rare)."""
    trace = Trace()
    symbols = [trace.step("input", kind, (), i) for i, kind in enumerate(inputs)]
    found = function(*symbols)
    if full is None:
        return pruned(name, inputs, tuple(trace.steps), (found.place,))
    value, rare = found
    if rare.type != "bool":
        raise TypeError(f"{name}: rare is a bool, not {rare.type}")
    both = pruned(name, inputs, tuple(trace.steps), (value.place, rare.place))
    return Scalar(
        name,
        inputs,
        both.results[:1],
        both.steps,
        both.outputs[:1],
        both.outputs[1],
        program(name, inputs, full),
    )
