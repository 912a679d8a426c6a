"""Views of arrays by shapes and strides; as `numpy.lib.stride_tricks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazyarray import _handle, _record
from lazyarray._handle import seen, shadow
from lazyarray.array import Array, asarray
from lazyarray.catalog import CATALOG
from lazyarray.errors import ShapeError, fail
from lazyarray.functions import broadcast_arrays, broadcast_to

__all__ = [
    "as_strided",
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "sliding_window_view",
]

broadcast_shapes = CATALOG["broadcast_shapes"]


def as_strided(
    x: Any,
    shape: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    subok: bool = False,
    writeable: bool = True,
    *,
    check_bounds: bool | None = None,
) -> Array:
    """Return a view with another shape and other strides.

    Parameters
    ----------
    x : array_like
    shape : sequence of int, optional
        By default that of `x`.
    strides : sequence of int, optional
        Byte steps, multiples of the size of an element; by default those of `x`.
    subok : bool, default False
        Has no meaning here.
    writeable : bool, default True
        A view in which elements share memory is read-only all the same: the result of a write
        would depend on its order.
    check_bounds : bool, optional
        Bounds are always checked.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        Where the view would reach outside the memory of the array.
    """
    x = asarray(x)
    mine = shadow(x)
    extents = mine.shape if shape is None else tuple(map(int, np.atleast_1d(shape)))
    steps = mine.strides if strides is None else tuple(map(int, np.atleast_1d(strides)))
    if len(extents) != len(steps) or any(n < 0 for n in extents):
        fail(ShapeError, "as_strided", f"shape {extents} and strides {steps} do not fit")
    whole = shadow(_record.whole(x))
    start = mine.ctypes.data - whole.ctypes.data if mine.size else 0
    reach = [(n - 1) * step for n, step in zip(extents, steps, strict=True)]
    low = start + sum(part for part in reach if part < 0)
    high = start + sum(part for part in reach if part > 0) + mine.itemsize
    empty = 0 in extents
    if not empty and (low < 0 or high > whole.nbytes):
        fail(
            ShapeError,
            "as_strided",
            f"a view of shape {extents} with strides {steps} reaches outside the array's memory: "
            f"bytes {low} to {high} of {whole.nbytes}",
        )
    if any(step % mine.itemsize for step in steps):
        fail(ShapeError, "as_strided", f"strides {steps} are no multiples of {mine.itemsize} bytes")
    view = _handle.window(x, extents, steps, 0)
    if not writeable or overlaps(extents, steps, mine.itemsize):
        _handle.set_writeable(view, False)
    return view


def overlaps(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> bool:
    """Whether elements of a view may share memory."""
    reach = itemsize
    for step, extent in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if step < reach:
            return True
        reach += (extent - 1) * step
    return False


def sliding_window_view(
    x: Any,
    window_shape: Any,
    axis: Any = None,
    *,
    subok: bool = False,
    writeable: bool = False,
) -> Array:
    """Return a read-only view of all windows of a shape; as `numpy`'s of that name.

    Parameters
    ----------
    x : array_like
    window_shape : int or tuple of int
    axis : int or tuple of int, optional
        The axes along which windows slide; by default all.
    subok, writeable : bool, default False
        Have no meaning here: windows share their elements, so that they cannot be written.

    Returns
    -------
    array
        The axes of the windows come last.
    """
    x = asarray(x)
    return seen(x, np.lib.stride_tricks.sliding_window_view(shadow(x), window_shape, axis))
