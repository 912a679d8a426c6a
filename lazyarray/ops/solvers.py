"""Linear algebra that LAPACK computes, as `numpy.linalg`, with gradients.

Equations, determinants and Cholesky factors of large or many matrices are kernels, over all cores;
the others are tasks that run NumPy's function. Matrices lie in the last two axes; the axes before
them are a batch. A singular matrix, or one that is not positive definite, is found when the task
runs: `LinAlgError` is raised at every wait. Gradients follow Giles, *Collected matrix derivative
results* (2008); one through eigenvectors or singular vectors needs distinct values, and must not
depend on the vectors' phases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import lazyarray._lapack as _lapack
import lazyarray._spectra as _spectra
from lazyarray import _ir
from lazyarray._ir import Node, registry
from lazyarray.dtypes import HALVES, REAL_OF
from lazyarray.errors import (
    DTypeError,
    GradientError,
    MatrixError,
    OptionError,
    ShapeError,
    fail,
    require,
)  # fmt: skip

from .define import attributes
from .host import HostOp, Result, arguments, host, packing, parts
from .linalg import adjoint, matmul
from .shaping import Shape, eye, positions, reshape

FLOAT64 = np.dtype(np.float64)
INT64 = np.dtype(np.int64)

# ---- types


def inexact(op: str, *arrays: Node) -> np.dtype:
    """The dtype that LAPACK computes in."""
    for each in arrays:
        if each.dtype in HALVES:
            text = f"array type {each.dtype} is unsupported in linalg"
            fail(DTypeError, op, text, "Use float32.")
    found = np.result_type(*[FLOAT64 if x.dtype.kind in "biu" else x.dtype for x in arrays])
    return np.dtype(found)


def real_of(dtype: np.dtype) -> np.dtype:
    """The dtype of absolute values."""
    return REAL_OF.get(dtype, dtype)


def stacked(a: Node, op: str) -> tuple[Shape, int, int]:
    """Batch, rows and columns."""
    if a.ndim < 2:
        text = f"{a.ndim}-dimensional array given. Array must be at least two-dimensional"
        fail(MatrixError, op, text)
    return a.shape[:-2], a.shape[-2], a.shape[-1]


def square(a: Node, op: str) -> tuple[Shape, int]:
    """Batch and order."""
    batch, m, n = stacked(a, op)
    if m != n:
        fail(MatrixError, op, f"the last 2 dimensions of the array must be square, got {a.shape}")
    return batch, n


# ---- kernels


PANELED = 256  # the order of a matrix from which its parts are worth workers
MANY = 1 << 17  # a measure of batches from which their matrices are


def is_large(batch: int, n: int) -> bool:
    """Whether matrices of order `n` have kernels; NumPy's function has few or small ones."""
    return n >= PANELED if batch == 1 else 16 * batch * n * n >= MANY


def in_batch(op: HostOp) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give an op a kernel for large operands of its result's dtype."""

    def define(make: Callable[..., Any]) -> Callable[..., Any]:
        def factory(
            inputs: Sequence[Any], out: Any, layouts: Sequence[Any], call: Any, results: Any = None
        ) -> Any:
            shape = inputs[0].shape
            batch, n = math.prod(shape[:-2]), shape[-1]
            known = out.dtype.char in "fdFD" and all(x.dtype == out.dtype for x in inputs)
            if not known or not is_large(batch, n) or any(layouts):
                return None
            return make(inputs, batch, n, **dict(call[1]))

        op.factory = factory
        return factory

    return define


# ---- inverses and determinants


@host(np.linalg.inv)
def inv(a: Node) -> Result:
    """Inverses of square matrices; as `numpy.linalg.inv`."""
    square(a, "inv")
    return Result(a.shape, inexact("inv", a))


@in_batch(inv)
def _(inputs: Sequence[Any], batch: int, n: int) -> Any:
    return _lapack.equations("inv", inputs[0].dtype, batch, n, n)


@inv.vjp
def _(g: Node, y: Node, a: Node) -> Node:
    return -matmul(matmul(adjoint(y), g), adjoint(y))


