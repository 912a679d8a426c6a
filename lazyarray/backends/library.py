"""Array ops by a library of NumPy's names: CuPy on a GPU; NumPy where these are tested.

Each function takes the library, the inputs and the result, as in `ops.define.ArrayOp.kernel`; one
that writes in place gets no first input. None adds floats in an order that changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _order
from lazyarray.dtypes import BFLOAT16
from lazyarray.works import Whole

Function = Callable[..., None]
FUNCTIONS: dict[str, Function] = {}
KINDS: dict[str, str] = {}  # of the dtypes that a function takes
SUITS: dict[str, Callable[..., bool]] = {}  # what else it asks of a call's attributes
MOVES = {"take_masked", "put_masked"}  # ops that only move elements


def library(
    name: str, kinds: str = "biufc", suits: Callable[..., bool] | None = None
) -> Callable[[Function], Function]:
    """Register the function of an op, for operands of these kinds."""

    def define(function: Function) -> Function:
        FUNCTIONS[name] = function
        KINDS[name] = kinds
        if suits is not None:
            SUITS[name] = suits
        return function

    return define


def function_of(work: Whole) -> Function | None:
    """The function for an op on its operands; None where the library has none.

    It takes bfloat16, of which the library knows nothing, as unsigned integers.
    """
    name = work.label
    dtypes = [dtype for _, _, dtype in work.layouts]
    kinds = ["f" if dtype == BFLOAT16 else dtype.kind for dtype in dtypes]
    if name not in FUNCTIONS or any(kind not in KINDS[name] for kind in kinds):
        return None
    if name in SUITS and not SUITS[name](work):
        return None
    function = FUNCTIONS[name]
    if BFLOAT16 not in dtypes or name in MOVES:
        return function
    return in_single(function, [dtype == BFLOAT16 for dtype in dtypes])


def in_single(function: Function, halves: list[bool]) -> Function:
    """A function on float32, for operands of which some are bfloat16; it is rounded once."""

    def rounding(xp: Any, *arrays: Any, out: Any, **attributes: Any) -> None:
        pairs = zip(arrays, halves[: len(arrays)], strict=True)
        given = [single(x) if half else x for x, half in pairs]
        wide = xp.empty(out.shape, np.float32) if halves[-1] else out
        function(xp, *given, out=wide, **attributes)
        if halves[-1]:
            out[...] = bfloat(xp, wide)

    return rounding


def single(bits: Any) -> Any:
    """The float32 of a bfloat16's bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def bfloat(xp: Any, x: Any) -> Any:
    """The bits of the bfloat16 that is nearest to a float32, to even where two are."""
    bits = x.view(np.uint32)
    near = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    return xp.where(x != x, (bits >> 16) | 0x40, near).astype(np.uint16)


@library("gemm")
def _(xp: Any, a: Any, b: Any, out: Any) -> None:
    if a.shape[-1] == 0:
        out[...] = 0
    else:
        xp.matmul(a, b, out=out)


@library("cumsum")
def _(xp: Any, x: Any, out: Any, axis: int) -> None:
    xp.cumsum(x, axis=axis, dtype=out.dtype, out=out)


@library("cumprod")
def _(xp: Any, x: Any, out: Any, axis: int) -> None:
    xp.cumprod(x, axis=axis, dtype=out.dtype, out=out)


# ---- order


@library("sort")
def _(xp: Any, x: Any, out: Any) -> None:
    out[...] = xp.sort(x, axis=-1, kind="stable")


@library("argsort")
def _(xp: Any, x: Any, out: Any) -> None:
    out[...] = xp.argsort(x, axis=-1, kind="stable")


@library("searchsorted", "biuf")
def _(xp: Any, a: Any, v: Any, out: Any, side: str) -> None:
    out[...] = xp.searchsorted(a, v.reshape(-1), side=side).reshape(out.shape)


# ---- masks: what `total` says is known, so the CPU waits for nothing


@library("count_mask")
def _(xp: Any, mask: Any, out: Any) -> None:
    wide = xp.zeros(out.size * _order.MASK_CHUNK, mask.dtype)
    wide[: mask.size] = mask
    wide.reshape(out.size, _order.MASK_CHUNK).sum(axis=1, dtype=out.dtype, out=out)


def places_of(xp: Any, mask: Any, total: int) -> Any:
    """Where a mask is true; it is `total` times."""
    ranks = xp.cumsum(mask, dtype=np.int64) - 1
    found = xp.empty(total + 1, np.int64)  # what is false goes to the last one, and nowhere
    found[xp.where(mask, ranks, total)] = xp.arange(mask.size, dtype=np.int64)
    return found[:total]


@library("mask_index")
def _(xp: Any, mask: Any, counts: Any, out: Any) -> None:
    out[...] = places_of(xp, mask, out.size)


@library("take_masked")
def _(xp: Any, x: Any, mask: Any, counts: Any, out: Any) -> None:
    xp.take(x, places_of(xp, mask, out.shape[0]), axis=0, out=out)


@library("put_masked")
def _(xp: Any, mask: Any, counts: Any, values: Any, out: Any) -> None:
    out[places_of(xp, mask, values.shape[0])] = values
