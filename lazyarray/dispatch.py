"""NumPy's functions called on arrays: each goes to lazyarray's of its name, or is run by NumPy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from lazyarray._record import ArrayBase
from lazyarray.dtypes import NUMBER
from lazyarray.errors import DTypeError
from lazyarray.lines import HOME

from . import fft, lib, linalg
from .array import Array
from .hosted import mapped, observe, viewed, wrapped

table: dict[Any, Callable[..., Any]] = {}


def fill() -> None:
    """Note lazyarray's function for each of NumPy's."""
    for space, ours in (
        (np, sys.modules["lazyarray"]),
        (np.linalg, linalg),
        (np.fft, fft),
        (np.lib.stride_tricks, lib.stride_tricks),
    ):
        for name in getattr(space, "__all__", ours.__all__):
            if not hasattr(space, name):
                continue
            theirs, own = getattr(space, name), getattr(ours, name, None)
            if callable(theirs) and own is not None and own is not theirs:
                table[theirs] = own


KNOWN = (ArrayBase, np.ndarray, np.generic)


def array_function(self: Array, func: Any, types: Iterable[type], args: Any, kwargs: Any) -> Any:
    """NumPy's protocol for functions: `func` was called with an Array among its arguments."""
    if not all(issubclass(each, KNOWN) or not foreign(each) for each in types):
        return NotImplemented
    if sys._getframe(1).f_code.co_filename.startswith(HOME):
        # Called by lazyarray itself, which wants NumPy's answer.
        return func(*mapped(args, viewed), **mapped(kwargs, viewed))
    if not table:
        fill()
    kwargs = {key: value for key, value in kwargs.items() if key != "like"}
    ours = table.get(func)
    out = kwargs.get("out")
    if ours is None or foreign_out(out):
        return observe(func, args, kwargs)
    try:
        return ours(*args, **kwargs)
    except DTypeError:
        if out is None and not all(map(of_numbers, leaves(args))):
            return numbers(func(*mapped(args, viewed), **mapped(kwargs, viewed)))
        raise


def leaves(tree: Iterable[Any]) -> Iterator[Any]:
    """What stands in nested lists and tuples."""
    for part in tree:
        if isinstance(part, list | tuple):
            yield from leaves(part)
        else:
            yield part


def of_numbers(value: Any) -> bool:
    """Whether a value is none of texts, dates and objects, which stay in NumPy."""
    return isinstance(value, ArrayBase) or np.asarray(value).dtype in NUMBER


def numbers(found: Any) -> Any:
    """NumPy's results, with arrays for those of numbers."""
    if isinstance(found, list | tuple):
        parts = [numbers(part) for part in found]
        return type(found)(*parts) if hasattr(found, "_fields") else type(found)(parts)
    kept = getattr(found, "dtype", None) in NUMBER
    return wrapped(found, "") if kept else found


def foreign(kind: type) -> bool:
    """Whether a class has a protocol of its own."""
    return hasattr(kind, "__array_function__")


def foreign_out(out: Any) -> bool:
    """Whether results are to be written to NumPy's arrays."""
    return any(isinstance(x, np.ndarray) for x in (out if isinstance(out, tuple) else (out,)))


Array.__array_function__ = array_function