@host(np.linalg.solve)
def solve(a: Node, b: Node) -> Result:
    """The `x` with ``a @ x == b``; as `numpy.linalg.solve`."""
    batch, n = square(a, "solve")
    dtype = inexact("solve", a, b)
    if b.ndim == 1:
        require(b.shape == (n,), ShapeError, "solve", f"a is {a.shape}, b is {b.shape}")
        return Result((*batch, n), dtype)
    inner = b.ndim > 1 and b.shape[-2] == n
    require(inner, ShapeError, "solve", f"a is {a.shape}, b is {b.shape}")
    return Result((*joint_batch("solve", a, b), n, b.shape[-1]), dtype)


def joint_batch(op: str, a: Node, b: Node) -> Shape:
    """The batch of two stacks of matrices."""
    try:
        return _ir.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        fail(ShapeError, op, f"batches do not broadcast: a is {a.shape}, b is {b.shape}")


@in_batch(solve)
def _(inputs: Sequence[Any], batch: int, n: int, **options: Any) -> Any:
    a, b = inputs
    sides = 1 if len(b.shape) == 1 else b.shape[-1]
    shared = len(b.shape) < 3 and batch != 1
    if not shared and len(b.shape) > 1 and a.shape[:-2] != b.shape[:-2]:
        return None
    return _lapack.equations("solve", a.dtype, batch, n, sides, shared)


@solve.vjp
def _(g: Node, y: Node, a: Node, b: Node) -> Any:
    vector = b.ndim == 1
    if vector:
        g, y = reshape(g, (*g.shape, 1)), reshape(y, (*y.shape, 1))
    found = solve(adjoint(a), g)
    slope = -matmul(found, adjoint(y)) if a.tracked else None
    return slope, reshape(found, found.shape[:-1]) if vector else found


@host(np.linalg.det)
def det(a: Node) -> Result:
    """Determinants; as `numpy.linalg.det`."""
    return Result(square(a, "det")[0], inexact("det", a))


@in_batch(det)
def _(inputs: Sequence[Any], batch: int, n: int) -> Any:
    return _lapack.equations("det", inputs[0].dtype, batch, n, 0)


@det.vjp
def _(g: Node, y: Node, a: Node) -> Node:
    factor = g * registry["conjugate"](y)
    return reshape(factor, (*y.shape, 1, 1)) * inv(adjoint(a))


@host(np.linalg.slogdet, outputs=lambda arguments: 2, batched=True)
def slogdet(a: Node) -> list[Result]:
    """Sign and logarithm of determinants; as `numpy.linalg.slogdet`."""
    batch, _ = square(a, "slogdet")
    dtype = inexact("slogdet", a)
    return [Result(batch, dtype), Result(batch, real_of(dtype))]


@in_batch(slogdet)
def _(inputs: Sequence[Any], batch: int, n: int) -> Any:
    return _lapack.equations("slogdet", inputs[0].dtype, batch, n, 0)


@slogdet.vjp
def _(g: Node, y: Node, a: Node) -> Node:
    # The sign of a real matrix is flat; that of a complex one turns with the imaginary part of the
    # logarithm.
    sign, log = parts(g, y)
    slope = log
    if a.dtype.kind == "c":
        value, _ = parts(y, y)
        turned = registry["conjugate"](sign) * value
        slope = log - (turned - registry["conjugate"](turned)) * 0.5
    return reshape(slope, (*log.shape, 1, 1)) * inv(adjoint(a))


# ---- decompositions


def triangle(x: Node, upper: bool) -> Node:
    """A triangle of matrices, zeros elsewhere."""
    return registry["triu" if upper else "tril"](x)


def on_diagonal(x: Node) -> Node:
    """Diagonal matrices of vectors."""
    n = x.shape[-1]
    return reshape(x, (*x.shape, 1)) * eye(n, n, 0, x.dtype)


def diagonals(x: Node) -> Node:
    """The diagonals of matrices, as diagonal matrices."""
    return x * eye(x.shape[-2], x.shape[-1], 0, x.dtype)


def hermitian(x: Node) -> Node:
    """The mean of matrices and their adjoints."""
    return (x + adjoint(x)) * 0.5


