"""NumPy's index expressions, taken apart: a View, and arrays that index its axes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazyarray.dtypes import INTP
from lazyarray.errors import ArrayIndexError, require

from .shaping import Shape


@dataclass(frozen=True, slots=True)
class Index:
    """An index expression, taken apart: a View, and arrays that index axes of what it shows."""

    shape: Shape
    strides: Shape
    offset: int  # in bytes, from the start of the indexed View
    axes: tuple[int, ...]  # of the View, rising
    arrays: tuple[Any, ...]  # one for each axis
    place: int  # where in the result the shape of the arrays stands
    scalar: bool  # every axis has its integer and there is no Ellipsis: NumPy gives a scalar


Nonzero = Callable[[Any], tuple[Any, ...]]
INVALID = (
    "index: only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or "
    "boolean arrays are valid indices"
)


def parse_index(shape: Shape, strides: Shape, index: Any, nonzero: Nonzero = np.nonzero) -> Index:
    """Take NumPy's ``x[index]`` apart.

    Parameters
    ----------
    shape, strides : tuple of int
        Of the View that is indexed; strides in bytes.
    index : object
        An int, slice, None, Ellipsis, bool, array, list, or a tuple of these. An array is anything
        with a shape and a dtype.
    nonzero : callable, optional
        Gives the integer index arrays for a boolean mask; for one without dimensions, a single
        array of no or one zero.

    Raises
    ------
    ArrayIndexError
        When an integer is out of bounds, there are too many indices, a mask does not fit, or an
        index is of another kind.
    """
    items = [item for part in as_items(index) for item in expand_mask(part, nonzero)]
    items = fill_ellipsis(items, len(shape))
    spans, seen = [], 0
    for kind, value in items:
        check_mask(kind, value, shape, seen)
        spans.append(seen)
        seen += kind in CONSUMING
    fancy = any(kind in ("array", "mask", "flag") for kind, _ in items)
    out_shape: list[int] = []
    out_strides: list[int] = []
    offset = 0
    axes: list[int] = []
    arrays: list[Any] = []
    group: list[int] = []  # turns of the items that index by arrays, integers among them
    place = 0
    for turn, ((kind, value), axis) in enumerate(zip(items, spans, strict=True)):
        if kind in ("array", "mask", "flag", "int"):
            place = len(out_shape) - len(axes) if not group else place
            group.append(turn)
        if kind == "new":
            out_shape.append(1)
            out_strides.append(0)
        elif kind == "int":
            offset += in_bounds(value, shape[axis], axis) * strides[axis]
        elif kind == "slice":
            start, count, step = slice_span(value, shape[axis])
            offset += start * strides[axis] if count else 0
            out_shape.append(count)
            out_strides.append(step * strides[axis])
        elif kind != "rest":
            axes.append(len(out_shape))
            arrays.append(value if kind == "array" else value[0])
            out_shape.append(1 if kind == "flag" else shape[axis])
            out_strides.append(0 if kind == "flag" else strides[axis])
    if group and group[-1] - group[0] >= len(group):
        place = 0
    scalar = not out_shape and not any(kind == "rest" for kind, _ in items)
    offset = offset if 0 not in out_shape else 0
    return Index(
        tuple(out_shape),
        tuple(out_strides),
        offset,
        tuple(axes),
        tuple(arrays),
        place if fancy else 0,
        scalar,
    )


CONSUMING = ("int", "slice", "array", "mask")


def as_items(index: Any) -> tuple[Any, ...]:
    """The parts of an index expression."""
    return index if isinstance(index, tuple) else (index,)


def expand_mask(part: Any, nonzero: Nonzero) -> list[tuple[str, Any]]:
    """One part of an index as (kind, value) items; a mask gives one for each of its axes."""
    if part is None:
        return [("new", None)]
    if part is Ellipsis:
        return [("rest", None)]
    if isinstance(part, slice):
        return [("slice", part)]
    if isinstance(part, bool | np.bool_):
        return [("flag", (np.zeros(int(part), INTP),))]
    if isinstance(part, list | tuple):
        part = np.asarray(part)
        if not part.size and part.dtype.kind == "f":
            part = part.astype(INTP)
    if not hasattr(part, "dtype") or not hasattr(part, "shape"):
        return [("int", as_integer(part))]
    kind = np.dtype(part.dtype).kind
    if kind == "b":
        if part.shape == ():
            known = isinstance(part, np.ndarray)
            return [("flag", (np.zeros(int(part), INTP),) if known else nonzero(part))]
        found = nonzero(part)
        return [("mask", pair) for pair in zip(found, part.shape, strict=True)]
    if kind not in "iu":
        text = (
            f"index: arrays used as indices must be of integer (or boolean) type, got {part.dtype}"
        )
        raise ArrayIndexError(text if part.shape else INVALID)
    if part.shape == () and isinstance(part, np.generic | np.ndarray):
        return [("int", int(part))]
    return [("array", part)]


def as_integer(part: Any) -> int:
    """An integer index."""
    try:
        return operator.index(part)
    except TypeError:
        raise ArrayIndexError(INVALID) from None


def fill_ellipsis(items: list[tuple[str, Any]], ndim: int) -> list[tuple[str, Any]]:
    """Write out what an Ellipsis, or the lack of further indices, stands for."""
    spots = [i for i, (kind, _) in enumerate(items) if kind == "rest"]
    require(len(spots) < 2, ArrayIndexError, "", "an index can only have a single ellipsis ('...')")
    used = sum(kind in CONSUMING for kind, _ in items)
    if used > ndim:
        text = f"array is {ndim}-dimensional, but {used} were indexed"
        raise ArrayIndexError(f"index: too many indices for array: {text}")
    at = spots[0] if spots else len(items)
    whole = [("slice", slice(None))] * (ndim - used)
    return [*items[: at + 1], *whole, *items[at + 1 :]] if spots else items + whole


def check_mask(kind: str, value: Any, shape: Shape, axis: int) -> None:
    """Raise where a mask's extent is not that of the axis it indexes; as in NumPy, 0 fits any."""
    if kind == "mask" and value[1] not in (0, shape[axis]):
        raise ArrayIndexError(
            f"index: boolean index did not match indexed array along axis {axis}; size of axis is "
            f"{shape[axis]} but size of corresponding boolean axis is {value[1]}"
        )


def in_bounds(value: int, extent: int, axis: int) -> int:
    """An integer index counted from the front."""
    if not -extent <= value < extent:
        text = f"index: index {value} is out of bounds for axis {axis} with size {extent}"
        raise ArrayIndexError(text)
    return value % extent


def slice_span(part: slice, extent: int) -> tuple[int, int, int]:
    """(start, count, step) of a slice."""
    start, stop, step = part.indices(extent)
    return start, len(range(start, stop, step)), step
