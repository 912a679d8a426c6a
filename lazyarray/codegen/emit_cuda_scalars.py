"""Loops as device functions of one element: those of the scalar dialect, and others.

A loop is known by its name and dtypes, as to operations.py. Its device function is the loop's
program where it has one, with the CPU's bits: nothing is contracted (see nvrtc.py), and each step
is correctly rounded. float16 and bfloat16 are computed in float32 and rounded after each operation,
as on the CPU; bfloat16 is its bits. For what is left native/cuda_functions.hpp has a function, or
there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from . import emit_c
from .dialect import FLOATS, INTEGERS, Scalar, Step
from .operations import lookup
from .scalars import FUNCTIONS

NAMES = {"float16": "Half", "bfloat16": "uint16_t", "complex64": "C64", "complex128": "C128"}
COMPLEX = {"complex64": "float32", "complex128": "float64"}
# Of two bytes: to and from the float that is computed with.
HALVES = {"float16": ("as_float", "as_half"), "bfloat16": ("brain_to_float", "float_to_brain")}
TYPES = ("bool", *INTEGERS, *HALVES, *FLOATS, *COMPLEX)
SIZES = {"bool": 1, "float16": 2, "bfloat16": 2, "complex64": 8, "complex128": 16}
HEADER = "cuda_functions.hpp"
RANDOM = "cuda_random.hpp"

# Names of dialect's steps that the device library rounds correctly.
CALLS = {
    ("sqrt", "float32"): "__fsqrt_rn", ("sqrt", "float64"): "__dsqrt_rn",
    ("fma", "float32"): "__fmaf_rn", ("fma", "float64"): "__fma_rn",
    ("abs", "float32"): "::fabsf", ("abs", "float64"): "::fabs",
    **{(op, kind): f"::{op}{'f' if kind == 'float32' else ''}"
       for op in ("floor", "ceil", "trunc", "rint") for kind in FLOATS},
}  # fmt: skip


def size_of(kind: str) -> int:
    """The bytes of an element."""
    return SIZES.get(kind) or int(kind.lstrip("uintfloa")) // 8


def alignment_of(kind: str) -> int:
    """What the addresses of elements are multiples of, in bytes: a GPU faults at others."""
    return size_of(COMPLEX.get(kind, kind))


def cuda_type(kind: str) -> str:
    """The type of a value in CUDA C++."""
    return NAMES.get(kind) or emit_c.c_type(kind)


def stored_type(kind: str) -> str:
    """The type of an element in memory: another program's bool may be any byte."""
    return "uint8_t" if kind == "bool" else cuda_type(kind)


# ---- programs of the dialect


def literal(step: Step) -> str:
    """A constant."""
    if step.type in FLOATS and not math.isfinite(step.value):
        if math.isnan(step.value):
            return f"not_a_number(({cuda_type(step.type)})0)"
        if step.type == "float32":
            return f"bits_as<float>(0x{'ff' if step.value < 0 else '7f'}800000u)"
        return f"bits_as<double>((uint64_t)0x{'fff' if step.value < 0 else '7ff'}0000000000000ull)"
    return emit_c.literal(step)


def expression(step: Step, names: Sequence[str], types: Sequence[str]) -> str:
    """The right side of a step's statement."""
    call = CALLS.get((step.op, step.type))
    if call is not None:
        return f"{call}({', '.join(names[a] for a in step.args)})"
    return emit_c.expression(step, names, types)


def statements(scalar: Scalar) -> tuple[list[str], list[str]]:
    """One statement for each step, and the names of the outputs; last, of what is rare."""
    names: list[str] = []
    types = [step.type for step in scalar.steps]
    lines: list[str] = []
    for step in scalar.steps:
        if step.op == "input":
            names.append(f"x{step.value}")
        elif step.op == "const":
            names.append(literal(step))
        else:
            text = expression(step, names, types)
            names.append(f"t{len(lines)}")
            lines.append(f"const {cuda_type(step.type)} {names[-1]} = {text};")
    places = scalar.outputs if scalar.rare is None else (*scalar.outputs, scalar.rare)
    return lines, [names[o] for o in places]