def apart(values: Node) -> Node:
    """The differences of values, j less i; 1 on the diagonal."""
    n = values.shape[-1]
    row = reshape(values, (*values.shape[:-1], 1, n))
    column = reshape(values, (*values.shape[:-1], n, 1))
    return row - column + eye(n, n, 0, values.dtype)


@host(np.linalg.cholesky)
def cholesky(a: Node, *, upper: bool = False) -> Result:
    """Cholesky factors of positive definite matrices; as `numpy.linalg.cholesky`."""
    square(a, "cholesky")
    return Result(a.shape, inexact("cholesky", a))


@in_batch(cholesky)
def _(inputs: Sequence[Any], batch: int, n: int, upper: bool = False) -> Any:
    return _lapack.cholesky(inputs[0].dtype, batch, n, bool(upper))


@cholesky.vjp
def _(g: Node, y: Node, a: Node) -> Node:
    if arguments(y)["upper"]:
        g, y = adjoint(g), adjoint(y)
    inner = triangle(matmul(adjoint(y), g), False)
    inner = inner - diagonals(inner) * 0.5
    outer = inv(adjoint(y))
    return hermitian(matmul(matmul(outer, inner), adjoint(outer)))


@host(np.linalg.eigvalsh, batched=True)
def eigvalsh(a: Node, UPLO: str = "L") -> Result:
    """Eigenvalues of Hermitian matrices, rising; as `numpy.linalg.eigvalsh`."""
    triangle_named(UPLO)
    batch, n = square(a, "eigvalsh")
    return Result((*batch, n), real_of(inexact("eigvalsh", a)))


def triangle_named(UPLO: str) -> None:
    """Raise unless it is one of the two."""
    require(UPLO.upper() in ("L", "U"), OptionError, "eigh", "UPLO argument must be 'L' or 'U'")


# Orders of one matrix: below, NumPy's function is as fast; above, LAPACK's extents of 32 bits end.
DECOMPOSED = range(128, 20_000)


def decomposed(op: HostOp, many: Callable[..., Any], one: Callable[..., Any] | None = None) -> None:
    """Give an op kernels: of large or many matrices, and of one square matrix of doubles.

    They are ``many(dtype, batch, m, n, starts, **options)``, with the results' places in bytes, and
    ``one(order, **options)``.
    """

    def factory(
        inputs: Sequence[Any], out: Any, layouts: Sequence[Any], call: Any, results: Any = None
    ) -> Any:
        (*batch, m, n), dtype = inputs[0].shape, inputs[0].dtype
        count = math.prod(batch)
        if dtype.char not in "fdFD" or any(layouts) or len(inputs) > 1:
            return None
        if one and count == 1 and m == n and n in DECOMPOSED and dtype.char == "d":
            return one(n, **dict(call[1]))
        if not is_large(count, min(m, n)):
            return None
        starts = [0] if results is None else packing(tuple(results))[1]
        return many(dtype, count, m, n, starts, **dict(call[1]))

    op.factory = factory


def eigen(vectors: bool) -> list[Callable[..., Any]]:
    """The kernels of eigenvalues: of many matrices, of one."""
    return [
        lambda dtype, batch, m, n, starts, UPLO="L": _spectra.eigen(
            dtype, batch, n, vectors, UPLO.upper(), starts
        ),
        lambda n, UPLO="L": _lapack.spectrum("eigh", n, vectors, UPLO.upper() == "U"),
    ]


decomposed(eigvalsh, *eigen(False))


@eigvalsh.vjp
def _(g: Node, y: Node, a: Node) -> Node:
    _, vectors = eigh(a, arguments(y)["UPLO"])
    return matmul(scaled(vectors, g), adjoint(vectors))


def scaled(x: Node, by: Node) -> Node:
    """Matrices with their columns multiplied."""
    return _ir.cast(x * reshape(by, (*by.shape[:-1], 1, by.shape[-1])), x.dtype)


@host(np.linalg.eigh, outputs=lambda arguments: 2, batched=True)
def eigh(a: Node, UPLO: str = "L") -> list[Result]:
    """Eigenvalues and eigenvectors of Hermitian matrices; as `numpy.linalg.eigh`."""
    triangle_named(UPLO)
    batch, n = square(a, "eigh")
    dtype = inexact("eigh", a)
    return [Result((*batch, n), real_of(dtype)), Result((*batch, n, n), dtype)]


