"""The dtypes lazyarray computes with, and their small integer numbers."""

from typing import Any

import ml_dtypes
import numpy as np

from .errors import DTypeError, fail

BOOL = np.dtype(np.bool_)
INTEGERS = tuple(
    np.dtype(t)
    for t in (
        np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
    )
)  # fmt: skip
FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
COMPLEXES = (np.dtype(np.complex64), np.dtype(np.complex128))
# The upper half of a float32; NumPy knows it as a type of its user, of kind "V".
bfloat16 = ml_dtypes.bfloat16
BFLOAT16 = np.dtype(bfloat16)
SUPPORTED = (BOOL, *INTEGERS, *FLOATS, *COMPLEXES, BFLOAT16)

# Of two bytes: functions of arrays compute with them in float32, and round once.
HALVES = (FLOATS[0], BFLOAT16)

NUMBER = {dtype: number for number, dtype in enumerate(SUPPORTED)}
INTP = np.dtype(np.int64)
REAL_OF: dict[np.dtype, np.dtype] = dict(zip(COMPLEXES, FLOATS[1:], strict=True))


def canonical(dtype: object, op: str = "dtype") -> np.dtype:
    """Return the supported native NumPy dtype that `dtype` names.

    Raises
    ------
    DTypeError
        For object, string, datetime, structured and extended-precision dtypes.
    """
    try:
        found = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError as error:
        raise DTypeError(f"{op}: {dtype!r} is not a data type ({error})") from None
    if not found.isnative:
        fail(
            DTypeError,
            op,
            f"dtype {found!r} has another byte order than this machine",
            "Use the native dtype; data of another byte order is converted when an array is made.",
        )
    if found in NUMBER:
        return SUPPORTED[NUMBER[found]]
    fail(
        DTypeError,
        op,
        f"dtype {found} is not supported",
        "Keep such data in NumPy; lazyarray computes with bool, integers, floats and complex.",
    )


def kind_of(dtype: np.dtype) -> str:
    """Return NumPy's letter for the kind of `dtype`: bfloat16 is floating, too."""
    return "f" if dtype is BFLOAT16 else dtype.kind


def is_float(dtype: np.dtype) -> bool:
    """Say whether `dtype` is real floating."""
    return dtype.kind == "f" or dtype is BFLOAT16


def is_inexact(dtype: np.dtype) -> bool:
    """Say whether `dtype` can carry a gradient."""
    return dtype.kind in "fc" or dtype is BFLOAT16


def finfo(dtype: Any) -> Any:
    """Return the limits of a floating dtype, or of an array's; as `numpy.finfo`."""
    found = getattr(dtype, "dtype", dtype)
    if not isinstance(found, np.dtype):
        found = np.dtype(dtype)
    return ml_dtypes.finfo(found) if found is BFLOAT16 else np.finfo(found)


def loop_dtypes(ufunc: np.ufunc, dtypes: tuple[Any, ...]) -> tuple[np.dtype, ...]:
    """The dtypes of a ufunc's loop for these inputs, of which int, float and complex are weak.

    A float beside bfloat16 gives bfloat16, where ml_dtypes has float32.
    """
    if float in dtypes and BFLOAT16 in dtypes:
        dtypes = tuple(BFLOAT16 if d is float else d for d in dtypes)
    return ufunc.resolve_dtypes((*dtypes, *(None,) * ufunc.nout))