def parameters(kinds: Sequence[str]) -> str:
    """The parameters of a device function."""
    return ", ".join(f"{cuda_type(kind)} x{i}" for i, kind in enumerate(kinds))


def program(name: str, scalar: Scalar) -> str:
    """A program as a device function; rare elements go to another one."""
    lines, results = statements(scalar)
    inline, text = "LA_DEVICE", ""
    if scalar.full is not None:
        full, wanted = statements(scalar.full)
        given = parameters(scalar.inputs)
        text += (
            f"static __device__ __noinline__ {cuda_type(scalar.results[0])} {name}_full({given})"
        )
        text += (
            " {\n" + "".join(f"    {line}\n" for line in full) + f"    return {wanted[0]};\n}}\n"
        )
        rare = results.pop()
        passed = ", ".join(f"x{i}" for i in range(len(scalar.inputs)))
        lines.append(f"if ({rare}) return {name}_full({passed});")
    text += f"{inline} {cuda_type(scalar.results[0])} {name}({parameters(scalar.inputs)}) {{\n"
    return text + "".join(f"    {line}\n" for line in lines) + f"    return {results[0]};\n}}\n"


# ---- other loops

REALS = ("float32", "float64")
# By name: the function in the header, and for which types of inputs; how far from the CPU's result
# it may lie, in units in the last place (0: the same bits; any NaN is equal to any NaN).
WHOLE = {
    "floor_divide": "whole_floor_divide", "remainder": "whole_remainder", "fmod": "whole_fmod",
    "power": "whole_power", "gcd": "whole_gcd", "lcm": "whole_lcm", "bitwise_count": "whole_count",
    "isnan": "never", "isinf": "never", "isfinite": "always", "floor": "same", "ceil": "same",
    "trunc": "same", "reciprocal": "whole_reciprocal",
}  # fmt: skip
# What the CPU takes from the C library, or NumPy or SciPy computes in other ways.
REAL = {
    "floor_divide": ("real_floor_divide", 0), "remainder": ("real_remainder", 0),
    "fmod": ("fmod", 0), "heaviside": ("heaviside", 0), "nextafter": ("next", 0),
    "spacing": ("spacing", 0), "ldexp": ("scaled_by", 0),
    "arcsin": ("asin", 4), "arccos": ("acos", 4), "arctan": ("atan", 4), "arctan2": ("atan2", 4),
    "arcsinh": ("asinh", 5), "arccosh": ("acosh", 5), "arctanh": ("atanh", 5), "cbrt": ("cbrt", 4),
    "hypot": ("hypot", 4), "logaddexp": ("log_of_sum", 4), "logaddexp2": ("log2_of_sum", 4),
    "erfc": ("erfc", 512), "logit": ("logit", 8), "gammaln": ("log_gamma", 64),
    "erfinv": ("erfinv", 64),
}  # fmt: skip
# Errors beside the magnitude of the result.
FUNCTIONS_OF_PAIRS = {
    "exp": 8, "exp2": 8, "expm1": 8, "log": 8, "log2": 8, "log10": 8, "log1p": 8, "sqrt": 8,
    "sin": 8, "cos": 8, "tan": 32, "sinh": 8, "cosh": 8, "tanh": 32, "power": 1024,
}  # fmt: skip
PAIRS = {
    "add": 0, "subtract": 0, "multiply": 0, "divide": 0, "reciprocal": 0, "negative": 0,
    "conjugate": 0, "square": 0, "rint": 0, "absolute": 4, "sign": 4, "isnan": 0, "isinf": 0,
    "isfinite": 0, "equal": 0, "less": 0, "less_equal": 0, "maximum": 0, "minimum": 0, "fmax": 0,
    "fmin": 0,
}  # fmt: skip
ORDERS = {
    "equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<=", "greater": ">",
    "greater_equal": ">=",
}  # fmt: skip
MOVES = ("copy", "positive")


