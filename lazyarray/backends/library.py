"""Array ops by a library of NumPy's names: CuPy on a GPU; NumPy where these are tested.

Each function takes the library, the inputs and the result, as in `ops.define.ArrayOp.kernel`; one
that writes in place gets no first input. None adds floats in an order that changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., None]
FUNCTIONS: dict[str, Function] = {}


def library(name: str) -> Callable[[Function], Function]:
    """Register the function of an op."""

    def define(function: Function) -> Function:
        FUNCTIONS[name] = function
        return function

    return define


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
