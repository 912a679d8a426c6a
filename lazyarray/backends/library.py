"""Array ops by a library of NumPy's names: CuPy on a GPU; NumPy where these are tested.

Each function takes the library, the inputs and the result, as in `ops.define.ArrayOp.kernel`; one
that writes in place gets no first input. None adds floats in an order that changes.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from lazyarray import _order
from lazyarray.works import Whole

Function = Callable[..., None]
FUNCTIONS: dict[str, Function] = {}
KINDS: dict[str, str] = {}  # of the dtypes that a function takes
SUITS: dict[str, Callable[..., bool]] = {}  # what else it asks of a call's attributes


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
    """The function for an op on its operands; None where the library has none."""
    name = work.label
    if name not in FUNCTIONS or any(d.kind not in KINDS[name] for _, _, d in work.layouts):
        return None
    if name in SUITS and not SUITS[name](work):
        return None
    return FUNCTIONS[name]


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


# ---- reductions that have no kernel of our own: exact, so their order is free


def lines(x: Any, start: int, stop: int) -> Any:
    """An array with the axes to be reduced as its second of three."""
    shape = x.shape
    return x.reshape(prod(shape[:start]), prod(shape[start:stop]), prod(shape[stop:]))


def reduced(name: str, kinds: str) -> None:
    """Register a reduction by the name that it has in the library, too."""

    @library(name, kinds)
    def _(xp: Any, x: Any, out: Any, start: int, stop: int) -> None:
        found = getattr(xp, name)(lines(x, start, stop), axis=1)
        out[...] = found.reshape(out.shape)


for each in ("max", "min", "argmax", "argmin"):
    reduced(each, "biuf")
for each in ("any", "all"):
    reduced(each, "biufc")


def without_nan(name: str, filler: float) -> None:
    """Register an extreme that leaves NaN out, but where there is nothing else."""

    @library(name, "f")
    def _(xp: Any, x: Any, out: Any, start: int, stop: int) -> None:
        x = lines(x, start, stop)
        missing = x != x
        found = getattr(xp, name.removeprefix("nan"))(xp.where(missing, filler, x), axis=1)
        found = xp.where(xp.all(missing, axis=1), xp.full((), np.nan, x.dtype), found)
        out[...] = found.reshape(out.shape)


without_nan("nanmax", -np.inf)
without_nan("nanmin", np.inf)


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
