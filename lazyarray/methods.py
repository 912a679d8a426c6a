"""The methods and attributes of arrays that are more than an operator or a view; as ndarray's."""

from __future__ import annotations

import functools
import os
import pickle
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _handle, _record, elements, reductions, writers
from lazyarray._handle import seen, shadow, storage_node
from lazyarray._record import Remembered
from lazyarray.dtypes import INTP, canonical
from lazyarray.errors import DTypeError, ShapeError, fail
from lazyarray.ops.define import normalize_axis

from .array import Array, as_device
from .catalog import CATALOG
from .flat import Flags, flatiter
from .functions import as_shape, empty, zeros
from .lift import LIFTED, RECALLS, filled
from .observers import nonzero as places_of
from .observers import peek

# Methods whose leading parameters, so many with `self`, are those of the function that is recalled.
POSITIONAL = {"argmax": 2, "argmin": 2, "clip": 3, "cumprod": 3, "cumsum": 3, "round": 2}


def attach(function: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """Make a function a method of arrays."""
    name = name or function.__name__.rstrip("_")
    if name in POSITIONAL:
        function = functools.wraps(function)(Remembered(function, RECALLS[name], POSITIONAL[name]))
    function.__name__ = name
    function.__qualname__ = f"Array.{name}"
    setattr(Array, name, function)
    return function


def written(result: Any, out: Any, name: str) -> Any:
    """`result`, or `out` with it."""
    return result if out is None else filled(out, result, name)


# ---- reductions


def reduction(name: str) -> None:
    """A reduction as a method: its arguments are those of the function."""
    function, recall = getattr(reductions, name), RECALLS[name]

    def call(self: Array, *args: Any, **options: Any) -> Any:
        if not args and not options:
            found = recall((self,))
            if found is not NotImplemented:
                return found
        return function(self, *args, **options)

    call.__doc__ = function.__doc__
    attach(call, name)


for _name in ("sum", "prod", "min", "max", "any", "all", "mean", "std", "var"):
    reduction(_name)


def places_fit(out: Any, op: str) -> None:
    """Indices are written to an array of the platform's index type."""
    if hasattr(out, "dtype") and out.dtype != INTP:
        fail(DTypeError, op, f"cannot cast array data from {out.dtype!r} to {INTP!r} safely")


@attach
def argmin(self: Array, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Return the index of the first smallest element."""
    places_fit(out, "argmin")
    return written(LIFTED["argmin"](self, axis, bool(keepdims)), out, "argmin")


@attach
def argmax(self: Array, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Return the index of the first greatest element."""
    places_fit(out, "argmax")
    return written(LIFTED["argmax"](self, axis, bool(keepdims)), out, "argmax")


@attach
def cumsum(self: Array, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """Return the running sum along an axis."""
    return written(LIFTED["cumsum"](self, axis, dtype), out, "cumsum")


@attach
def cumprod(self: Array, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """Return the running product along an axis."""
    return written(LIFTED["cumprod"](self, axis, dtype), out, "cumprod")


@attach
def trace(
    self: Array,
    offset: int = 0,
    axis1: int = 0,
    axis2: int = 1,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Return the sum along a diagonal."""
    found = LIFTED["sum"](self.diagonal(offset, axis1, axis2), -1, dtype)
    return written(found, out, "trace")


# ---- elements


@attach
def clip(self: Array, min: Any = None, max: Any = None, out: Any = None, **options: Any) -> Any:
    """Return the elements limited to an interval."""
    if options:
        low = -np.inf if min is None else min
        high = np.inf if max is None else max
        found = LIFTED["minimum"](LIFTED["maximum"](self, low), high, **options, out=out)
        return found
    return LIFTED["clip"](self, min, max, out=out)


@attach
def round(self: Array, decimals: int = 0, out: Any = None) -> Any:
    """Return the elements rounded to a number of decimals."""
    return LIFTED["round"](self, decimals, out=out)


@attach
def conjugate(self: Array, out: Any = None) -> Any:
    """Return the complex conjugate; real arrays themselves."""
    if self.dtype.kind != "c":
        return written(self, out, "conjugate")
    return LIFTED["conjugate"](self, out=out)


Array.conj = conjugate


@attach
def dot(self: Array, other: Any, out: Any = None) -> Any:
    """Return the dot product with another array."""
    return written(LIFTED["dot"](self, other), out, "dot")


@attach
def take(self: Array, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    """Return elements along an axis by index."""
    return written(LIFTED["take"](self, indices, axis, mode), out, "take")


@attach
def repeat(self: Array, repeats: Any, axis: int | None = None) -> Any:
    """Return the array with elements repeated."""
    return elements.repeat(self, repeats, axis)


@attach
def compress(self: Array, condition: Any, axis: int | None = None, out: Any = None) -> Any:
    """Return the slices along an axis for which a condition holds."""
    return written(CATALOG["compress"](condition, self, axis), out, "compress")


@attach
def choose(self: Array, *choices: Any, out: Any = None, mode: str = "raise") -> Any:
    """Return elements of the choices, which this array of indices names.

    Choices come as one sequence, or one by one.
    """
    if not choices:
        raise TypeError("choose() takes a sequence of choices")
    listed = choices[0] if len(choices) == 1 else choices
    return written(CATALOG["choose"](self, listed, mode=mode), out, "choose")


@attach
def put(self: Array, indices: Any, values: Any, mode: str = "raise") -> None:
    """Write values at flat indices."""
    writers.put(self, indices, values, mode)


@attach
def nonzero(self: Array) -> tuple[Array, ...]:
    """Return the indices of the elements that are not zero, one int64 array for each axis."""
    if not self.ndim:
        raise ValueError(
            "Calling nonzero on 0d arrays is not allowed. Use np.atleast_1d(a).nonzero()"
        )
    return places_of(self)


@attach
def searchsorted(self: Array, v: Any, side: Any = "left", sorter: Any = None) -> Any:
    """Return where elements of `v` would be inserted to keep the order."""
    return LIFTED["searchsorted"](self, v, side, sorter)


# ---- order


def unordered(order: Any, op: str) -> None:
    """There are no fields to order by."""
    if order is not None:
        raise ValueError(f"{op}: Cannot specify order when the array has no fields.")


@attach
def sort(
    self: Array, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> None:
    """Sort the array's own elements along an axis."""
    unordered(order, "sort")
    normalize_axis(axis, self.ndim, "sort")
    self[...] = LIFTED["sort"](self, axis, kind=kind, stable=stable)


@attach
def argsort(
    self: Array, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    """Return the indices that would sort along an axis."""
    unordered(order, "argsort")
    return LIFTED["argsort"](self, axis, kind=kind, stable=stable)


@attach
def partition(
    self: Array, kth: Any, axis: int = -1, kind: str = "introselect", order: Any = None
) -> None:
    """Order the array's own elements such that those before the k-th are not greater."""
    unordered(order, "partition")
    normalize_axis(axis, self.ndim, "partition")
    self[...] = CATALOG["partition"](self, kth, axis, kind)


@attach
def argpartition(
    self: Array, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """Return the indices that `partition` would put elements at."""
    unordered(order, "argpartition")
    return CATALOG["argpartition"](self, kth, axis, kind)


# ---- memory


@attach
def resize(self: Array, *new_shape: Any, refcheck: bool = True) -> None:
    """Change the shape in place; what is added is zero, what is beyond the new size is lost.

    Views of the array keep the old elements.
    """
    wanted = new_shape[0] if len(new_shape) == 1 else new_shape
    shape = as_shape(wanted, "resize")
    if self.is_scalar:
        raise ValueError("resize: a scalar has no shape to change")
    turned = self.base is not None and self.T.base is None  # in Fortran order, as it was made
    if self.base is not None and not turned:
        raise ValueError("cannot resize this array: it does not own its data")
    memory = (self.T if turned else self).reshape(-1)
    made = zeros(shape[::-1] if turned else shape, self.dtype)
    count = min(made.size, self.size)
    made.reshape(-1)[:count] = memory[:count]
    _record.become(self, made.T if turned else made)


@attach
def byteswap(self: Array, inplace: bool = False) -> Array:
    """Return the array with the bytes of each element reversed."""
    part = self.itemsize // 2 if self.dtype.kind == "c" else self.itemsize
    found = self
    if part > 1:
        memory = self.copy().reshape(-1).view(np.uint8).reshape(-1, part)
        found = memory[:, ::-1].copy().reshape(-1).view(self.dtype).reshape(self.shape)
    if not inplace:
        return found.copy("K")
    self[...] = found
    return self


@attach
def getfield(self: Array, dtype: Any, offset: int = 0) -> Array:
    """Return a view of a part of each element, as another dtype."""
    return seen(self, shadow(self).getfield(canonical(dtype, "getfield"), offset))


@attach
def setfield(self: Array, val: Any, dtype: Any, offset: int = 0) -> None:
    """Write to a part of each element."""
    self.getfield(dtype, offset)[...] = val


@attach
def view(self: Array, dtype: Any = np._NoValue, type: Any = None) -> Array:
    """Return a view of the same memory, with another dtype where one is given."""
    classes = (Array, np.ndarray)
    if dtype in classes and type is None:
        dtype, type = np._NoValue, dtype
    if type is not None and type not in classes:
        fail(DTypeError, "view", f"cannot see an array as {type!r}")
    if dtype is np._NoValue:
        return seen(self, shadow(self).view())
    return seen(self, shadow(self).view(canonical(dtype, "view")))


@attach
def setflags(self: Array, *, write: Any = None, align: Any = None, uic: Any = None) -> None:
    """Make the handle read-only, or writable again."""
    if align is not None and not align:
        pass  # memory is aligned whatever is said
    if uic:
        raise ValueError("cannot set WRITEBACKIFCOPY flag to True")
    if write is None:
        return
    if write and self.is_scalar:
        raise ValueError("cannot set WRITEABLE flag to True of this array")
    _handle.set_writeable(self, bool(write))


@attach
def dumps(self: Array) -> bytes:
    """Return the array as `pickle.loads` takes it."""
    return pickle.dumps(self)


@attach
def dump(self: Array, file: Any) -> None:
    """Pickle the array to a file, or to one of that name."""
    if hasattr(file, "write"):
        pickle.dump(self, file)
        return
    with open(os.fspath(file), "wb") as opened:
        pickle.dump(self, opened)


@attach
def tofile(self: Array, fid: Any, sep: str = "", format: str = "%s") -> None:
    """Write the elements in C order to a file: their bytes, or with `sep` as text."""
    peek(self).tofile(fid, sep, format)


@attach
def to_device(self: Array, device: Any, *, stream: Any = None) -> Array:
    """Return the array on another device; itself when it is there already."""
    if stream is not None:
        raise ValueError("to_device: only stream=None is supported")
    return self.to(as_device(device))


# ---- attributes


def attribute(function: Callable[..., Any]) -> property:
    """Make a function an attribute of arrays."""
    found = property(function, doc=function.__doc__)
    setattr(Array, function.__name__.rstrip("_"), found)
    return found


@attribute
def flags(self: Array) -> Flags:
    """How the array lies in memory; `writeable` can be set."""
    return Flags(self)


@attribute
def base(self: Array) -> Array | None:
    """The array whose memory this one is a view of; None where it sees all of it, in C order."""
    node = storage_node(self)
    if self.is_scalar or (
        shadow(self).shape == node.shape
        and shadow(self).dtype == node.dtype
        and shadow(self).flags.c_contiguous
    ):
        return None
    return _record.whole(self)


@attribute
def data(self: Array) -> memoryview:
    """The array's memory; both see each other's writes while it lives."""
    return memoryview(self)


@attribute
def ctypes(self: Array) -> Any:
    """NumPy's helper for ctypes, on the array's own memory while it lives."""
    return np.asarray(self).ctypes


def flat_of(self: Array) -> flatiter:
    """The elements in C order: an iterator that can be indexed, and written through."""
    return flatiter(self)


def set_flat(self: Array, value: Any) -> None:
    """Write to the elements in C order."""
    flatiter(self)[...] = value


Array.flat = property(flat_of, set_flat, doc=flat_of.__doc__)
Array.__class_getitem__ = classmethod(types.GenericAlias)


# ---- making arrays by their class


def constructed(
    self: Array,
    shape: Any,
    dtype: Any = float,
    buffer: Any = None,
    offset: int = 0,
    strides: Any = None,
    order: Any = None,
) -> None:
    """As `numpy.ndarray`: an array that is not set, or one on the memory of a buffer.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype, default float64
    buffer : object with the buffer protocol, optional
        Both sides see each other's writes.
    offset : int, default 0
        Where in the buffer the array starts, in bytes.
    strides : tuple of int, optional
        Byte steps, for a buffer.
    order : {'C', 'F'}, optional

    Raises
    ------
    ValueError
        Where the elements do not lie in the buffer, or not at multiples of their size.
    """
    wanted = canonical(dtype, "ndarray")
    extents = as_shape(shape, "ndarray")
    if order not in (None, "C", "F", "A", "K"):
        raise ValueError(f"order must be one of 'C', 'F', 'A', or 'K' (got {order!r})")
    if buffer is None:
        if strides is not None:
            np.ndarray(extents, wanted, strides=strides)  # NumPy's check
        column = order == "F" or (
            strides is not None and f_strides(extents, wanted) == tuple(strides)
        )
        made = empty(extents[::-1] if column else extents, wanted)
        _record.become(self, made.T if column else made)
        return
    example = np.ndarray(extents, wanted, buffer, offset, strides, order)
    _record.become(self, on_buffer(example, buffer, offset))


def on_buffer(example: np.ndarray, buffer: Any, offset: int) -> Array:
    """An array that sees what NumPy's does."""
    if example.flags.c_contiguous and example.flags.aligned:
        return _handle.alias_numpy(example)
    size = example.itemsize
    memory = np.frombuffer(buffer, np.uint8)
    start = offset % size
    count = (memory.size - start) // size
    if any(step % size for step in example.strides) or not example.flags.aligned:
        fail(
            ShapeError,
            "ndarray",
            f"elements of {size} bytes do not lie at multiples of their size: strides "
            f"{example.strides}, offset {offset}",
            "Copy the data.",
        )
    flat = np.ndarray((count,), example.dtype, buffer, start)
    if not example.flags.writeable:
        flat.flags.writeable = False
    found = _handle.alias_numpy(flat)
    return _handle.window(found, example.shape, example.strides, offset - start)


def f_strides(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...]:
    """Byte strides of a Fortran-ordered array."""
    steps, step = [], dtype.itemsize
    for extent in shape:
        steps.append(step)
        step *= extent
    return tuple(steps)


Array.__init__ = constructed  # type: ignore[method-assign, assignment]