@dataclass(frozen=True, slots=True)
class Device:
    """The device function of a loop."""

    name: str
    types: tuple[str, ...]  # of inputs, then of the result
    text: str  # its definition
    headers: tuple[str, ...] = ()  # in the folder native
    needs: tuple[Device, ...] = ()  # what its text calls
    ulp: float = 0  # 0: the bits of the CPU's loop


def wrapped(
    name: str, types: tuple[str, ...], value: str, ulp: float = 0, **more: object
) -> Device:
    """A function that is one expression."""
    *inputs, result = types
    text = f"LA_DEVICE {cuda_type(result)} {name}({parameters(inputs)}) {{ return {value}; }}\n"
    return Device(name, types, text, ulp=ulp, **more)  # type: ignore[arg-type]


def label(name: str, types: tuple[str, ...]) -> str:
    """The name of a loop's device function."""
    return "_".join(("e", name, *types))


@cache
def device_function(name: str, types: tuple[str, ...]) -> Device | None:
    """The device function of the loop with this name and these types; None where there is none."""
    if not set(types) <= set(TYPES):
        return None
    if name == "stop_gradient":
        name = "cast"
    scalar = lookup(name, types)
    if scalar is not None:
        own = label(name, types)
        return Device(own, types, program(own, scalar))
    if name == "where" and types[0] == "bool" and len(set(types[1:])) == 1:
        return wrapped(label(name, types), types, "x0 ? x1 : x2")
    if name in MOVES and len(set(types)) == 1:
        return wrapped(label(name, types), types, "x0")
    if name == "cast":
        return converted(types)
    if name.startswith("philox_"):
        return keyed(name, types)
    if set(types) & set(COMPLEX):
        return of_pairs(name, types)
    if not HALVES.keys().isdisjoint(types):
        return of_halves(name, types)
    return of_header(name, types)


def converted(types: tuple[str, ...]) -> Device | None:
    """The conversions from and to halves and complex numbers."""
    source, target = types
    own = label("cast", types)
    if source == target:
        return wrapped(own, types, "x0")
    value, kind, needs = "x0", source, []
    if source in COMPLEX:
        value, kind = "x0.re", COMPLEX[source]
        if target in COMPLEX:
            part = cuda_type(COMPLEX[target])
            text = f"{cuda_type(target)}{{({part})x0.re, ({part})x0.im}}"
            return wrapped(own, types, text)
        if target == "bool":
            return wrapped(own, types, "truth(x0)", headers=(HEADER,))
    elif source in HALVES:
        value, kind = f"{HALVES[source][0]}(x0)", "float32"
    wanted = COMPLEX.get(target, "float32" if target in HALVES else target)
    if target == "float16" and kind == "float64":
        return wrapped(own, types, f"Half{{double_to_half({value})}}")
    if kind == "float32" and wanted == "uint32" and source == "float16":
        inner = device_function("cast", (kind, "int64"))
        assert inner is not None
        return wrapped(own, types, f"(uint32_t){inner.name}({value})", needs=(inner,))
    if kind != wanted:
        inner = device_function("cast", (kind, wanted))
        if inner is None:
            return None
        value = f"{inner.name}({value})"
        needs.append(inner)
    if target in HALVES:
        value = f"{HALVES[target][1]}({value})"
    elif target in COMPLEX:
        value = f"{cuda_type(target)}{{{value}, 0}}"
    return wrapped(own, types, value, needs=tuple(needs))


