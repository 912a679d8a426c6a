"""Sorting along an axis: stable, NaN last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import lazyarray._order as _order
from lazyarray import _ir
from lazyarray._engine import workers
from lazyarray._ir import Node
from lazyarray.dtypes import INTP, is_inexact
from lazyarray.errors import OptionError, require

from .define import ArrayOp, Rule, composite, normalize_axis
from .elementwise import invert, negative
from .indexing import take_along_axis

KINDS = (None, "quicksort", "mergesort", "heapsort", "stable")


class Sorting(ArrayOp):
    """An op on the last axis; its body returns (array, axis, result dtype).

    Another axis is swapped with the last.
    """

    def __call__(self, *args: Any, **attributes: Any) -> Node:
        """Record the op."""
        a, axis, dtype = self.body(*args, **attributes)
        a = _swap(a, axis)
        return _swap(self.node((a,), a.shape, dtype, ()), axis)


def _sorting(body: Rule) -> Sorting:
    op = Sorting(body, inplace=False, dear=True, fallible=False)

    @op.native
    def _(inputs: Sequence[Any], out: Any, layouts: Any) -> Any:
        dtype, shape = inputs[0].dtype, inputs[0].shape
        if op.name == "argsort":
            return _order.argsort(dtype, math.prod(shape[:-1]), shape[-1])
        return _order.sort(dtype, math.prod(shape[:-1]), shape[-1], workers())

    return op


def _swap(a: Node, axis: int) -> Node:
    if axis == a.ndim - 1:
        return a
    shape = list(a.shape)
    strides = list(_ir.c_strides(a.shape, a.dtype.itemsize))
    for each in (shape, strides):
        each[axis], each[-1] = each[-1], each[axis]
    return _ir.view(a, tuple(shape), tuple(strides))


def _line(a: Node, axis: int | None, kind: Any, op: str) -> tuple[Node, int]:
    require(
        kind in KINDS, OptionError, op, f"kind {kind!r} is unknown", f"Choose one of {KINDS[1:]}."
    )
    if axis is None:
        size = a.type.size
        return _ir.view(a, (size,), (a.dtype.itemsize,)), 0
    return a, normalize_axis(axis, a.ndim, op)


@_sorting
def sort(
    a: Node, axis: int | None = -1, kind: str | None = None, stable: bool | None = None
) -> Any:
    """A copy of `a`, sorted along an axis.

    Parameters
    ----------
    a : array_like, any shape, any dtype
        Complex numbers are ordered lexicographically, NaN last.
    axis : None or int, default -1
        The axis to sort along; None sorts the flattened array.
    kind, stable : optional
        Taken for NumPy's sake: every sort is stable.

    Returns
    -------
    array, the shape and dtype of `a`, or (size,) where `axis` is None

    Raises
    ------
    AxisError
        When the axis is out of bounds.
    OptionError
        For an unknown `kind`.
    """
    a, axis = _line(a, axis, kind, "sort")
    return a, axis, a.dtype


@_sorting
def argsort(
    a: Node, axis: int | None = -1, kind: str | None = None, stable: bool | None = None
) -> Any:
    """The indices that sort `a` along an axis; equal elements keep their order.

    Parameters
    ----------
    a : array_like, any shape, any dtype
        Complex numbers are ordered lexicographically, NaN last.
    axis : None or int, default -1
        The axis to sort along; None sorts the flattened array.
    kind, stable : optional
        Taken for NumPy's sake: every sort is stable.

    Returns
    -------
    array, the shape of `a`, or (size,) where `axis` is None, int64

    Raises
    ------
    AxisError
        When the axis is out of bounds.
    OptionError
        For an unknown `kind`.
    """
    if not a.ndim:  # NumPy takes it for 1-d here, though not in sort
        a = _ir.view(a, (1,), (a.dtype.itemsize,))
    a, axis = _line(a, axis, kind, "argsort")
    return a, axis, INTP


@sort.vjp
def _(g: Node, y: Node, a: Node) -> Node:
    # The rank of each element is where its cotangent stands.
    return take_along_axis(g, argsort(argsort(a)), -1)


@composite
def topk(a: Node, k: int, axis: int = -1) -> Node:
    """Indices of the `k` greatest elements along an axis, greatest first, equal ones in order.

    Parameters
    ----------
    a : array_like, any shape, bool, integer or real floating
        NaN comes last.
    k : int
        How many, at most the extent of the axis.
    axis : int, default -1

    Returns
    -------
    array, the shape of `a` with extent `k` along `axis`, int64

    Raises
    ------
    AxisError
        When the axis is out of bounds.
    OptionError
        When `k` is negative or exceeds the extent.
    """
    axis = normalize_axis(axis, a.ndim, "topk")
    require(
        0 <= k <= a.shape[axis],
        OptionError,
        "topk",
        f"k is {k}, but axis {axis} has {a.shape[axis]} elements",
    )
    # Complement rather than negation: it has no overflow in integers.
    order = argsort(negative(a) if is_inexact(a.dtype) else invert(a), axis)
    shape = tuple(k if i == axis else n for i, n in enumerate(a.shape))
    return _ir.view(order, shape, _ir.c_strides(a.shape, np.dtype(INTP).itemsize))
