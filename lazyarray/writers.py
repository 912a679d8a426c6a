"""NumPy's functions that write to their first argument: through its handle, seen by its views."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _handle
from lazyarray._handle import shadow, to_node
from lazyarray._ir import cast, registry
from lazyarray._record import ArrayBase
from lazyarray.dtypes import BOOL, INTP
from lazyarray.errors import DTypeError, OptionError, ShapeError, fail, require
from lazyarray.lines import from_user

from .array import Array, asarray, node, value_node
from .hosted import mapped, observe, viewed
from .lift import LIFTED, warned
from .waiting import flatten

__all__ = ["copyto", "fill_diagonal", "nan_to_num", "place", "put", "put_along_axis", "putmask"]


def target(a: Any, op: str) -> Array:
    """The array to write to."""
    if not isinstance(a, Array):
        raise TypeError(f"{op}: argument 1 must be a lazyarray array, not {type(a).__name__}")
    if a.is_scalar or not shadow(a).flags.writeable:
        raise ValueError(f"{op}: output array is read-only")
    return a


def writer(function: Callable[..., None]) -> Callable[..., None]:
    """A function that writes to an array; to one of NumPy's, NumPy writes."""
    theirs = getattr(np, function.__name__)
    function = warned(function)

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> None:
        if args and isinstance(args[0], np.ndarray):
            observe(theirs, args, options)
        else:
            function(*args, **options)

    return call


def given(values: Any, dtype: np.dtype) -> Array:
    """What is to be written: numbers and lists as `numpy.asarray` makes them of that dtype."""
    if isinstance(values, ArrayBase | np.ndarray | np.generic) or any(flatten(values)):
        return asarray(values)
    return asarray(from_user(np.asarray, (values, dtype), {}))


def rewritten(function: Callable[..., Any], a: Array, *args: Any, **options: Any) -> None:
    """Let NumPy write to a copy, and the array take its values."""
    data = _handle.peek_numpy(a).copy()
    function(data, *mapped(args, viewed), **mapped(options, viewed))
    _handle.assign(a, to_node(_handle.from_numpy(data)), function.__name__)


@writer
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    """Copy values to an array, where a mask says so; as `numpy.copyto`."""
    dst = target(dst, "copyto")
    weak = isinstance(src, int | float | complex) and not isinstance(src, np.generic | bool)
    if weak:
        number = np.empty((), dst.dtype)
        from_user(np.copyto, (number, src, casting), {})
        value = node(number)
    else:
        value = node(src)
    if not weak and not np.can_cast(value.dtype, dst.dtype, casting):
        text = f"Cannot cast array data from {value.dtype!r} to {dst.dtype!r} according to the rule"
        fail(DTypeError, "copyto", f"{text} {casting!r}")
    if where is True or where is np.True_:
        _handle.assign(dst, value, "copyto")
        return
    mask = node(where)
    if mask.dtype is not BOOL:
        fail(DTypeError, "copyto", f"the mask has dtype {mask.dtype}, not bool")
    for each, what in ((value, "values"), (mask, "mask")):
        if not fits(each.shape, dst.shape):
            text = f"could not broadcast the {what} from shape {each.shape} into shape {dst.shape}"
            fail(ShapeError, "copyto", text)
    _handle.assign(dst, registry["where"](mask, cast(value, dst.dtype), to_node(dst)), "copyto")