decomposed(eigh, *eigen(True))


@eigh.vjp
def _(g: Node, y: Node, a: Node) -> Node:
    (slope, turn), (values, vectors) = parts(g, y), parts(y, y)
    inner = matmul(adjoint(vectors), turn) / apart(values)
    inner = inner - diagonals(inner) + _ir.cast(on_diagonal(slope), turn.dtype)
    return hermitian(matmul(matmul(vectors, inner), adjoint(vectors)))


@host(
    np.linalg.svd,
    outputs=lambda arguments: 3 if arguments.get("compute_uv", True) else 1,
    batched=True,
)
def svd(
    a: Node, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Singular value decomposition; as `numpy.linalg.svd`."""
    batch, m, n = stacked(a, "svd")
    if hermitian:
        square(a, "svd")
    dtype, k = inexact("svd", a), min(m, n)
    values = Result((*batch, k), real_of(dtype))
    if not compute_uv:
        return values
    rows, columns = (m, n) if full_matrices else (k, k)
    return [Result((*batch, m, rows), dtype), values, Result((*batch, columns, n), dtype)]


def singular(
    dtype: Any, batch: int, m: int, n: int, starts: Any, full_matrices: bool = True,
    compute_uv: bool = True, hermitian: bool = False,
) -> Any:  # fmt: skip
    """The kernel of the singular values of many matrices."""
    job = "N" if not compute_uv else "A" if full_matrices else "S"
    return None if hermitian else _spectra.singular(dtype, batch, m, n, job, starts)


def singular_of_one(
    n: int, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """The kernel of those of one."""
    return None if hermitian else _lapack.spectrum("svd", n, bool(compute_uv))


decomposed(svd, singular, singular_of_one)


@svd.vjp
def _(g: Node, y: Node, a: Node) -> Node:
    if "results" not in attributes(y):
        u, _, vh = svd(a, False, hermitian=arguments(y)["hermitian"])
        return matmul(scaled(u, g), vh)
    (to_u, to_s, to_v), (u, s, vh) = parts(g, y), parts(y, y)
    m, n, k = a.shape[-2], a.shape[-1], s.shape[-1]
    if u.shape[-1] != k or vh.shape[-2] != k:
        text = "svd: full matrices have no gradient\n  Call it with full_matrices=False."
        raise GradientError(text)
    turned_u, turned_v = matmul(adjoint(u), to_u), matmul(to_v, adjoint(vh))
    skew_u, skew_v = turned_u - adjoint(turned_u), adjoint(turned_v) - turned_v
    rows = reshape(s, (*s.shape, 1))
    inner = (scaled(skew_u, s) + _ir.cast(rows * skew_v, u.dtype)) / apart(s * s)
    inner = inner - diagonals(inner) + _ir.cast(on_diagonal(to_s), u.dtype)
    if a.dtype.kind == "c":
        inner = inner + diagonals(skew_u) / (rows * 2)
    found = matmul(matmul(u, inner), vh)
    if m > k:
        beside = scaled(to_u - matmul(u, turned_u), registry["reciprocal"](s))
        found = found + matmul(beside, vh)
    if n > k:
        beside = (to_v - matmul(turned_v, vh)) / rows
        found = found + matmul(u, beside)
    return found


@host(
    np.linalg.qr,
    outputs=lambda arguments: 1 if arguments.get("mode") == "r" else 2,
    batched=True,
)
def qr(a: Node, mode: str = "reduced") -> Any:
    """Orthonormal columns and an upper triangle; as `numpy.linalg.qr`."""
    batch, m, n = stacked(a, "qr")
    dtype, k = inexact("qr", a), min(m, n)
    if mode == "r":
        return Result((*batch, k, n), dtype)
    if mode == "raw":
        return [Result((*batch, n, m), dtype), Result((*batch, k), dtype)]
    if mode not in ("reduced", "complete"):
        return None if mode in ("f", "full", "e", "economic") else unknown_mode(mode)
    inner = k if mode == "reduced" else m
    return [Result((*batch, m, inner), dtype), Result((*batch, inner, n), dtype)]


def unknown_mode(mode: Any) -> None:
    """Raise for a mode of `qr` that there is not."""
    fail(OptionError, "qr", f"Unrecognized mode '{mode}'", "Choose reduced, complete, r or raw.")


def orthonormal(dtype: Any, batch: int, m: int, n: int, starts: Any, mode: str = "reduced") -> Any:
    """The kernel of orthonormal columns."""
    if mode not in ("reduced", "complete", "r"):
        return None
    inner = m if mode == "complete" else min(m, n)
    return _spectra.orthonormal(dtype, batch, m, n, 0 if mode == "r" else inner, inner, starts)


decomposed(qr, orthonormal)


@qr.vjp
def _(g: Node, y: Node, a: Node) -> Node:
    mode = arguments(y)["mode"]
    if mode == "r":
        q, r = qr(a)
        to_q, to_r = q * 0, g
    elif mode == "reduced":
        (to_q, to_r), (q, r) = parts(g, y), parts(y, y)
    else:
        raise GradientError(f"qr: mode {mode!r} has no gradient\n  Call it with mode='reduced'.")
    if r.shape[-1] > r.shape[-2]:
        raise GradientError(f"qr: a wide matrix has no gradient, got shape {a.shape}")
    x = triangle(matmul(to_r, adjoint(r)) - matmul(adjoint(q), to_q), True)
    inner = x + adjoint(x) - hermitian(diagonals(x))
    return adjoint(solve(r, adjoint(to_q + matmul(q, inner))))


# ---- what is made of singular values


@host(np.linalg.pinv, batched=True)
def pinv(a: Node, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Result:
    """Pseudo-inverses of matrices; as `numpy.linalg.pinv`."""
    batch, m, n = stacked(a, "pinv")
    return Result((*batch, n, m), inexact("pinv", a) if a.size else a.dtype)


def inverted(
    dtype: Any, batch: int, m: int, n: int, starts: Any, rcond: Any = None,
    hermitian: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """The kernel of pseudo-inverses."""
    if rcond is None:
        rcond = options.get("rtol", 1e-15)
        if rcond is None:
            rcond = max(m, n) * float(np.finfo(dtype).eps)
    if hermitian or not isinstance(rcond, int | float):
        return None
    return _spectra.pseudo_inverse(dtype, batch, m, n, float(rcond))


decomposed(pinv, inverted)


@pinv.vjp
def _(g: Node, y: Node, a: Node, *limits: Node) -> Any:
    turned = adjoint(y)
    found = -matmul(matmul(turned, g), turned)
    beside = matmul(adjoint(g), matmul(y, turned))
    found = found + beside - matmul(a, matmul(y, beside))
    beside = matmul(matmul(turned, y), adjoint(g))
    return found + beside - matmul(matmul(beside, y), a)


@host(np.linalg.cond, batched=True)
def cond(x: Node, p: Any = None) -> Result:
    """Condition numbers of matrices; as `numpy.linalg.cond`."""
    batch, _, _ = stacked(x, "cond")
    if 0 in x.shape[-2:]:
        fail(MatrixError, "cond", "cond is not defined on empty arrays")
    if p not in (None, 2, -2):
        square(x, "cond")
        known = p in (1, -1, "fro", "nuc", np.inf, -np.inf)
        require(known, OptionError, "cond", f"Invalid norm order {p!r} for matrices.")
    return Result(batch, real_of(inexact("cond", x)))


@cond.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    p = arguments(y)["p"]
    if p not in (None, 2, -2):
        raise GradientError(f"cond: order {p!r} has no gradient\n  Multiply two norms instead.")
    u, s, vh = svd(x, False)
    k = s.shape[-1]
    # The quotient of the first and the last value, or the other way round.
    above, below = (0, k - 1) if p != -2 else (k - 1, 0)
    places = positions((k,))
    first, last = (_ir.cast(registry["equal"](places, end), s.dtype) for end in (above, below))
    divisor = registry["sum"](s * last, axis=-1, keepdims=True)
    column = (*y.shape, 1)
    slope = reshape(g, column) * (first - last * reshape(y, column)) / divisor
    return matmul(scaled(u, slope), vh)
