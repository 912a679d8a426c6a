"""Which floating-point flags an op can raise: those that NumPy warns of, in NumPy's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazyarray._floats import TELLING
from lazyarray.dtypes import is_inexact

from .plan import EMPTY, UPDATE, VIEW

INVALID, DIVIDE, OVERFLOW, UNDERFLOW = 1, 4, 8, 16
ALL = INVALID | DIVIDE | OVERFLOW | UNDERFLOW
SIZE = OVERFLOW | UNDERFLOW

# By name, of the loops for floating and complex dtypes.
ELEMENTWISE = {
    "add": INVALID | SIZE, "subtract": INVALID | SIZE, "multiply": INVALID | SIZE, "divide": ALL,
    "reciprocal": ALL, "square": INVALID | SIZE, "sqrt": INVALID, "cbrt": 0, "power": ALL,
    "float_power": ALL, "exp": INVALID | SIZE, "exp2": INVALID | SIZE, "expm1": INVALID | SIZE,
    "log": INVALID | DIVIDE, "log2": INVALID | DIVIDE, "log10": INVALID | DIVIDE,
    "log1p": INVALID | DIVIDE | UNDERFLOW, "sin": INVALID | UNDERFLOW, "cos": INVALID | UNDERFLOW,
    "tan": INVALID | UNDERFLOW, "arcsin": INVALID | UNDERFLOW, "arccos": INVALID,
    "arctan": UNDERFLOW, "sinh": INVALID | SIZE, "cosh": INVALID | SIZE, "tanh": UNDERFLOW,
    "arcsinh": UNDERFLOW, "arccosh": INVALID, "arctanh": INVALID | DIVIDE | UNDERFLOW,
    "hypot": SIZE, "arctan2": UNDERFLOW, "floor_divide": ALL, "remainder": INVALID | UNDERFLOW,
    "fmod": INVALID, "logaddexp": INVALID | SIZE, "logaddexp2": INVALID | SIZE, "nextafter": SIZE,
    "ldexp": SIZE, "deg2rad": UNDERFLOW, "rad2deg": OVERFLOW, "negative": 0, "absolute": 0,
    "positive": 0, "floor": 0, "ceil": 0, "trunc": 0, "rint": 0, "conjugate": 0, "copysign": 0,
    "real": 0, "imag": 0, "where": 0, "isnan": 0, "isinf": 0, "isfinite": 0, "signbit": 0,
    "iota": 0, "complex": 0,
}  # fmt: skip
INTEGER = {
    "floor_divide": DIVIDE | OVERFLOW, "remainder": DIVIDE, "fmod": DIVIDE,
    "reciprocal": DIVIDE | INVALID,
}  # fmt: skip
# What NumPy has as a method of a ufunc, or as a function, and says so; the flags, and those that
# say nothing: products compute with zeros behind the ends of their operands.
ARRAYS = {
    "sum": ("reduce", INVALID | SIZE, 0), "prod": ("reduce", INVALID | SIZE, 0),
    "cumsum": ("accumulate", INVALID | SIZE, 0), "cumprod": ("accumulate", INVALID | SIZE, 0),
    "matmul": ("matmul", SIZE, INVALID), "gemm": ("matmul", SIZE, INVALID),
}  # fmt: skip
SAID = {"pow": "power"}  # ops that NumPy has under another name
# Comparisons look at NaNs, which is no fault of the program.
COMPARING = {
    "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "maximum", "minimum",
    "fmax", "fmin", "sign", "heaviside", "max", "min", "argmax", "argmin", "any", "all",
    "logical_and", "logical_or", "logical_not", "logical_xor",
}  # fmt: skip


def flags_of(op: Any, inputs: Sequence[np.dtype], result: np.dtype) -> tuple[str, int, int]:
    """What an op is called in a message, the flags it can raise, and those that say nothing.

    The latter may be raised by its loops where NumPy does not warn.
    """
    name = op.name
    if op.kind in (VIEW, UPDATE, EMPTY):
        return name, 0, 0
    if name in TELLING:
        return TELLING[name], DIVIDE, 0
    if name == "cast":
        return name, *of_cast(inputs[0], result)
    inexact = any(is_inexact(d) for d in (*inputs, result))
    if not inexact:
        return name, INTEGER.get(name, 0), 0
    if name in COMPARING:
        return (name, INVALID, 0) if inputs[0].kind == "c" else (name, 0, INVALID)
    if name in ARRAYS:
        return ARRAYS[name]
    name = SAID.get(name, name)
    found = ELEMENTWISE.get(name)
    if found is None:
        return name, 0, ALL
    return name, ALL if found and result.kind == "c" else found, 0


def of_cast(source: np.dtype, result: np.dtype) -> tuple[int, int]:
    """The flags of a conversion, and those that say nothing."""
    if is_inexact(source) and result.kind in "iu":
        return INVALID, 0
    if is_inexact(source) and is_inexact(result):
        smaller = result.itemsize < source.itemsize
        return (SIZE, INVALID) if smaller else (0, INVALID)
    return (OVERFLOW, 0) if result.char == "e" else (0, 0)
