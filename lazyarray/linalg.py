"""Linear algebra, as `numpy.linalg`: recorded, computed by LAPACK, with gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lazyarray import _record
from lazyarray._ir import Node
from lazyarray.errors import ShapeError, require
from lazyarray.ops import matrices, solvers

from . import functions
from .array import Array, asarray
from .composed import cross as crossed
from .hosted import deferred, observed, published
from .lift import LIFTED, as_argument, as_result, bind, stored

LinAlgError = np.linalg.LinAlgError
matmul, tensordot, vecdot = LIFTED["matmul"], LIFTED["tensordot"], LIFTED["vecdot"]
matrix_transpose = functions.matrix_transpose

TASKS = ("cholesky", "cond", "det", "eigvalsh", "inv", "pinv", "solve")
COMPOSED = (
    "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "outer", "svdvals",
    "tensorinv", "tensorsolve", "trace", "vector_norm",
)  # fmt: skip
WAITING = ("eigvals", "lstsq")
__all__ = sorted(
    [
        *TASKS, *COMPOSED, *WAITING, "LinAlgError", "cross", "diagonal", "eig", "eigh", "matmul",
        "matrix_transpose", "qr", "slogdet", "svd", "tensordot", "vecdot",
    ]
)  # fmt: skip


class EigResult(NamedTuple):
    """Eigenvalues, and eigenvectors in columns."""

    eigenvalues: Array
    eigenvectors: Array


class EighResult(NamedTuple):
    """Eigenvalues, rising, and eigenvectors in columns."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """Orthonormal columns and an upper triangle."""

    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    """Sign and logarithm of a determinant."""

    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    """Singular vectors and values."""

    U: Array
    S: Array
    Vh: Array


def composed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of Nodes as one of arrays."""
    signature = inspect.signature(function)
    kinds = {name: str(each.annotation) for name, each in signature.parameters.items()}

    def call(*args: Any, out: Any = None, **options: Any) -> Any:
        bound = bind(function.__name__, signature, args, options)
        for key, value in bound.arguments.items():
            bound.arguments[key] = as_argument(kinds[key], value)
        last = _record.newest()
        result = as_result(function(*bound.args, **bound.kwargs))
        _record.ask_since(last)
        return result if out is None else stored(out, result, function.__name__)

    def rule(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        for key, value in bound.arguments.items():
            if type(value) is not Node:
                bound.arguments[key] = as_argument(kinds[key], value)
        return function(*bound.args, **bound.kwargs)

    made = _record.Remembered(call, _record.Recalled(rule, True))
    return published(made, getattr(np.linalg, function.__name__), function.__doc__ or "")


def titled(function: Callable[..., Any], kind: Any) -> Callable[..., Any]:
    """The function, whose tuples get names."""

    def call(*args: Any, **options: Any) -> Any:
        found = function(*args, **options)
        return kind(*found) if isinstance(found, tuple) else found

    theirs, runs = function.numpy_function, function.runs  # type: ignore[attr-defined]
    return published(call, theirs, function.__doc__ or "", runs)


globals().update(
    {name: deferred(getattr(solvers, name), getattr(np.linalg, name)) for name in TASKS}
    | {name: composed(getattr(matrices, name)) for name in COMPOSED}
    | {name: observed(getattr(np.linalg, name)) for name in WAITING}
)
NAMED = {"eigh": EighResult, "slogdet": SlogdetResult, "svd": SVDResult}
globals().update(
    {
        name: titled(deferred(getattr(solvers, name), getattr(np.linalg, name)), kind)
        for name, kind in NAMED.items()
    }
)
eig = titled(observed(np.linalg.eig), EigResult)
decomposed = deferred(vars(solvers)["qr"], np.linalg.qr)


def qr(a: Any, mode: str = "reduced") -> Any:
    """Return orthonormal columns and an upper triangle; as `numpy.linalg.qr`."""
    found = decomposed(a, mode)
    return QRResult(*found) if mode in ("reduced", "complete") else found


setattr(qr, "runs", "own")  # noqa: B010  (functions have no such attribute to a checker)


def diagonal(x: Any, /, *, offset: int = 0) -> Array:
    """Return views of the diagonals of the matrices in the last two axes."""
    return functions.diagonal(x, offset, -2, -1)


power = globals()["matrix_power"]


def matrix_power(a: Any, n: Any) -> Array:
    """Return a power of matrices, the first one themselves; as `numpy.linalg.matrix_power`."""
    if n == 1 and isinstance(a, Array) and a.ndim > 1 and a.shape[-1] == a.shape[-2]:
        return a
    return power(a, n)


rank = globals()["matrix_rank"]


def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """Return ranks of matrices, or of a vector an int; as `numpy.linalg.matrix_rank`."""
    A = asarray(A)
    return rank(A, tol, hermitian, rtol=rtol) if A.ndim > 1 else int(LIFTED["any"](A))


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
    """Return the cross product of 3-element vectors; as `numpy.linalg.cross`."""
    x1, x2 = asarray(x1), asarray(x2)
    found = x1.shape[axis], x2.shape[axis]
    text = f"both arrays must be (arrays of) 3-dimensional vectors, but they are {found}"
    require(found == (3, 3), ShapeError, "cross", text)
    return crossed(x1, x2, axis=axis)


for _name in __all__:
    _made = globals()[_name]
    if getattr(_made, "__module__", "") == "lazyarray" and _made is not LIFTED.get(_name):
        _made.__module__ = __name__
