"""What ufuncs need besides ops on elements: methods run by NumPy, folds, parts, products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazyarray import _ir
from lazyarray._ir import Node, registry
from lazyarray.errors import DTypeError, ShapeError, fail, require

from .define import Elementwise, arrayop, as_node, composite, elementwise, zero_gradient
from .elementwise import FLOAT, copysign, described, isinf, trunc, where
from .host import HostOp, Result
from .linalg import conjugated, matmul, transpose
from .shaping import expand_dims, reshape

# ---- NumPy's own methods, as tasks


def run_method(
    ufunc: np.ufunc, method: str, result: int, options: Any, kind: Any, arrays: Any
) -> Any:
    """Result number `result` of a method of NumPy's ufunc."""
    found = getattr(ufunc, method)(*arrays, **dict(options))
    return found[result] if isinstance(found, tuple) else found


def method_rule(
    ufunc: np.ufunc,
    method: str,
    result: int,
    options: tuple[tuple[str, Any], ...],
    kind: Result,
    arrays: Sequence[Node],
) -> Result:
    """Result number `result`, of the given type, of a method of a NumPy ufunc on arrays."""
    return kind


ufunc_method = HostOp("_ufunc_method", run_method, method_rule)


@arrayop(inplace=True, fallible=True)
def _ufunc_at(base: Node, idx: Node, values: Node, ufunc: np.ufunc) -> Any:
    """`base` after ``ufunc.at(base, idx, values)`` on rows known to be in bounds."""
    return (base, idx, values), base.shape, base.dtype, {"ufunc": ufunc}


@_ufunc_at.kernel
def _(xp: Any, idx: Any, values: Any, out: Any, ufunc: Any) -> None:
    with np.errstate(all="ignore"):
        if ufunc.nin == 1:
            ufunc.at(out, idx)
        else:
            ufunc.at(out, idx, values)


# ---- reductions by halves


def folded(op: Callable[[Node, Node], Node], a: Node, axes: Sequence[int], empty: Any) -> Node:
    """`a` reduced over `axes` by an exact op that may take its operands in any order.

    `empty` is the result of nothing. The two halves are combined until one row is left: each step
    is an elementwise kernel.
    """
    kept = [i for i in range(a.ndim) if i not in axes]
    shape = tuple([a.shape[i] for i in kept])
    n = math.prod([a.shape[i] for i in axes])
    if n == 0:
        return registry["broadcast_to"](_ir.scalar(empty, a.dtype), shape)
    rows = reshape(transpose(a, [*axes, *kept]), (n, *shape))
    left: list[Node] = []
    while n > 1:
        half = n // 2
        if n % 2:
            left.append(row(rows, n - 1, 1))
        rows, n = op(row(rows, 0, half), row(rows, half, half)), half
    for each in left:
        rows = op(rows, each)
    return reshape(rows, shape)


def row(a: Node, start: int, count: int) -> Node:
    """`count` rows of `a` from `start`."""
    strides = _ir.c_strides(a.shape, a.dtype.itemsize)
    return _ir.view(a, (count, *a.shape[1:]), strides, start * strides[0], True)


# ---- ufuncs that are no single op


def fraction(x: Node) -> Node:
    """The part of `x` behind the point, with the sign of `x`."""
    x = as_node(x)
    x = _ir.cast(x, np.modf.resolve_dtypes((x.dtype, None, None))[1])
    return copysign(where(isinf(x), 0, x - trunc(x)), x)


def whole_part(x: Node) -> Node:
    """`x` rounded towards zero, as floating."""
    x = as_node(x)
    return trunc(_ir.cast(x, np.modf.resolve_dtypes((x.dtype, None, None))[2]))


def part_of_frexp(name: str, result: str) -> Elementwise:
    """The op of one result of frexp, of float32 and float64."""
    int32 = np.dtype(np.int32)
    return elementwise(
        name=name,
        nin=1,
        loop=name,
        resolver=lambda dtype: ((dtype,), int32 if name == "exponent" else np.dtype(dtype)),
        doc=described(f"The {name} of `x`, as `numpy.frexp`.", ("x",), FLOAT, result),
    )


mantissa: Elementwise = part_of_frexp("mantissa", "The dtype of `x`.")
exponent: Elementwise = part_of_frexp("exponent", "int32.")
zero_gradient(exponent)


@mantissa.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * registry["exp2"](_ir.cast(-exponent(x), x.dtype))


def isnat(x: Any) -> Node:
    """There are no dates."""
    fail(DTypeError, "isnat", "only defined for datetime and timedelta")


spacing = elementwise(
    np.spacing,
    doc=described(
        "Distance from `x` to the next number away from zero.",
        ("x",),
        "real floating; integers are converted as NumPy does",
        "The dtype that NumPy gives.",
    ),
)
spacing.constant = True


# ---- products of vectors


@composite
def matvec(x1: Node, x2: Node) -> Node:
    """Product of matrices and vectors.

    Parameters
    ----------
    x1 : array_like, shape (..., m, n), any dtype
    x2 : array_like, shape (..., n), any dtype
        The leading axes broadcast.

    Returns
    -------
    array, shape (..., m)

    Raises
    ------
    ShapeError
        When the shapes do not fit.
    """
    check_core("matvec", x1, 2, x2, 1, -1)
    found = matmul(x1, expand_dims(x2, -1))
    return reshape(found, found.shape[:-1])


@composite
def vecmat(x1: Node, x2: Node) -> Node:
    """Product of vectors, conjugated where they are complex, and matrices.

    Parameters
    ----------
    x1 : array_like, shape (..., n), any dtype
    x2 : array_like, shape (..., n, m), any dtype
        The leading axes broadcast.

    Returns
    -------
    array, shape (..., m)

    Raises
    ------
    ShapeError
        When the shapes do not fit.
    """
    check_core("vecmat", x1, 1, x2, 2, -2)
    found = matmul(expand_dims(conjugated(x1), -2), x2)
    return reshape(found, (*found.shape[:-2], found.shape[-1]))


def check_core(op: str, a: Node, least_a: int, b: Node, least_b: int, axis: int) -> None:
    """Raise ShapeError unless both have their axes, and the last of `a` fits `axis` of `b`."""
    enough = a.ndim >= least_a and b.ndim >= least_b
    require(
        enough,
        ShapeError,
        op,
        f"needs at least {least_a} and {least_b} dimensions, got {a.shape} and {b.shape}",
    )
    fits = a.shape[-1] == b.shape[axis]
    require(fits, ShapeError, op, f"inner dimensions differ: {a.shape} and {b.shape}")
