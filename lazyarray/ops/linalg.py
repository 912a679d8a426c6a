"""Products of matrices, and what is made of them: dot, tensordot, einsum, norms."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

import lazyarray._blas as _blas
from lazyarray import _ir
from lazyarray._ir import Node, operators, registry
from lazyarray.dtypes import canonical, is_float, is_inexact
from lazyarray.errors import OptionError, ShapeError, fail, require

from .define import ArrayOp, as_index, composite, normalize_axes, normalize_axis, result_dtype
from .shaping import (
    Shape,
    broadcast_to,
    diagonal,
    expand_dims,
    ravel,
    reshape,
    transpose,
)


def promoted(*arrays: Node) -> list[Node]:
    """Arrays in their common dtype."""
    dtype = arrays[0].dtype
    if any(x.dtype is not dtype for x in arrays):
        # Two as in a ufunc, which knows dtypes for bfloat16 that have none in common with it.
        two = len(arrays) == 2
        kinds = [x.dtype for x in arrays]
        dtype = canonical(result_dtype(*kinds) if two else np.result_type(*kinds))
    return [_ir.cast(x, dtype) for x in arrays]


def adjoint(x: Node) -> Node:
    """The conjugate transpose of matrices."""
    return conjugated(turned(x))


# ---- the product of matrices


class Product(ArrayOp):
    """An op that multiplies matrices."""

    def follows(self, inputs: Sequence[Any], out: Any) -> bool:
        """Whether what reads such a product is best computed with it."""
        m, n = out.shape[-2:]
        return _blas.follows(out.dtype, math.prod(out.shape[:-2]), m, n, inputs[0].shape[-1])


def _product(body: Any) -> Product:
    return Product(body, inplace=False, dear=True, fallible=False)


@_product
def gemm(a: Node, b: Node) -> Any:
    """Products of matrices of one dtype and one batch shape: see `matmul`.

    Parameters
    ----------
    a : array, shape (..., m, k)
    b : array, shape (..., k, n)

    Returns
    -------
    array, shape (..., m, n)
    """
    shape = (*a.shape[:-1], b.shape[-1])
    fits = a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-2] and a.dtype is b.dtype
    if not fits:
        fail(ShapeError, "gemm", f"{a.dtype} {a.shape} and {b.dtype} {b.shape} do not fit")
    return (a, b), shape, a.dtype, {}


@gemm.layouts
def _(i: int, shape: Shape, strides: Shape, itemsize: int) -> bool:
    rows, columns = strides[-2:]
    whole = all(s >= 0 and s % itemsize == 0 for s in strides)
    return whole and (
        (columns == itemsize and rows >= shape[-1] * itemsize)
        or (rows == itemsize and columns >= shape[-2] * itemsize)
    )


@gemm.native
def _(inputs: Any, out: Any, layouts: Any) -> Any:
    a, b = inputs
    operands = []
    for kind, layout in zip(inputs, layouts, strict=True):
        strides = layout or _ir.c_strides(kind.shape, kind.itemsize)
        steps = tuple(s // kind.itemsize for s in strides)
        operands.append((steps[:-2], steps[-2], steps[-1]))
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    label = f"matmul {'x'.join(map(str, a.shape))} {'x'.join(map(str, b.shape))}"
    return _blas.gemm(out.dtype, out.shape[:-2], m, n, k, *operands, label=label, stages=True)


@gemm.vjp
def _(g: Node, y: Node, a: Node, b: Node) -> Any:
    return (
        laid_out_as(a, g, adjoint(b)) if a.tracked else None,
        laid_out_as(b, adjoint(a), g) if b.tracked else None,
    )


def laid_out_as(x: Node, a: Node, b: Node) -> Node:
    """The product `a` `b`; where `x` is a transpose, that of the product of the transposes.

    The gradient of what was transposed is stored as that is, then. The sums are the same: a product
    of two numbers does not know which is first.
    """
    return turned(gemm(turned(b), turned(a))) if is_turned(x) else gemm(a, b)


def turned(x: Node) -> Node:
    """The transpose of matrices."""
    (*batch, m, n), (*steps, row, column) = x.shape, _ir.c_strides(x.shape, x.dtype.itemsize)
    return _ir.view(x, (*batch, n, m), (*steps, column, row))


def is_turned(x: Node) -> bool:
    """Whether an array is the transpose of matrices."""
    if x.op is None or x.op.name != "view" or not x.inputs or min(x.shape) < 2:
        return False
    base, (strides, moving) = x.inputs[0], x.attrs
    if base.ndim != x.ndim:
        return False
    *steps, row, column = _ir.c_strides(base.shape, base.dtype.itemsize)
    shape = (*base.shape[:-2], base.shape[-1], base.shape[-2])
    return x.shape == shape and not moving and strides == (*steps, column, row)


@composite
def matmul(a: Node, b: Node) -> Node:
    """Product of matrices, or of stacks of them.

    Parameters
    ----------
    a : array, shape (..., m, k) or (k,)
    b : array, shape (..., k, n) or (k,)
        The leading axes broadcast.

    Returns
    -------
    array, shape (..., m, n), without m or n where an input has one dimension
        In the promoted dtype; integers wrap, bool is the or of ands. float16 and bfloat16 sum in
        float32.

    Raises
    ------
    ShapeError
        When an input is 0-d, the inner extents differ, or the leading axes do not broadcast.

    Notes
    -----
    Relative to ``abs(a) @ abs(b)`` the error is below ``k`` units in the last place.
    """
    a, b = promoted(a, b)
    if a.ndim == 0 or b.ndim == 0:
        fail(
            ShapeError,
            "matmul",
            f"needs at least one dimension, got {a.shape} and {b.shape}",
            "Multiply by a number with *.",
        )
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        fail(
            ShapeError,
            "matmul",
            f"inner dimensions differ: a is {a.shape}, b is {b.shape}",
            transposed(a, b),
        )
    drop = ((-2,) if a.ndim == 1 else ()) + ((-1,) if b.ndim == 1 else ())
    left = a if a.ndim > 1 else reshape(a, (1, inner))
    right = b if b.ndim > 1 else reshape(b, (inner, 1))
    out = product(left, right)
    if drop:
        ndim = out.ndim
        out = reshape(out, tuple(n for i, n in enumerate(out.shape) if i - ndim not in drop))
    return out


operators["matmul"] = matmul


def transposed(a: Node, b: Node) -> str:
    """The remedy where a transposed operand would fit."""
    if b.ndim > 1 and b.shape[-1] == a.shape[-1]:
        return "b.T would fit." if b.ndim == 2 else "b with its last two axes swapped would fit."
    if a.ndim > 1 and a.shape[-2] == (b.shape[-2] if b.ndim > 1 else b.shape[0]):
        return "a.T would fit." if a.ndim == 2 else "a with its last two axes swapped would fit."
    return "The last axis of a meets the second to last of b."


def product(a: Node, b: Node) -> Node:
    """`gemm` of matrices whose leading axes broadcast."""
    if a.shape[:-2] == b.shape[:-2]:
        return gemm(a, b)
    if b.ndim == 2 and a.ndim > 2:
        # One tall product instead of many: rows do not know of each other.
        rows = gemm(reshape(a, (math.prod(a.shape[:-1]), a.shape[-1])), b)
        return reshape(rows, (*a.shape[:-1], b.shape[-1]))
    try:
        batch = _ir.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ShapeError:
        fail(
            ShapeError,
            "matmul",
            f"leading axes do not broadcast: a is {a.shape}, b is {b.shape}",
            "Extents must be equal or 1, counted from the last axis.",
        )
    return gemm(broadcast_to(a, (*batch, *a.shape[-2:])), broadcast_to(b, (*batch, *b.shape[-2:])))


@composite
def dot(a: Node, b: Node) -> Node:
    """Product over the last axis of `a` and the second to last (or only) axis of `b`.

    Parameters
    ----------
    a : array, shape (..., k) or ()
    b : array, shape (..., k, n), (k,) or ()

    Returns
    -------
    array, shape ``a.shape[:-1] + b.shape[:-2] + b.shape[-1:]``
        With a 0-d input, the product of each element with it.
    """
    if a.ndim == 0 or b.ndim == 0:
        return registry["multiply"](a, b)
    if b.ndim < 3:
        if a.shape[-1] != b.shape[0]:
            fail(
                ShapeError,
                "dot",
                f"shapes {a.shape} and {b.shape} not aligned: {a.shape[-1]} != {b.shape[0]}",
            )
        return matmul(a, b)
    return tensordot(a, b, ((a.ndim - 1,), (b.ndim - 2,)))


@composite
def inner(a: Node, b: Node) -> Node:
    """Product over the last axes of `a` and `b`, shape ``a.shape[:-1] + b.shape[:-1]``."""
    if a.ndim == 0 or b.ndim == 0:
        return registry["multiply"](a, b)
    if a.shape[-1] != b.shape[-1]:
        fail(ShapeError, "inner", f"last extents differ: a is {a.shape}, b is {b.shape}")
    return tensordot(a, b, ((a.ndim - 1,), (b.ndim - 1,)))


@composite
def vdot(a: Node, b: Node) -> Node:
    """Sum of the products of ``conj(a)`` and `b`, flattened."""
    require(a.size == b.size, ShapeError, "vdot", f"sizes differ: a is {a.shape}, b is {b.shape}")
    return matmul(ravel(conjugated(a)), ravel(b))


@composite
def vecdot(a: Node, b: Node, axis: int = -1) -> Node:
    """Sum of the products of ``conj(a)`` and `b` along an axis; the others broadcast."""
    i, j = normalize_axis(axis, a.ndim, "vecdot"), normalize_axis(axis, b.ndim, "vecdot")
    if a.shape[i] != b.shape[j]:
        fail(
            ShapeError,
            "vecdot",
            f"extents along axis {axis} differ: a is {a.shape}, b is {b.shape}",
        )
    a, b = transpose(conjugated(a), last(a.ndim, i)), transpose(b, last(b.ndim, j))
    if a.shape[-1] <= SHORT and a.dtype is b.dtype and a.dtype in DIRECT:
        # A product of matrices for each few elements costs five times as much.
        return registry["sum"](registry["multiply"](a, b), -1)
    rows, columns = expand_dims(a, -2), expand_dims(b, -1)
    out = matmul(rows, columns)
    return reshape(out, out.shape[:-2])


SHORT = 16  # elements of a vector whose products are summed at once
DIRECT = tuple(np.dtype(char) for char in "fdFD")


def last(ndim: int, axis: int) -> list[int]:
    """The permutation that moves an axis to the end."""
    return [i for i in range(ndim) if i != axis] + [axis]


def conjugated(x: Node) -> Node:
    """`x`, conjugated where it is complex."""
    return registry["conjugate"](x) if x.dtype.kind == "c" else x


@composite
def outer(a: Node, b: Node) -> Node:
    """All products of an element of `a` and one of `b`, both flattened: shape (a.size, b.size)."""
    return registry["multiply"](reshape(a, (a.size, 1)), reshape(b, (1, b.size)))


@composite
def kron(a: Node, b: Node) -> Node:
    """Kronecker product: blocks of `b`, each times an element of `a`."""
    ndim = max(a.ndim, b.ndim)
    left = (1,) * (ndim - a.ndim) + a.shape
    right = (1,) * (ndim - b.ndim) + b.shape
    wide = registry["multiply"](
        reshape(a, tuple(n for extent in left for n in (extent, 1))),
        reshape(b, tuple(n for extent in right for n in (1, extent))),
    )
    return reshape(wide, tuple(map(operator.mul, left, right)))


@composite
def tensordot(a: Node, b: Node, axes: Any = 2) -> Node:
    """Sum of products over pairs of axes.

    Parameters
    ----------
    a, b : arrays
    axes : int or (axes of a, axes of b), default 2
        An int n pairs the last n axes of `a` with the first n of `b`.

    Returns
    -------
    array
        The other axes of `a`, then those of `b`.

    Raises
    ------
    ShapeError
        When paired extents differ.
    """
    a, b = promoted(a, b)
    if isinstance(axes, Sequence):
        left, right = (list(x) if isinstance(x, Sequence) else [x] for x in axes)
    else:
        count = as_index(axes, "axes", "tensordot")
        left, right = list(range(a.ndim - count, a.ndim)), list(range(count))
    i = [normalize_axis(x, a.ndim, "tensordot") for x in left]
    j = [normalize_axis(x, b.ndim, "tensordot") for x in right]
    fits = len(i) == len(j) and all(a.shape[x] == b.shape[y] for x, y in zip(i, j, strict=True))
    require(
        fits, ShapeError, "tensordot", f"axes {i} of {a.shape} do not match axes {j} of {b.shape}"
    )
    free_a = [x for x in range(a.ndim) if x not in i]
    free_b = [y for y in range(b.ndim) if y not in j]
    rows = tuple(a.shape[x] for x in free_a)
    columns = tuple(b.shape[y] for y in free_b)
    k = math.prod(a.shape[x] for x in i)
    out = gemm(
        reshape(transpose(a, free_a + i), (math.prod(rows), k)),
        reshape(transpose(b, j + free_b), (k, math.prod(columns))),
    )
    return reshape(out, rows + columns)


@composite
def trace(x: Node, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Node:
    """Sum along the diagonals of the matrices in two axes."""
    return registry["sum"](diagonal(x, offset, axis1, axis2), axis=-1, dtype=dtype)


# ---- norms


def magnitude(x: Node) -> Node:
    """Absolute values, floating."""
    x = x if is_inexact(x.dtype) else _ir.cast(x, np.dtype(np.float64))
    return registry["absolute"](x)


LONG = 1 << 16  # elements of a vector that is worth a product of its own


def euclidean(x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """The root of the sum of squares; its gradient at 0 is 0."""
    if x.dtype.kind == "c":
        real, imag = registry["real"](x), registry["imag"](x)
        squares = real * real + imag * imag
    else:
        x = x if is_float(x.dtype) else _ir.cast(x, np.dtype(np.float64))
        squares = x * x
    if x.ndim == 1 and x.size >= LONG and x.dtype in DIRECT[:2]:
        # One read of memory, where squares are stored for a sum.
        total = reshape(matmul(x, x), (1,) if keepdims else ())
    else:
        total = registry["sum"](squares, axis=axes, keepdims=keepdims)
    where, zero = registry["where"], registry["equal"](total, 0)
    return where(zero, total, registry["sqrt"](where(zero, 1, total)))


@composite
def norm(x: Node, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Node:
    """Norm of vectors or matrices.

    Parameters
    ----------
    x : array, any shape
    ord : None, 'fro', number, inf or -inf
        None and 'fro' are the root of the sum of squares. For vectors, the ``ord``-th root of the
        sum of powers; for matrices 1, -1, inf and -inf: the extreme column or row sum.
    axis : int or (int, int), optional
        One for vectors, two for matrices; by default all of `x`.
    keepdims : bool, default False

    Returns
    -------
    array, real floating

    Raises
    ------
    OptionError
        For other orders, such as those that need singular values.
    """
    if axis is None and ord is None:
        flat = euclidean(ravel(x), (0,), False)
        return reshape(flat, (1,) * x.ndim) if keepdims else flat
    axes = (
        tuple(range(x.ndim))
        if axis is None
        else axis
        if isinstance(axis, tuple | list)
        else (axis,)
    )
    order = [normalize_axis(a, x.ndim, "norm") for a in axes]
    found = normalize_axes(tuple(order), x.ndim, "norm")
    if len(order) == 1:
        return vector_norm(x, ord, order[0], keepdims)
    require(
        len(order) == 2, ShapeError, "norm", f"improper number of dimensions to norm: {len(order)}"
    )
    if ord in (None, "fro", "f"):
        return euclidean(x, found, keepdims)
    require(
        ord in (1, -1, math.inf, -math.inf),
        OptionError,
        "norm",
        f"order {ord!r} is not supported for matrices",
        "Choose 'fro', 1, -1, inf or -inf.",
    )
    first, second = order if abs(ord) == 1 else order[::-1]
    sums = registry["sum"](magnitude(x), axis=first, keepdims=True)
    out = extreme(sums, ord > 0, second, True)
    return (
        out if keepdims else reshape(out, tuple(n for i, n in enumerate(x.shape) if i not in found))
    )


def extreme(sizes: Node, greatest: bool, axis: int, keepdims: bool) -> Node:
    """The greatest size along an axis, 0 where there is none, or the smallest one."""
    fold = "min" if not greatest else "max" if sizes.shape[axis] else "sum"
    return registry[fold](sizes, axis=axis, keepdims=keepdims)


def vector_norm(x: Node, ord: Any, axis: int, keepdims: bool) -> Node:
    """The norm along one axis."""
    options = {"axis": axis, "keepdims": keepdims}
    if ord is None or ord == 2:
        return euclidean(x, (axis,), keepdims)
    require(
        isinstance(ord, int | float), OptionError, "norm", f"invalid norm order {ord!r} for vectors"
    )
    if ord == 0:
        hit = registry["not_equal"](x, 0)
        return registry["sum"](_ir.cast(hit, magnitude(x).dtype), **options)
    size = magnitude(x)
    if ord in (math.inf, -math.inf):
        return extreme(size, ord > 0, axis, keepdims)
    if ord == 1:
        return registry["sum"](size, **options)
    return registry["sum"](size ** float(ord), **options) ** (1.0 / ord)


# ---- einsum


@composite
def einsum(subscripts: str, *operands: Node) -> Node:
    """Sums of products by Einstein's convention.

    Parameters
    ----------
    subscripts : str
        As in ``"...ij,...jk->...ik"``. Without ``->`` the result has the letters that occur once,
        in alphabetical order.
    *operands : arrays

    Returns
    -------
    array, in the promoted dtype

    Raises
    ------
    ShapeError
        When the subscripts do not fit the operands, or a letter's extents differ.

    Notes
    -----
    Several operands are contracted in pairs, in the order that `numpy.einsum_path` finds greedily.
    """
    terms, result = parse_einsum(subscripts, [x.ndim for x in operands])
    extents: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        for letter, n in zip(term, x.shape, strict=True):
            known = extents.setdefault(letter, n)
            if known == 1:
                extents[letter] = n
            elif n not in (1, known):
                fail(
                    ShapeError,
                    "einsum",
                    f"operand {x.shape} has extent {n} for {letter!r}, another has {known}",
                )
    pairs = [
        (term, stretched(x, term, extents))
        for term, x in zip(terms, promoted(*operands), strict=True)
    ]
    while len(pairs) > 2:
        i, j = best_pair(pairs, result)
        second, first = pairs.pop(j), pairs.pop(i)
        rest = set(result).union(*(term for term, _ in pairs))
        kept = "".join(dict.fromkeys(c for c in first[0] + second[0] if c in rest))
        pairs.append((kept, contract(first, second, kept)))
    if len(pairs) == 2:
        return contract(pairs[0], pairs[1], result)
    term, x = summed(*pairs[0], set(result))
    return transpose(x, [term.index(c) for c in result])


def parse_einsum(subscripts: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result; an ellipsis becomes upper code points."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    require(
        len(terms) == len(ndims),
        ShapeError,
        "einsum",
        f"{subscripts!r} names {len(terms)} operands, got {len(ndims)}",
    )
    legal = all(
        c.isalpha() and c.isascii() for c in (left + right).replace("...", "").replace(",", "")
    )
    require(legal, OptionError, "einsum", f"invalid subscripts {subscripts!r}")
    most = 0
    for i, (term, ndim) in enumerate(zip(terms, ndims, strict=True)):
        letters = term.replace("...", "")
        spare = ndim - len(letters)
        fits = spare >= 0 if "..." in term else spare == 0
        require(
            fits, ShapeError, "einsum", f"{term!r} does not fit an operand of {ndim} dimensions"
        )
        if "..." in term:
            most = max(most, spare)
            # Counted from the last axis, as in broadcasting.
            terms[i] = term.replace("...", "".join(chr(0x2000 + k) for k in reversed(range(spare))))
    rest = "".join(chr(0x2000 + k) for k in reversed(range(most)))
    if arrow:
        result = right.replace("...", rest)
        require(
            "..." in right or not most,
            ShapeError,
            "einsum",
            "the result must have the ellipsis of the operands",
        )
        known = set("".join(terms))
        bad = [c for c in result if c not in known or result.count(c) > 1]
        require(
            not bad, ShapeError, "einsum", f"the result repeats or invents {bad} in {subscripts!r}"
        )
        return terms, result
    letters = "".join(terms)
    once = sorted(c for c in set(letters) if letters.count(c) == 1 and ord(c) < 0x2000)
    return terms, rest + "".join(once)


def stretched(x: Node, term: str, extents: dict[str, int]) -> Node:
    """Broadcast axes of extent 1 to what other operands have for the letter."""
    return broadcast_to(x, tuple(extents[c] for c in term))


def summed(term: str, x: Node, kept: set[str]) -> tuple[str, Node]:
    """Take diagonals of repeated letters, and sum over those that are not kept."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            i = term.index(letter)
            j = term.index(letter, i + 1)
            x = diagonal(x, 0, i, j)
            term = term[:i] + term[i + 1 : j] + term[j + 1 :] + letter
    axes = tuple(i for i, c in enumerate(term) if c not in kept)
    if axes:
        x = registry["sum"](x, axis=axes, dtype=x.dtype)
    return "".join(c for c in term if c in kept), x


