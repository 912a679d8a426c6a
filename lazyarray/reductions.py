"""Reductions as NumPy calls them: with ``out``, ``initial`` and ``where``, in its order.

The kernels are those of ``ops/reduction.py``; `initial` and `where` go by the ufuncs' ``reduce``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _floats, _record
from lazyarray._handle import from_node, to_node
from lazyarray._ir import registry
from lazyarray._record import ArrayBase
from lazyarray.dtypes import BFLOAT16, HALVES, INTP, canonical, is_inexact
from lazyarray.errors import AxisError, DTypeError, ShapeError, fail, require
from lazyarray.ops.define import normalize_axes, normalize_axis

from .array import Array, asarray
from .functions import broadcast_to, full
from .lift import LIFTED, RECALLS, filled, method
from .ufunc import ufunc
from .ufunc_calls import as_mask

NO_VALUE: Any = np._NoValue
FLOAT32, FLOAT64 = (np.dtype(c) for c in "fd")
REDUCERS = {name: found for name, found in LIFTED.items() if isinstance(found, ufunc)}

__all__ = [
    "all", "amax", "amin", "any", "average", "max", "mean", "min", "nanmax", "nanmean", "nanmin",
    "nanprod", "nanstd", "nansum", "nanvar", "prod", "std", "sum", "var",
]  # fmt: skip


def written(result: Any, out: Any, name: str) -> Any:
    """`result`, or `out` with it."""
    return result if out is None else filled(out, result, name)


def keeps(keepdims: Any) -> bool:
    """``keepdims=`` as a truth value; NumPy's placeholder is none."""
    return keepdims is not NO_VALUE and bool(keepdims)


# ---- what is said of results


def told(found: Array, sound: Any, what: str) -> Array:
    """`found`, with one of `TELLING` said where not all of it is sound, whatever the errstate."""
    steps = found.strides
    order = sorted(range(len(steps)), key=lambda i: -abs(steps[i]))
    if order != sorted(order):  # as it lies in memory
        sound = None if sound is None else sound.transpose(order)
        turned = told(found.transpose(order), sound, what)
        return turned.transpose([order.index(i) for i in range(len(order))])
    node = to_node(found)
    if node.device:
        return found
    last = _record.newest()
    node = registry[what](node, *([] if sound is None else [to_node(sound)]))
    if _floats.current() is None:
        _record.ask_since(last)
    else:
        with np.errstate(divide="warn"):
            _record.ask_since(last)
    return from_node(node, found.is_scalar)


def quotient(total: Array, count: Array) -> Array:
    """`total` by `count`, which is NaN without a warning where nothing is counted."""
    some = LIFTED["where"](LIFTED["greater"](count, 0), count, np.nan)
    return LIFTED["divide"](total, some).astype(total.dtype, copy=False)


# ---- what has a kernel

# The ufunc that joins elements, and whether the function takes a dtype.
JOINS = {
    "sum": ("add", True), "prod": ("multiply", True), "max": ("maximum", False),
    "min": ("minimum", False), "any": ("logical_or", False), "all": ("logical_and", False),
    "nanmax": ("fmax", False), "nanmin": ("fmin", False),
}  # fmt: skip


def reduced(
    name: str, a: Any, axis: Any, dtype: Any, out: Any, keepdims: Any, initial: Any, where: Any
) -> Any:
    """What one of `JOINS` gives: by its kernel, or with the ufunc's ``reduce``."""
    joins, typed = JOINS[name]
    kept = keepdims is not False and keeps(keepdims)
    if initial is not NO_VALUE or (where is not True and where is not NO_VALUE):
        where = True if where is NO_VALUE else where
        return REDUCERS[joins].reduce(a, axis, dtype, out, kept, initial, where)
    if type(a) is Array and a.ndim > 2:
        a, axis, back = turned(a, axis, kept)
        if back is not None:
            found = LIFTED[name](a, axis, dtype, kept) if typed else LIFTED[name](a, axis, kept)
            return written(found.transpose(back), out, name)
    given = (a, axis, dtype, kept) if typed else (a, axis, kept)
    recall = RECALLS.get(name)
    if recall is not None and out is None and dtype is None and type(a) is Array:
        found = recall(given)
        if found is not NotImplemented:
            return found
    return written(LIFTED[name](*given), out, name)


