"""The dtypes lazyarray computes with, and their small integer numbers."""

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
SUPPORTED = (BOOL, *INTEGERS, *FLOATS, *COMPLEXES)

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


def is_float(dtype: np.dtype) -> bool:
    """Say whether `dtype` is real floating."""
    return dtype.kind == "f"


def is_inexact(dtype: np.dtype) -> bool:
    """Say whether `dtype` can carry a gradient."""
    return dtype.kind in "fc"
