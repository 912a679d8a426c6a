"""Functions of matrices made of products, inverses and singular values, as `numpy.linalg`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazyarray import _ir
from lazyarray._ir import Node, registry
from lazyarray.dtypes import is_inexact
from lazyarray.errors import MatrixError, OptionError, ShapeError, fail, require

from .define import as_index, normalize_axes, normalize_axis
from .linalg import matmul
from .shaping import eye, full, moveaxis, ravel, reshape, transpose
from .solvers import FLOAT64, eigvalsh, inv, solve, square, svd


def matrix_power(a: Node, n: int) -> Node:
    """Powers of square matrices; as `numpy.linalg.matrix_power`."""
    n = as_index(n, "the exponent", "matrix_power")
    _, order = square(a, "matrix_power")
    if n == 0:
        return registry["broadcast_to"](eye(order, order, 0, a.dtype), a.shape)
    base = inv(a) if n < 0 else a
    found, left = None, abs(n)
    while left:
        left, odd = divmod(left, 2)
        if odd:
            found = base if found is None else matmul(found, base)
        if left:
            base = matmul(base, base)
    assert found is not None
    return found


def multi_dot(arrays: Sequence[Node]) -> Node:
    """The product of several matrices in the cheapest order; as `numpy.linalg.multi_dot`."""
    found = list(arrays)
    require(len(found) > 1, ShapeError, "multi_dot", "Expecting at least two arrays.")
    ends = found[0].ndim, found[-1].ndim
    if ends[0] == 1:
        found[0] = reshape(found[0], (1, -1))
    if ends[1] == 1:
        found[-1] = reshape(found[-1], (-1, 1))
    for each in found:
        if each.ndim != 2:
            text = f"{each.ndim}-dimensional array given. Array must be two-dimensional"
            fail(MatrixError, "multi_dot", text)
    extents = [found[0].shape[0], *[each.shape[1] for each in found]]
    result = product(found, cheapest(extents), 0, len(found) - 1)
    kept = tuple(n for n, end in zip(result.shape, ends, strict=True) if end != 1)
    return reshape(result, kept)


def cheapest(extents: Sequence[int]) -> list[list[int]]:
    """Where to split each chain of products (Cormen et al., Introduction to Algorithms, 15.2)."""
    count = len(extents) - 1
    cost = [[0] * count for _ in range(count)]
    cut = [[0] * count for _ in range(count)]
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i][j], cut[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + extents[i] * extents[k + 1] * extents[j + 1], k)
                for k in range(i, j)
            )
    return cut


def product(matrices: Sequence[Node], cut: list[list[int]], i: int, j: int) -> Node:
    """The product of the matrices from `i` to `j`."""
    if i == j:
        return matrices[i]
    k = cut[i][j]
    return matmul(product(matrices, cut, i, k), product(matrices, cut, k + 1, j))


def tensorinv(a: Node, ind: int = 2) -> Node:
    """The inverse of an array under `tensordot`; as `numpy.linalg.tensorinv`."""
    require(ind > 0, OptionError, "tensorinv", "Invalid ind argument.")
    rows, columns = a.shape[:ind], a.shape[ind:]
    found = inv(reshape(a, (math.prod(rows), math.prod(columns))))
    return reshape(found, (*columns, *rows))


def tensorsolve(a: Node, b: Node, axes: Any = None) -> Node:
    """The `x` with ``tensordot(a, x, x.ndim) == b``; as `numpy.linalg.tensorsolve`."""
    if axes is not None:
        moved = [normalize_axis(axis, a.ndim, "tensorsolve") for axis in axes]
        a = transpose(a, [*[i for i in range(a.ndim) if i not in moved], *moved])
    shape = a.shape[b.ndim :]
    order = math.prod(shape)
    fits = a.size == order**2
    text = "Input arrays must satisfy the requirement prod(a.shape[b.ndim:]) == prod(b.shape)"
    if not fits:
        fail(MatrixError, "tensorsolve", text)
    return reshape(solve(reshape(a, (order, order)), ravel(b)), shape)


# ---- of singular values


def matrix_rank(
    A: Node, tol: Node | None = None, hermitian: bool = False, *, rtol: Node | None = None
) -> Node:
    """Ranks of matrices; as `numpy.linalg.matrix_rank`."""
    if tol is not None and rtol is not None:
        raise ValueError("matrix_rank: `tol` and `rtol` can't be both set.")
    values = registry["absolute"](eigvalsh(A)) if hermitian else svdvals(A)
    if tol is not None:
        limit = reshape(tol, (*tol.shape, 1))
    else:
        limit = registry["max"](values, axis=-1, keepdims=True)
        if rtol is None:
            limit = limit * (max(A.shape[-2:]) * float(np.finfo(values.dtype).eps))
        else:
            limit = limit * reshape(rtol, (*rtol.shape, 1))
    return registry["count_nonzero"](registry["greater"](values, limit), axis=-1)


# ---- norms


def svdvals(x: Node) -> Node:
    """Singular values, falling; as `numpy.linalg.svdvals`."""
    return svd(x, compute_uv=False)


def norm(x: Node, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Node:
    """Norm of vectors or matrices; as `numpy.linalg.norm`."""
    axes = tuple(range(x.ndim)) if axis is None else axis
    if not isinstance(axes, tuple | list) or len(axes) != 2 or ord not in ("nuc", 2, -2):
        return registry["norm"](x, ord, axis, keepdims)
    rows, columns = [normalize_axis(each, x.ndim, "norm") for each in axes]
    require(rows != columns, OptionError, "norm", "Duplicate axes given.")
    x = x if is_inexact(x.dtype) else _ir.cast(x, FLOAT64)
    values = svdvals(moveaxis(x, (rows, columns), (-2, -1)))
    fold = {"nuc": "sum", 2: "max", -2: "min"}[ord]
    if ord == 2 and not values.shape[-1]:
        found = full(values.shape[:-1], 0, values.dtype)
    else:
        found = registry[fold](values, axis=-1)
    if not keepdims:
        return found
    return reshape(found, tuple(1 if i in (rows, columns) else n for i, n in enumerate(x.shape)))


def matrix_norm(x: Node, *, keepdims: bool = False, ord: Any = "fro") -> Node:
    """Norms of the matrices in the last two axes; as `numpy.linalg.matrix_norm`."""
    return norm(x, ord, (-2, -1), keepdims)


def vector_norm(x: Node, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Node:
    """Norms of vectors, which may lie along several axes; as `numpy.linalg.vector_norm`."""
    shape = x.shape
    axes = normalize_axes(axis, x.ndim, "vector_norm")
    if axis is None:
        x = ravel(x)
    elif isinstance(axis, tuple | list):
        rest = [i for i in range(x.ndim) if i not in axes]
        turned = transpose(x, [*axes, *rest])
        count = math.prod(shape[i] for i in axes)
        x = reshape(turned, (count, *[shape[i] for i in rest]))
    found = registry["norm"](x, ord, axis if isinstance(axis, int) else 0)
    if not keepdims:
        return found
    return reshape(found, tuple(1 if i in axes else n for i, n in enumerate(shape)))


def trace(x: Node, *, offset: int = 0, dtype: Any = None) -> Node:
    """Sums of diagonals of the matrices in the last two axes; as `numpy.linalg.trace`."""
    return registry["trace"](x, offset, -2, -1, dtype)


def outer(x1: Node, x2: Node) -> Node:
    """The outer product of two vectors; as `numpy.linalg.outer`."""
    text = f"Input arrays must be one-dimensional, but they are {x1.ndim=} and {x2.ndim=}."
    require(x1.ndim == 1 and x2.ndim == 1, ShapeError, "outer", text)
    return registry["outer"](x1, x2)