def turned(a: Array, axis: Any, kept: bool) -> tuple[Array, Any, list[int] | None]:
    """`a` with the axes that stay in the order of memory, `axis`, and how to turn a result back.

    NumPy's results are laid out like that. What is reduced stays in place: a tree of joins is
    that of the array as it is indexed.
    """
    if axis is None:
        return a, axis, None
    steps = a.strides
    if type(axis) is int and (axis == 0 or axis == a.ndim - 1 or axis == -1):
        staying = list(steps)
        del staying[axis]
        if staying == sorted(staying, reverse=True):
            return a, axis, None
    axes = normalize_axes(axis, a.ndim, "reduce")
    stay = [i for i in range(a.ndim) if i not in axes]
    wanted = sorted(stay, key=lambda i: -abs(steps[i]))
    if wanted == stay or 0 in steps or not axes:
        return a, axis, None
    order = list(range(a.ndim))
    for place, i in zip(stay, wanted, strict=True):
        order[place] = i
    if kept:
        return a.transpose(order), axes, [order.index(i) for i in range(a.ndim)]
    return a.transpose(order), axes, [wanted.index(i) for i in stay]


def sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    """Sum over the given axes; as `numpy.sum`."""
    return reduced("sum", a, axis, dtype, out, keepdims, initial, where)


def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    """Product over the given axes; as `numpy.prod`."""
    return reduced("prod", a, axis, dtype, out, keepdims, initial, where)


def max(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    """Greatest element over the given axes; as `numpy.max`."""
    return reduced("max", a, axis, None, out, keepdims, initial, where)


def min(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    """Smallest element over the given axes; as `numpy.min`."""
    return reduced("min", a, axis, None, out, keepdims, initial, where)


def any(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True
) -> Any:
    """Whether an element over the given axes is not zero; as `numpy.any`."""
    return reduced("any", a, axis, None, out, keepdims, NO_VALUE, where)


def all(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True
) -> Any:
    """Whether no element over the given axes is zero; as `numpy.all`."""
    return reduced("all", a, axis, None, out, keepdims, NO_VALUE, where)


# ---- moments


def mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    *,
    where: Any = True,
) -> Any:
    """Arithmetic mean over the given axes; as `numpy.mean`."""
    plain = (where is True or where is NO_VALUE) and out is None and dtype is None
    kept = keepdims is not False and keeps(keepdims)
    if plain and type(a) is Array and a.ndim:
        back = None
        if a.ndim > 2:
            a, axis, back = turned(a, axis, kept)
        found = RECALLS["mean"]((a, axis, None, kept))
        if found is not NotImplemented:
            return found if back is None else found.transpose(back)
        if back is not None:
            return LIFTED["mean"](a, axis, None, kept).transpose(back)
    a = asarray(a)
    axes = moment_axes(a, axis, "mean", where)
    if where is True or where is NO_VALUE:
        return written(LIFTED["mean"](a, axes, dtype, kept), out, "mean")
    return written(masked_mean(a, axes, dtype, kept, where), out, "mean")


def std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = NO_VALUE,
    correction: Any = NO_VALUE,
) -> Any:
    """Standard deviation over the given axes; as `numpy.std`."""
    found = moment("std", a, axis, dtype, ddof, keepdims, where, mean, correction)
    return written(found, out, "std")


def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = NO_VALUE,
    correction: Any = NO_VALUE,
) -> Any:
    """Variance over the given axes; as `numpy.var`."""
    found = moment("var", a, axis, dtype, ddof, keepdims, where, mean, correction)
    return written(found, out, "var")


def moment_axes(a: Array, axis: Any, name: str, where: Any = True) -> tuple[int, ...]:
    """The axes to count over; a 0-d array has none, not even 0, unless a mask is counted."""
    if a.ndim == 0 and where is not True and axis in (0, -1):
        return ()
    if a.ndim == 0 and axis not in (None, ()):
        raise AxisError(axis if isinstance(axis, int) else axis[0], 0, name)
    return normalize_axes(axis, a.ndim, name)


