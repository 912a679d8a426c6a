"""What is done at the ends of axes: `pad`, `diff` with neighbours, `trim_zeros`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lazyarray import _handle
from lazyarray._record import ArrayBase
from lazyarray.errors import DTypeError, OptionError, ShapeError, fail, require
from lazyarray.lines import from_user
from lazyarray.ops import numpys
from lazyarray.ops.define import normalize_axes, normalize_axis

from .array import Array, asarray
from .functions import broadcast_to
from .hosted import deferred, mapped, observe
from .lift import LIFTED
from .waiting import flatten

__all__ = ["diff", "pad", "trim_zeros"]

NO_VALUE: Any = np._NoValue
# The options of each mode.
NATIVE = {
    "constant": {"constant_values"}, "edge": set(), "empty": set(), "wrap": set(),
    "reflect": {"reflect_type"}, "symmetric": {"reflect_type"},
}  # fmt: skip
COMPUTED = {
    "linear_ramp": {"end_values"}, "maximum": {"stat_length"}, "mean": {"stat_length"},
    "median": {"stat_length"}, "minimum": {"stat_length"},
}  # fmt: skip
padded = deferred(vars(numpys)["padded"], np.pad)


def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Array:
    """Return an array enlarged at its ends; as `numpy.pad`.

    Parameters
    ----------
    array : array_like
    pad_width : int, (before, after), one pair for each axis, or a dict of axes
    mode : str or callable
        ``constant``, ``edge``, ``wrap``, ``reflect``, ``symmetric`` and ``empty`` are recorded;
        ``linear_ramp``, ``maximum``, ``mean``, ``median`` and ``minimum`` run NumPy as a task; a
        function is called at once, with NumPy's vectors.
    **kwargs
        ``constant_values``, ``end_values``, ``reflect_type``, ``stat_length``.

    Returns
    -------
    array

    Raises
    ------
    OptionError
        For an unknown mode, or negative widths.
    ShapeError
        Where an empty axis is to be extended by what it holds.
    """
    array = asarray(array)
    if callable(mode):
        return observe(np.pad, (array, pad_width, mode), kwargs)
    if not isinstance(mode, str) or mode not in NATIVE | COMPUTED:
        known = ", ".join(sorted(NATIVE | COMPUTED))
        fail(OptionError, "pad", f"mode {mode!r} is not supported", f"Choose {known}.")
    unknown = kwargs.keys() - (NATIVE | COMPUTED)[mode]
    require(not unknown, OptionError, "pad", f"mode {mode!r} has no parameters {sorted(unknown)}")
    widths = width_pairs(pad_width, array.ndim)
    if not array.ndim:
        return array.copy()
    if mode in NATIVE and kwargs.get("reflect_type", "even") == "even":
        kwargs.pop("reflect_type", None)
        if "constant_values" in kwargs:
            kwargs["constant_values"] = ends(kwargs["constant_values"], array)
        return LIFTED["pad"](array, widths, mode, **kwargs)
    return padded(array, tuple(map(tuple, widths)), mode, **kwargs)


def ends(values: Any, array: Array) -> list[list[Any]]:
    """The numbers at the ends of each axis, in the dtype of the array."""
    if any(flatten(values)):
        values = mapped(values, _handle.peek_numpy)
    pairs = np.broadcast_to(np.asarray(values), (array.ndim, 2))
    return from_user(np.asarray, (pairs.tolist(), array.dtype), {}).tolist()


def width_pairs(pad_width: Any, ndim: int) -> list[list[int]]:
    """How many elements come before and after, for each axis."""
    if isinstance(pad_width, Mapping):
        pairs = [(0, 0)] * ndim
        for axis, width in pad_width.items():
            pairs[normalize_axis(axis, ndim, "pad")] = (
                (width, width) if isinstance(width, int) else tuple(width)
            )
        pad_width = pairs
    if isinstance(pad_width, ArrayBase):
        pad_width = _handle.peek_numpy(pad_width)
    found = np.asarray(pad_width)
    whole = found.dtype.kind in "iu" or not found.size
    require(whole, DTypeError, "pad", "`pad_width` must be of integral type")
    require(bool((found >= 0).all()), OptionError, "pad", f"negative widths {found.tolist()}")
    try:
        return np.broadcast_to(found.astype(np.int64), (ndim, 2)).tolist()
    except ValueError:
        text = f"widths of shape {found.shape} do not fit an array of {ndim} axes"
        fail(ShapeError, "pad", text, "Give one pair for each axis.")


def diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = NO_VALUE, append: Any = NO_VALUE
) -> Any:
    """Return the `n`-th difference of neighbours along an axis; as `numpy.diff`."""
    if n == 0:
        return a
    a = asarray(a)
    if (prepend is NO_VALUE and append is NO_VALUE) or not a.ndim or n < 0:
        return LIFTED["diff"](a, n, axis)
    axis = normalize_axis(axis, a.ndim, "diff")
    parts = [each for each in (prepend, a, append) if each is not NO_VALUE]
    edge = tuple(1 if i == axis else extent for i, extent in enumerate(a.shape))
    arrays = [asarray(each) for each in parts]
    arrays = [each if each.ndim else broadcast_to(each, edge) for each in arrays]
    return LIFTED["diff"](LIFTED["concatenate"](arrays, axis), n, axis)


def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """Return a view without the zeros at the ends of axes; as `numpy.trim_zeros`."""
    if not isinstance(filt, Array):
        return observe(np.trim_zeros, (filt, trim, axis), {})
    trim = trim.lower()
    if trim not in ("fb", "bf", "f", "b"):
        raise ValueError(f"trim_zeros: unexpected character(s) in `trim`: {trim!r}")
    axes = normalize_axes(axis, filt.ndim, "trim_zeros")
    if not axes:
        return filt
    places = np.argwhere(_handle.peek_numpy(filt))
    key = [slice(None)] * filt.ndim
    for i in axes:
        if not len(places):
            key[i] = slice(0, 0)
            continue
        low, high = int(places[:, i].min()), int(places[:, i].max()) + 1
        key[i] = slice(low if "f" in trim else None, high if "b" in trim else None)
    return filt[tuple(key)]


def read(function: Callable[..., Any]) -> None:
    """Say that a function waits for its argument."""
    function.runs = "waits"  # type: ignore[attr-defined]


read(trim_zeros)