def of_halves(name: str, types: tuple[str, ...]) -> Device | None:
    """A loop of halves: that of float32, rounded."""
    if name in ("nextafter", "spacing"):
        return None
    inner = device_function(name, tuple("float32" if kind in HALVES else kind for kind in types))
    if inner is None:
        return None
    given = [f"{HALVES[k][0]}(x{i})" if k in HALVES else f"x{i}" for i, k in enumerate(types[:-1])]
    value = f"{inner.name}({', '.join(given)})"
    if types[-1] in HALVES:
        value = f"{HALVES[types[-1]][1]}({value})"
    # NumPy's float16 loops of functions are its own of float32, not ours.
    own = name in FUNCTIONS and "float16" in types
    ulp = max(1.0, inner.ulp) if own or inner.ulp else 0.0
    return wrapped(label(name, types), types, value, ulp, needs=(inner,))


def of_pairs(name: str, types: tuple[str, ...]) -> Device | None:
    """A loop of complex numbers."""
    own, given = label(name, types), ", ".join(f"x{i}" for i in range(len(types) - 1))
    if name == "complex" and types[0] == types[1] == COMPLEX.get(types[2]):
        return wrapped(own, types, f"{cuda_type(types[2])}{{{given}}}")
    if len(set(types[:-1])) != 1 or types[0] not in COMPLEX:
        return None
    logical = {"logical_and": "{} && {}", "logical_or": "{} || {}", "logical_xor": "{} != {}",
               "logical_not": "!{}"}  # fmt: skip
    if name in logical:
        value = logical[name].format("truth(x0)", "truth(x1)")
        return wrapped(own, types, value, headers=(HEADER,))
    if name in ("greater", "greater_equal"):
        value = f"{'less' if name == 'greater' else 'less_equal'}(x1, x0)"
        return wrapped(own, types, value, headers=(HEADER,))
    if name == "not_equal":
        return wrapped(own, types, "!equal(x0, x1)", headers=(HEADER,))
    if name == "float_power":
        name = "power"
    if name in FUNCTIONS_OF_PAIRS and len(set(types)) == 1:
        call, ulp = f"complex_{name}({given})", FUNCTIONS_OF_PAIRS[name]
        return wrapped(own, types, call, ulp, headers=(HEADER,))
    if name not in PAIRS:
        return None
    return wrapped(own, types, f"{name}({given})", PAIRS[name], headers=(HEADER,))


def keyed(name: str, types: tuple[str, ...]) -> Device:
    """The random numbers of a key, see native/words.hpp."""
    kind = name.removeprefix("philox_")
    value = f"keyed_{kind}((uint64_t)x0, x1, x2, ({cuda_type(types[-1])})0)"
    return wrapped(label(name, types), types, value, headers=(RANDOM,))


def of_header(name: str, types: tuple[str, ...]) -> Device | None:
    """A loop of integers or real numbers without a program."""
    *inputs, result = types
    own, given = label(name, types), ", ".join(f"x{i}" for i in range(len(inputs)))
    whole = set(inputs) <= {*INTEGERS, "bool"}
    if name in ORDERS and set(inputs) == {"int64", "uint64"}:
        return wrapped(own, types, f"order({given}) {ORDERS[name]} 0", headers=(HEADER,))
    if whole and name in WHOLE and len(set(inputs)) == 1:
        return wrapped(own, types, f"{WHOLE[name]}({given})", headers=(HEADER,))
    if name in ("mantissa", "exponent") and inputs[0] in REALS:
        return wrapped(own, types, f"{name}_of({given})", headers=(HEADER,))
    if name in REAL and inputs[0] in REALS and result == inputs[0]:
        if len(set(inputs)) != 1 and not (name == "ldexp" and inputs[1] in ("int32", "int64")):
            return None
        function, ulp = REAL[name]
        return wrapped(own, types, f"{function}({given})", ulp, headers=(HEADER,))
    return None


def definitions(functions: Sequence[Device]) -> tuple[list[str], list[str]]:
    """The headers and the definitions that these functions take, each once."""
    headers: dict[str, None] = {}
    texts: dict[str, str] = {}

    def visit(function: Device) -> None:
        for inner in function.needs:
            visit(inner)
        headers.update(dict.fromkeys(function.headers))
        texts.setdefault(function.name, function.text)

    for function in functions:
        visit(function)
    return list(headers), list(texts.values())