def moment(
    name: str,
    a: Any,
    axis: Any,
    dtype: Any,
    ddof: float,
    keepdims: Any,
    where: Any,
    mean: Any,
    correction: Any,
) -> Any:
    """A variance or its root; the plain ones are of one piece."""
    a = asarray(a)
    axes = moment_axes(a, axis, name, where)
    if correction is not NO_VALUE:
        if ddof != 0:
            raise ValueError("ddof and correction can't be provided simultaneously.")
        ddof = correction
    if mean is NO_VALUE and dtype is None and (where is True or where is NO_VALUE):
        kept, back = keepdims is not False and keeps(keepdims), None
        if a.ndim > 2:
            a, axes, back = turned(a, axes, kept)
        found = LIFTED[name](a, axes, None, ddof, kept)
        return found if back is None else found.transpose(back)
    where = True if where is NO_VALUE else where
    if mean is NO_VALUE:
        mean = masked_mean(a, axes, dtype or wide(a), True, where, False)
    return spread(
        name, a, axes, dtype, ddof, keepdims is not False and keeps(keepdims), where, mean
    )


def wide(a: Array) -> Any:
    """The dtype of a mean, where it is not that of the elements."""
    return FLOAT64 if a.dtype.kind in "biu" else FLOAT32 if a.dtype in HALVES else None


def counted(a: Array, axes: tuple[int, ...], keepdims: bool, where: Any) -> Any:
    """How many elements each result is made of: a number, or an array under a mask."""
    if where is not True:
        mask = broadcast_to(as_mask(where), a.shape)
        return LIFTED["sum"](mask, axes, INTP, keepdims)
    count = 1
    for i in axes:
        count *= a.shape[i]
    return count


def masked_mean(
    a: Array, axes: tuple[int, ...], dtype: Any, keepdims: bool, where: Any, says: bool = True
) -> Any:
    """The mean of the elements where a mask holds; it says where there are none."""
    wanted = wide(a) if dtype is None else canonical(dtype, "mean")
    last = _record.newest()
    total = REDUCERS["add"].reduce(a, axes, wanted, None, keepdims, NO_VALUE, where)
    count = counted(a, axes, keepdims, where)
    found = LIFTED["divide"](total, count)
    _record.ask_since(last)
    narrow = a.dtype if dtype is None and a.dtype in HALVES else total.dtype
    found = found.astype(narrow, copy=False)
    if where is True or not says:
        return found
    return told(found, LIFTED["greater"](count, 0), "mean_of_nothing")


def spread(
    name: str,
    a: Array,
    axes: tuple[int, ...],
    dtype: Any,
    ddof: float,
    keepdims: bool,
    where: Any,
    mean: Any,
) -> Any:
    """The mean of the squared distances from `mean` where a mask holds, or its root."""
    wanted = wide(a) if dtype is None else canonical(dtype, name)
    last = _record.newest()
    away = asarray(a - mean)
    if away.dtype.kind == "c":
        squares = LIFTED["square"](away.real) + LIFTED["square"](away.imag)
    else:
        squares = LIFTED["square"](away)
    total = REDUCERS["add"].reduce(squares, axes, wanted, None, keepdims, NO_VALUE, where)
    count = counted(a, axes, keepdims, where) - ddof
    left = count
    count = LIFTED["maximum"](count, 0) if isinstance(count, Array) else count if count > 0 else 0
    found = LIFTED["divide"](total, count).astype(total.dtype, copy=False)
    if dtype is None and a.dtype in HALVES:
        found = found.astype(a.dtype)
    found = LIFTED["sqrt"](found) if name == "std" else found
    _record.ask_since(last)
    if not isinstance(left, Array):
        return found
    return told(found, LIFTED["greater"](left, 0), "no_freedom")


