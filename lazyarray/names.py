"""NumPy's names that are no functions of arrays: scalar types, constants, states, dtypes.

They are NumPy's own objects: a program that compares dtypes, catches an exception or sets how
errors are handled works with both. bfloat16 is ml_dtypes'. Arrays of dtypes that lazyarray has not
are refused where they are made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyarray.dtypes import bfloat16, finfo

from .hosted import shaped

SCALARS = (
    "bool", "bool_", "byte", "bytes_", "cdouble", "character", "clongdouble", "complex64",
    "complex128", "complexfloating", "csingle", "datetime64", "double", "flexible", "float16",
    "float32", "float64", "floating", "generic", "half", "inexact", "int8", "int16", "int32",
    "int64", "int_", "intc", "integer", "intp", "long", "longdouble", "longlong", "number",
    "object_", "short", "signedinteger", "single", "str_", "timedelta64", "ubyte", "uint",
    "uint8", "uint16", "uint32", "uint64", "uintc", "uintp", "ulong", "ulonglong",
    "unsignedinteger", "ushort", "void",
)  # fmt: skip
EXTENDED = ("complex192", "complex256", "float96", "float128")  # those that the platform has
CONSTANTS = (
    "False_", "ScalarType", "True_", "e", "euler_gamma", "inf", "little_endian", "nan", "newaxis",
    "pi", "sctypeDict", "typecodes",
)  # fmt: skip
TYPES = ("dtype", "iinfo", "promote_types")
QUESTIONS = ("can_cast", "result_type")  # which look at dtypes alone
STATES = ("errstate", "geterr", "geterrcall", "seterr", "seterrcall")
CLASSES = ("busdaycalendar", "matrix", "recarray", "record")  # of what stays in NumPy
MODULES = ("exceptions", "typing")


def names() -> dict[str, Any]:
    """NumPy's objects by name."""
    listed = (*SCALARS, *CONSTANTS, *TYPES, *STATES, *CLASSES, *MODULES)
    found = {name: getattr(np, name) for name in listed}
    found |= {name: getattr(np, name) for name in EXTENDED if hasattr(np, name)}
    found |= {"bfloat16": bfloat16, "finfo": finfo}
    return found | {name: shaped(getattr(np, name)) for name in QUESTIONS}


NAMES: dict[str, Any] = names()