def best_pair(pairs: Sequence[tuple[str, Node]], result: str) -> tuple[int, int]:
    """The two operands to contract next."""
    shown = [np.broadcast_to(np.float32(0), x.shape) for _, x in pairs]
    letters = {c: i for i, c in enumerate(dict.fromkeys("".join(term for term, _ in pairs)))}
    call: list[Any] = []
    for (term, _), x in zip(pairs, shown, strict=True):
        call += [x, [letters[c] for c in term]]
    first = np.einsum_path(*call, [letters[c] for c in result], optimize="greedy")[0][1]
    return (min(first[:2]), max(first[:2]))


def contract(first: tuple[str, Node], second: tuple[str, Node], result: str) -> Node:
    """The product of two operands, summed over the letters that are not in the result."""
    kept = set(result)
    ta, a = summed(*first, kept | set(second[0]))
    tb, b = summed(*second, kept | set(ta))
    shared = [c for c in ta if c in tb]
    batch = [c for c in shared if c in kept]
    inside = [c for c in shared if c not in kept]
    rows = [c for c in ta if c not in tb]
    columns = [c for c in tb if c not in ta]
    a = transpose(a, [ta.index(c) for c in batch + rows + inside])
    b = transpose(b, [tb.index(c) for c in batch + inside + columns])
    n = len(batch)
    lead = a.shape[:n]
    m = a.shape[n : n + len(rows)]
    k = math.prod(a.shape[n + len(rows) :])
    w = b.shape[n + len(inside) :]
    if inside:
        out = gemm(reshape(a, (*lead, math.prod(m), k)), reshape(b, (*lead, k, math.prod(w))))
        out = reshape(out, lead + m + w)
    else:
        wide = reshape(b, (*lead, *(1,) * len(m), *w))
        out = registry["multiply"](reshape(a, (*lead, *m, *(1,) * len(w))), wide)
    found = batch + rows + columns
    return transpose(out, [found.index(c) for c in result])
