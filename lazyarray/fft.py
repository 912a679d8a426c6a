"""Discrete Fourier transforms, as `numpy.fft`: recorded, on all cores, with gradients."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray.errors import OptionError, fail, require
from lazyarray.ops import fft as ops

from . import functions
from .array import Array
from .device import as_device
from .hosted import published
from .lift import LIFTED, as_argument, as_result, bind, stored

TRANSFORMS = (
    "fft", "fft2", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift", "ihfft",
    "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftn",
)  # fmt: skip
__all__ = sorted([*TRANSFORMS, "fftfreq", "rfftfreq"])


def lifted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A transform of Nodes as one of arrays."""
    signature = inspect.signature(function)

    def transform(*args: Any, out: Any = None, **options: Any) -> Any:
        bound = bind(function.__name__, signature, args, options)
        first, *rest = bound.args
        result = as_result(function(as_argument("Node", first), *rest, **bound.kwargs))
        return result if out is None else stored(out, result, function.__name__)

    theirs = getattr(np.fft, function.__name__)
    return published(transform, theirs, function.__doc__ or "")


globals().update({name: lifted(getattr(ops, name)) for name in TRANSFORMS})


def fftfreq(n: int, d: float = 1.0, device: Any = None, dtype: Any = None) -> Array:
    """Return the frequencies of the elements of a transform; as `numpy.fft.fftfreq`."""
    as_device(device)
    n, step = steps(n, d, "fftfreq")
    require(n >= 0, OptionError, "fftfreq", "negative dimensions are not allowed")
    halves = [functions.arange((n + 1) // 2) * step, functions.arange(-(n // 2), 0) * step]
    return in_dtype(LIFTED["concatenate"](halves), dtype)


def rfftfreq(n: int, d: float = 1.0, device: Any = None, dtype: Any = None) -> Array:
    """Return the frequencies of a transform of real data; as `numpy.fft.rfftfreq`."""
    as_device(device)
    n, step = steps(n, d, "rfftfreq")
    return in_dtype(functions.arange(n // 2 + 1) * step, dtype)


def steps(n: Any, d: float, op: str) -> tuple[int, float]:
    """The number of elements of a transform, and the distance of their frequencies."""
    n = count(n, op)
    return n, 1.0 / (n * float(d))


def count(n: Any, op: str) -> int:
    """The number of elements of a transform."""
    try:
        return operator.index(n)
    except TypeError:
        fail(OptionError, op, f"n should be an integer, got {n!r}")


def in_dtype(values: Any, dtype: Any) -> Array:
    """Frequencies in a real floating dtype."""
    if dtype is None:
        return values
    real = np.dtype(dtype).kind == "f"
    require(real, OptionError, "fftfreq", f"dtype {dtype} is not real floating")
    return values.astype(dtype)


for _name in __all__:
    _made = globals()[_name]
    if getattr(_made, "__module__", "") == "lazyarray" and _made is not LIFTED.get(_name):
        _made.__module__ = __name__