def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False
) -> Any:
    """Return the weighted mean over the given axes; as `numpy.average`.

    Parameters
    ----------
    a : array_like
    axis : None or int or tuple of int, optional
    weights : array_like, optional
        Of the shape of `a`, or of its shape along `axis`. Without weights the result is the mean.
    returned : bool, default False
        Return the sum of the weights, too.
    keepdims : bool, default False

    Returns
    -------
    array, or a pair of arrays

    Raises
    ------
    ZeroDivisionError
        Where the weights sum to zero and are no arrays of lazyarray: a sum of those is not known
        yet, and such averages are NaN or infinite.
    """
    a = asarray(a)
    given = range(a.ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    axes = tuple([normalize_axis(each, a.ndim, "average") for each in given])
    kept = keepdims is not False and keeps(keepdims)
    if weights is None:
        found = LIFTED["average"](a, axes if axis is not None else None, None, kept)
        if not found.size:
            raise ZeroDivisionError(f"average: no elements along {axis} in shape {a.shape}")
        if not returned:
            return found
        total = full(found.shape, a.size / found.size, found.dtype)
        return found, total if found.ndim else total[()]
    known = not isinstance(weights, ArrayBase)
    w = fitting(np.asarray(weights) if known else weights, a, axes, axis)
    exact = FLOAT64 if a.dtype.kind in "biu" else None
    kinds = [x for x in (a.dtype, w.dtype, exact) if x is not None]
    dtype = canonical(np.result_type(*kinds), "average")
    total = LIFTED["sum"](w, axes, dtype, kept)
    nothing = total.size > 0 and not w.size
    if nothing or (known and (np.sum(w, axes, dtype) == 0).any()):
        raise ZeroDivisionError("average: weights sum to zero, can't be normalized")
    last = _record.newest()
    products = LIFTED["multiply"](a, w, dtype=dtype)
    found = LIFTED["sum"](products, axes, None, kept) / total
    _record.ask_since(last)
    if not returned:
        return found
    return found, total if total.shape == found.shape else broadcast_to(total, found.shape).copy()


def fitting(w: Any, a: Array, axes: tuple[int, ...], axis: Any) -> Any:
    """Weights that broadcast to the array."""
    if w.shape == a.shape:
        return w
    text = f"weights have shape {w.shape}, the array {a.shape}"
    if axis is None:
        fail(DTypeError, "average", f"{text}: the axis must be specified when they differ")
    fits = w.shape == tuple([a.shape[i] for i in axes])
    remedy = "Give one weight for each element along the axis."
    require(fits, ShapeError, "average", text, remedy)
    w = w.transpose(np.argsort(axes))
    return w.reshape(tuple([n if i in axes else 1 for i, n in enumerate(a.shape)]))


# ---- NaN left out


def known(a: Array, where: Any) -> Any:
    """The mask of the elements that count; True for all."""
    where = True if where is NO_VALUE else where
    if not is_inexact(a.dtype):
        return where
    there = LIFTED["logical_not"](LIFTED["isnan"](a))
    return there if where is True else LIFTED["logical_and"](there, as_mask(where))


def nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    """Sum over the given axes, leaving NaN out; as `numpy.nansum`."""
    return sum(without(asarray(a), 0), axis, dtype, out, keepdims, initial, where)


def nanprod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    """Product over the given axes, leaving NaN out; as `numpy.nanprod`."""
    return prod(without(asarray(a), 1), axis, dtype, out, keepdims, initial, where)


def without(a: Array, value: float) -> Any:
    """The array with `value` in place of NaN."""
    if not is_inexact(a.dtype):
        return a
    return LIFTED["where"](LIFTED["isnan"](a), value, a)


def nanmin(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    """Smallest element over the given axes, leaving NaN out; as `numpy.nanmin`."""
    return extreme("nanmin", a, axis, out, keepdims, initial, where)


def nanmax(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    """Greatest element over the given axes, leaving NaN out; as `numpy.nanmax`."""
    return extreme("nanmax", a, axis, out, keepdims, initial, where)


def extreme(name: str, a: Any, axis: Any, out: Any, keepdims: Any, initial: Any, where: Any) -> Any:
    """What `nanmin` and `nanmax` give."""
    found = reduced(name, a, axis, None, None, keepdims, initial, where)
    if is_inexact(found.dtype):
        found = told(found, None, "all_nan_slice")
    return written(found, out, name)


def nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    *,
    where: Any = True,
) -> Any:
    """Arithmetic mean over the given axes, leaving NaN out; as `numpy.nanmean`."""
    a = asarray(a)
    if not is_inexact(a.dtype):
        return mean(a, axis, dtype, out, keepdims, where=where)
    if dtype is None and a.dtype is BFLOAT16:  # as in `mean`
        found = nanmean(a.astype(FLOAT32), axis, None, None, keepdims, where=where)
        return written(found.astype(BFLOAT16), out, "nanmean")
    axes = () if a.ndim == 0 and axis in (0, -1) else normalize_axes(axis, a.ndim, "nanmean")
    kept, back, where = keepdims is not False and keeps(keepdims), None, unmasked(where)
    if where is True and a.ndim > 2:
        a, axes, back = turned(a, axes, kept)
    last = _record.newest()
    total = sum(without(a, 0), axes, dtype, None, kept, NO_VALUE, where)
    count = counted(a, axes, kept, known(a, where))
    if total.dtype.kind == "c":  # whose quotient by NaN is an invalid operation
        _record.ask_since(last)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = quotient(total, count)
    else:
        found = quotient(total, count)
        _record.ask_since(last)
    found = told(found, LIFTED["greater"](count, 0), "mean_of_nothing")
    return written(found if back is None else found.transpose(back), out, "nanmean")


def unmasked(where: Any) -> Any:
    """A mask, True for none."""
    return True if where is NO_VALUE else where


def nanstd(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = NO_VALUE,
    correction: Any = NO_VALUE,
) -> Any:
    """Standard deviation over the given axes, leaving NaN out; as `numpy.nanstd`."""
    found = nan_moment("std", a, axis, dtype, ddof, keepdims, where, mean, correction)
    return written(found, out, "nanstd")


def nanvar(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = NO_VALUE,
    correction: Any = NO_VALUE,
) -> Any:
    """Variance over the given axes, leaving NaN out; as `numpy.nanvar`."""
    found = nan_moment("var", a, axis, dtype, ddof, keepdims, where, mean, correction)
    return written(found, out, "nanvar")


def nan_moment(
    name: str,
    a: Any,
    axis: Any,
    dtype: Any,
    ddof: float,
    keepdims: Any,
    where: Any,
    mean: Any,
    correction: Any,
) -> Any:
    """A variance or its root over what is no NaN; NaN where nothing is left."""
    a = asarray(a)
    if not is_inexact(a.dtype):
        return moment(name, a, axis, dtype, ddof, keepdims, where, mean, correction)
    if dtype is None and a.dtype is BFLOAT16:  # as in `moment`
        wider = a.astype(FLOAT32)
        found = nan_moment(name, wider, axis, None, ddof, keepdims, where, mean, correction)
        return found.astype(BFLOAT16)
    if correction is not NO_VALUE:
        if ddof != 0:
            raise ValueError("ddof and correction can't be provided simultaneously.")
        ddof = correction
    axes = () if a.ndim == 0 and axis in (0, -1) else normalize_axes(axis, a.ndim, f"nan{name}")
    last = _record.newest()
    mask = known(a, where)
    clean = without(a, 0)
    if mean is NO_VALUE:
        # Not by way of float32 for float16: NumPy's does not either.
        kept = REDUCERS["add"].reduce(clean, axes, dtype, None, True, NO_VALUE, mask)
        mean = quotient(kept, counted(a, axes, True, mask))
    away = LIFTED["where"](mask, clean - mean, 0)
    if away.dtype.kind == "c":
        squares = LIFTED["square"](away.real) + LIFTED["square"](away.imag)
    else:
        squares = LIFTED["square"](away)
    total = sum(squares, axes, None, None, keepdims)
    left = counted(a, axes, keepdims is not False and keeps(keepdims), mask) - ddof
    found = quotient(total, left)
    found = LIFTED["sqrt"](found) if name == "std" else found
    _record.ask_since(last)
    return told(found, LIFTED["greater"](left, 0), "no_freedom_left")


amax, amin = max, min


def documented(function: Callable[..., Any]) -> None:
    """The text of the kernel's function, where there is one, and a word on the other options."""
    kernel = LIFTED.get(function.__name__)
    if kernel is not None and kernel.__doc__:
        function.__doc__ = kernel.__doc__.rstrip() + (
            f"\n\n    ``out``, ``initial``, ``where``: as in `numpy.{function.__name__}`.\n"
        )
    function.__module__ = "lazyarray"


for _name in __all__:
    documented(globals()[_name])
for _name in ("sum", "prod", "max", "min", "any", "all", "mean", "std", "var"):
    setattr(Array, _name, method(globals()[_name]))
