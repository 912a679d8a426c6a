"""The exceptions of lazyarray, and the two functions that raise them.

Each class also derives from the exception that NumPy raises in the same place, so that a program
written for NumPy catches it without knowing lazyarray.
"""

from __future__ import annotations

from typing import NoReturn

from numpy.exceptions import AxisError as _NumpyAxisError
from numpy.linalg import LinAlgError as _LinAlgError


class LazyArrayError(Exception):
    """The root of all exceptions that lazyarray defines."""


class ShapeError(LazyArrayError, ValueError):
    """Shapes that do not fit each other or the operation."""


class DTypeError(LazyArrayError, TypeError):
    """A dtype (or a type) that the operation does not take."""


class ArrayIndexError(LazyArrayError, IndexError):
    """An index out of bounds, or of a kind that indexes nothing."""


class AxisError(LazyArrayError, _NumpyAxisError):
    """An axis that the array does not have."""


class OptionError(LazyArrayError, ValueError):
    """An argument, setting or environment variable with a value outside its choices."""


class SourceError(LazyArrayError, ValueError):
    """The source of a kernel that does not compile."""


class DeviceError(LazyArrayError, RuntimeError, ValueError):
    """A device that is absent, or operands on different devices."""


class NanError(LazyArrayError, FloatingPointError):
    """A NaN that an operation made of operands without one, while `la.debug.nans` looks."""


class GradientError(LazyArrayError, RuntimeError):
    """A gradient that does not exist, or whose tape has been released."""


class OutOfMemoryError(LazyArrayError, MemoryError):
    """A value for which the memory limit, or the system, has no room."""


class EngineError(LazyArrayError, RuntimeError):
    """A request that the engine cannot carry out in its present state."""


class MatrixError(LazyArrayError, _LinAlgError):
    """Matrices that are not square, or too few axes to hold any."""


class FallbackError(LazyArrayError, RuntimeError):
    """A function that waits and runs NumPy, while ``LAZYARRAY_FALLBACK=error``."""


class FallbackWarning(LazyArrayError, UserWarning):
    """A function that waits and runs NumPy, while ``LAZYARRAY_FALLBACK=warn``."""


class DataError(LazyArrayError, ValueError):
    """A file whose content is damaged, or is not what its name says."""


class FileError(LazyArrayError, OSError):
    """A file or folder that is missing, or cannot be read or written."""


def fail(cls: type[LazyArrayError], op: str, message: str, remedy: str = "") -> NoReturn:
    """Raise `cls` with one sentence, and the remedy on a line of its own.

    Parameters
    ----------
    cls : type
        One of the classes of this module.
    op : str
        The operation in the user's words, or "" where there is none.
    message : str
        What was expected and what came, with shapes and names.
    remedy : str, optional
        What the user can do about it.

    Raises
    ------
    LazyArrayError
        Always, as an instance of `cls`.

    Examples
    --------
    >>> fail(ShapeError, "matmul", "inner dimensions differ", "Transpose b.")
    Traceback (most recent call last):
        ...
    lazyarray.errors.ShapeError: matmul: inner dimensions differ
      Transpose b.
    """
    head = f"{op}: {message}" if op else message
    raise cls(f"{head}\n  {remedy}" if remedy else head)


def retell(error: ValueError, op: str, shape: tuple[int, ...]) -> NoReturn:
    """Raise what NumPy said of a view, with the operation and the shape it was asked for.

    Raises
    ------
    AxisError
        Where `error` is NumPy's.
    ShapeError
        For anything else.
    """
    if isinstance(error, _NumpyAxisError) and error.axis is not None and error.ndim is not None:
        raise AxisError(error.axis, error.ndim, op) from None
    text = str(error).rstrip(".")
    raise ShapeError(f"{op}: {text}, array has shape {shape}") from None


def require(
    condition: bool, cls: type[LazyArrayError], op: str, message: str, remedy: str = ""
) -> None:
    """Return if `condition` holds, otherwise `fail` with the other arguments.

    Raises
    ------
    LazyArrayError
        As an instance of `cls`, when `condition` is false.
    """
    if not condition:
        fail(cls, op, message, remedy)