def fits(have: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a shape broadcasts to another."""
    pairs = zip(reversed(have), reversed(shape), strict=False)
    return len(have) <= len(shape) and all(a in (1, b) for a, b in pairs)


@writer
def putmask(a: Any, /, mask: Any, values: Any) -> None:
    """Write values, repeated as needed, where a mask holds; as `numpy.putmask`."""
    a = target(a, "putmask")
    chosen = asarray(mask)
    require(chosen.size == a.size, ShapeError, "putmask", "mask and data must be the same size")
    found = given(values, a.dtype)
    if not np.can_cast(found.dtype, a.dtype, "same_kind"):
        text = f"Cannot cast array data from {found.dtype!r} to {a.dtype!r} within its kind"
        fail(DTypeError, "putmask", text)
    if not found.size:
        return
    if found.size != a.size:
        found = LIFTED["tile"](found.ravel(), -(-a.size // found.size))[: a.size]
    mask_node, value = (to_node(x.reshape(a.shape)) for x in (chosen, found))
    old = to_node(a)
    chosen_node = cast(mask_node, BOOL)
    _handle.assign(a, registry["where"](chosen_node, cast(value, a.dtype), old), "putmask")


@writer
def place(arr: Any, mask: Any, vals: Any) -> None:
    """Write values one after the other where a mask holds; as `numpy.place`.

    The mask is read at once.
    """
    rewritten(np.place, target(arr, "place"), mask, vals)


@writer
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """Write values at flat indices; as `numpy.put`."""
    a = target(a, "put")
    require(mode in ("raise", "wrap", "clip"), OptionError, "put", f"mode {mode!r} is unknown")
    values = given(v, a.dtype).ravel()
    index: Any = asarray(ind).ravel() if isinstance(ind, ArrayBase) else np.asarray(ind).ravel()
    if not values.size or not index.size:
        return
    if index.dtype.kind not in "biu" and not isinstance(ind, list | tuple):
        fail(DTypeError, "put", f"Cannot cast array data from {index.dtype!r} to dtype('int64')")
    require(a.size > 0, ShapeError, "put", "cannot replace elements of an empty array")
    index = index.astype(INTP, copy=False)
    if mode != "raise":
        index = index % a.size if mode == "wrap" else index.clip(0, a.size - 1)
    if values.size != index.size:
        values = LIFTED["tile"](values, -(-index.size // values.size))[: index.size]
    flat = a.reshape(-1) if shadow(a).flags.c_contiguous else a.ravel()
    flat[index] = values
    if not shadow(a).flags.c_contiguous:
        _handle.assign(a, to_node(flat.reshape(a.shape)), "put")


def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Array:
    """Return numbers for what is not finite, in `x` if not `copy`; as `numpy.nan_to_num`."""
    found = LIFTED["nan_to_num"](x, nan, posinf, neginf)
    if copy or not isinstance(x, ArrayBase):
        return found
    _handle.assign(target(x, "nan_to_num"), to_node(found), "nan_to_num")
    return x


@writer
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None = -1) -> None:
    """Write values at indices along an axis; as `numpy.put_along_axis`."""
    arr = target(arr, "put_along_axis")
    if isinstance(values, ArrayBase | np.ndarray | list | tuple):
        values = to_node(asarray(values).astype(arr.dtype, copy=False))  # which warns
    else:
        values = value_node(values, arr.dtype)
    new = registry["put_along_axis"](to_node(arr), node(indices), values, axis)
    _handle.assign(arr, new, "put_along_axis")


@writer
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """Write to the main diagonal; as `numpy.fill_diagonal`."""
    if not isinstance(a, ArrayBase):
        raise TypeError(f"fill_diagonal: needs a lazyarray array, got {type(a).__name__}")
    require(a.ndim > 1, ShapeError, "fill_diagonal", "array must be at least 2-d")
    a = target(a, "fill_diagonal")
    if a.ndim == 2:
        rows, columns = a.shape
        size = rows * columns if wrap else min(rows * columns, columns * columns)
        count = -(-size // (columns + 1))
        if wrap and rows > columns:
            rewritten(np.fill_diagonal, a, val, wrap=True)
            return
    else:
        if len(set(a.shape)) > 1:
            raise ValueError("fill_diagonal: All dimensions of input must be of equal length")
        count = a.shape[0]
    if not count:
        return
    step = sum(a.strides)
    line = _handle.window(a, (count,), (step,), 0)
    values = given(val, a.dtype).ravel()
    if not values.size:
        raise ValueError("fill_diagonal: cannot copy from an array without elements")
    if values.size != count:
        values = LIFTED["tile"](values, -(-count // values.size))[:count]
    line[...] = values


setattr(place, "runs", "waits")  # noqa: B010  (functions have no such attribute to a checker)
