"""The calls that `numpy_functions.py` measures, for each function with a kernel of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from lazyarray._ir import registry

from lazyarray.coverage import rows
from lazyarray.ops.define import Elementwise

DTYPES = ("float64", "float32", "int64")
Call = Callable[..., Any]
Make = Callable[[np.random.Generator, int, np.dtype], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """A call, and what it is called with."""

    name: str
    call: Call  # call(xp, *arguments), where xp is numpy or lazyarray
    make: Make
    dtypes: tuple[str, ...] = DTYPES
    exact: bool | None = True  # compare results bit for bit (False: closely, None: not at all)
    sizes: tuple[int, ...] = ()  # its own, in elements


# ---- arguments


def numbers(rng: np.random.Generator, n: int, dtype: np.dtype) -> np.ndarray:
    """Numbers that most functions are defined for."""
    if dtype.kind == "b":
        return rng.random(n) < 0.5
    if dtype.kind in "iu":
        return rng.integers(1, min(1 << 40, np.iinfo(dtype).max), n, dtype)
    return rng.uniform(0.05, 0.95, n).astype(dtype)


def one(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """One row."""
    return (numbers(rng, n, dtype),)


def two(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """Two rows."""
    return numbers(rng, n, dtype), numbers(rng, n, dtype)


def matrix(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A matrix of long rows."""
    return (numbers(rng, n, dtype).reshape(n // 1000, 1000),)


def rising(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A sorted row."""
    return (np.sort(numbers(rng, n, dtype)),)


def few(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row of a thousand different numbers."""
    return (rng.integers(0, 1000, n).astype(dtype),)


def holes(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row with NaN in it."""
    x = numbers(rng, n, dtype)
    x[rng.random(n) < 0.01] = np.nan
    return (x,)


def indexed(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row and indices into it."""
    return numbers(rng, n, dtype), rng.integers(0, n, n)


def indexed_rows(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A matrix and indices of its rows."""
    return numbers(rng, n, dtype).reshape(-1, 50), rng.integers(0, n // 50, n // 50)


def indexed_columns(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A matrix and indices of its columns."""
    return numbers(rng, n, dtype).reshape(-1, 50), rng.integers(0, 50, 50)


def placed(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row, indices into it and what to write there."""
    return *indexed(rng, n, dtype), numbers(rng, n, dtype)


def masked(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row, a mask, and a value for each of its true elements."""
    mask = rng.random(n) < 0.5
    return numbers(rng, n, dtype), mask, numbers(rng, int(mask.sum()), dtype)


def searched(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A sorted row, and a tenth as many numbers to look for."""
    return *rising(rng, n, dtype), numbers(rng, n // 10, dtype)


def counted(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """Small integers, and weights."""
    return rng.integers(0, 1000, n), rng.random(n).astype(dtype)


def signed(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row with numbers of both signs."""
    x = numbers(rng, n, dtype)
    return (x - x.dtype.type(0.5) if x.dtype.kind == "f" else x,)


def complexes(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row of complex numbers."""
    return (rng.random(n) + 1j * rng.random(n),)


def points(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """Two lists of points in space."""
    return tuple(numbers(rng, n // 3 * 3, dtype).reshape(-1, 3) for _ in range(2))


def cells(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A matrix, and for each row a column of each element."""
    return *matrix(rng, n, dtype), rng.integers(0, 1000, (n // 1000, 1000))


def order(n: int) -> int:
    """The order of a square matrix of at most n elements."""
    return int(n**0.5)


def square(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A square matrix that is far from singular."""
    found = rng.standard_normal((order(n), order(n)))
    return ((found + np.eye(len(found)) * 2 * len(found) ** 0.5).astype(dtype),)


def positive(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A positive definite matrix."""
    (a,) = square(rng, n, np.dtype("f8"))
    return ((a @ a.T).astype(dtype),)


def system(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A square matrix and three right-hand sides."""
    (a,) = square(rng, n, dtype)
    return a, rng.standard_normal((len(a), 3)).astype(dtype)


def tall(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A matrix of 100 columns, and a right-hand side."""
    return rng.random((n // 100, 100)).astype(dtype), rng.random(n // 100).astype(dtype)


def many(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """Positive definite matrices of order 3, and a right-hand side for each."""
    a = rng.standard_normal((n // 9, 3, 3))
    return (a @ a.transpose(0, 2, 1) + np.eye(3)).astype(dtype), rng.random((n // 9, 3, 1))


def vectors(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A square matrix and a stack of vectors."""
    return *square(rng, 90_000, dtype), rng.random((n // 300, 300)).astype(dtype)


def picture(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A matrix with as many rows as columns, about."""
    return (numbers(rng, order(n) ** 2, dtype).reshape(order(n), -1),)


# ---- calls


def write(a: Any, index: Any, value: Any) -> Any:
    """`a` after a write."""
    a = a.copy()
    a[index] = value
    return a


def orders() -> Iterator[Case]:
    """Functions that put elements in order, count them, and pick them."""
    floats, wide = ("float64", "float32"), (*DTYPES, "int32", "int16", "uint8")
    yield Case("sort", lambda xp, x: xp.sort(x), one, wide)
    yield Case("sort, stable", lambda xp, x: xp.sort(x, kind="stable"), one, wide)
    yield Case("sort, sorted", lambda xp, x: xp.sort(x), rising)
    yield Case("sort, few values", lambda xp, x: xp.sort(x), few)
    yield Case("sort, NaN", lambda xp, x: xp.sort(x), holes, floats)
    yield Case("sort, rows", lambda xp, x: xp.sort(x), matrix)
    yield Case("sort, columns", lambda xp, x: xp.sort(x, axis=0), matrix)
    yield Case("argsort", lambda xp, x: xp.argsort(x), one, wide, exact=False)
    yield Case("argsort, stable", lambda xp, x: xp.argsort(x, kind="stable"), one)
    yield Case("argsort, sorted", lambda xp, x: xp.argsort(x, kind="stable"), rising)
    yield Case("argsort, rows", lambda xp, x: xp.argsort(x, kind="stable"), matrix)
    yield Case("unique", lambda xp, x: xp.unique(x), one)
    yield Case("unique, few values", lambda xp, x: xp.unique(x), few)
    yield Case("unique, counts", lambda xp, x: xp.unique(x, return_counts=True), few)
    yield Case("unique, inverse", lambda xp, x: xp.unique(x, return_inverse=True), few)
    for name in ("cumsum", "cumprod"):
        yield Case(name, lambda xp, x, name=name: getattr(xp, name)(x), one)
        yield Case(f"{name}, rows", lambda xp, x, n=name: getattr(xp, n)(x, axis=1), matrix)
        yield Case(f"{name}, columns", lambda xp, x, n=name: getattr(xp, n)(x, axis=0), matrix)
    yield Case("a[index]", lambda xp, x, i: x[i], indexed)
    yield Case("a[index], rows", lambda xp, x, i: x[i], indexed_rows)
    yield Case("a[index], columns", lambda xp, x, i: x[:, i], indexed_columns)
    yield Case("a[index] = values", lambda xp, x, i, v: write(x, i, v), placed)
    yield Case("a[mask]", lambda xp, x, m, v: x[m], masked)
    yield Case("a[mask] = values", lambda xp, x, m, v: write(x, m, v), masked)
    yield Case("a[mask] = 0", lambda xp, x, m, v: write(x, m, 0), masked)
    yield Case("nonzero", lambda xp, x, m, v: xp.nonzero(m), masked, ("float64",))
    yield Case("count_nonzero", lambda xp, x, m, v: xp.count_nonzero(m), masked, ("float64",))
    yield Case("take", lambda xp, x, i: xp.take(x, i), indexed)
    yield Case("take, axis 0", lambda xp, x, i: xp.take(x, i, axis=0), indexed_rows)
    yield Case("take, axis 1", lambda xp, x, i: xp.take(x, i, axis=1), indexed_columns)
    yield Case("searchsorted", lambda xp, x, v: xp.searchsorted(x, v), searched)
    yield Case("bincount", lambda xp, i, w: xp.bincount(i), counted, ("float64",))
    yield Case("bincount, weights", lambda xp, i, w: xp.bincount(i, w), counted, floats, False)
    yield Case("histogram", lambda xp, x: xp.histogram(x, 100)[0], one, wide)
    yield Case("histogram, range", lambda xp, x: xp.histogram(x, 50, (0.2, 0.8))[0], one, floats)
    yield Case("histogram, edges", lambda xp, x: xp.histogram(x, [0.1, 0.3, 0.9])[0], one, floats)


def reductions() -> Iterator[Case]:
    """Functions that leave out axes."""
    names = [
        "sum",
        "prod",
        "min",
        "max",
        "argmin",
        "argmax",
        "any",
        "all",
        "mean",
        "var",
        "std",
        "ptp",
    ]
    for name in names:
        for text, axis, make in (("", None, one), (", rows", 1, matrix), (", columns", 0, matrix)):
            yield Case(
                name + text,
                lambda xp, x, name=name, axis=axis: getattr(xp, name)(x, axis=axis),
                make,
                exact=False,
            )
    for name in ["nansum", "nanprod", "nanmin", "nanmax", "nanmean", "nanstd"]:
        yield Case(
            name,
            lambda xp, x, name=name: getattr(xp, name)(x),
            holes,
            ("float64", "float32"),
            False,
        )
    yield Case("average, weights", lambda xp, x, y: xp.average(x, weights=y), two, exact=False)
    yield Case("array_equal", lambda xp, x: xp.array_equal(x, x.copy()), one)


def shapes() -> Iterator[Case]:
    """Functions that move elements, or make them of nothing."""
    yield Case("copy", lambda xp, x: x.copy(), one)
    yield Case("a[::2]", lambda xp, x: x[::2].copy(), one)
    yield Case("a[::-1]", lambda xp, x: x[::-1].copy(), one)
    yield Case("transposed copy", lambda xp, x: x.T.copy(), matrix)
    yield Case("astype", lambda xp, x: x.astype("float32"), one, ("float64", "int64"))
    yield Case("concatenate", lambda xp, x, y: xp.concatenate([x, y]), two)
    yield Case("stack", lambda xp, x, y: xp.stack([x, y], axis=1), two)
    yield Case("repeat", lambda xp, x: xp.repeat(x, 2), one)
    yield Case("tile", lambda xp, x: xp.tile(x, 2), one)
    yield Case("roll", lambda xp, x: xp.roll(x, 1000), one)
    yield Case("pad", lambda xp, x: xp.pad(x, 3), matrix)
    yield Case("diff", lambda xp, x: xp.diff(x), one)
    yield Case("where", lambda xp, x, m, v: xp.where(m, x, 0), masked)
    yield Case("clip", lambda xp, x: xp.clip(x, x.dtype.type(0.2), x.dtype.type(0.8)), one)
    yield Case("tril", lambda xp, x: xp.tril(x), matrix)
    yield Case("outer", lambda xp, x: xp.outer(x[:1000], x[: x.size // 1000]), one)
    yield Case("dot", lambda xp, x, y: xp.dot(x, y), two, ("float64", "float32"), False)
    yield Case("matrix @ vector", lambda xp, x: x @ x[0], matrix, ("float64", "float32"), False)
    yield Case("einsum ij,ij->i", lambda xp, x: xp.einsum("ij,ij->i", x, x), matrix, exact=False)
    yield Case("zeros", lambda xp, x: xp.zeros(x.size, x.dtype) + 1, one)
    yield Case("arange", lambda xp, x: xp.arange(x.size, dtype=x.dtype), one)
    yield Case("linspace", lambda xp, x: xp.linspace(0, 1, x.size), one, ("float64",), False)


DOMAINS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"arccosh": lambda x: x + 1}
SHIFTS = ("left_shift", "right_shift")
# The result of an integer power is rarely a number anybody wants.
SKIPPED = {("power", "int64"), ("float_power", "int64"), ("ldexp", "int64")}


def ufuncs() -> Iterator[Case]:
    """NumPy's ufuncs that are ops."""
    for name, op in sorted(registry.items()):
        ufunc = getattr(np, name, None)
        if not isinstance(op, Elementwise) or not isinstance(ufunc, np.ufunc):
            continue
        change = DOMAINS.get(name, lambda x: x)

        def make(
            rng: np.random.Generator, n: int, dtype: np.dtype, nin: int = ufunc.nin,
            change: Callable[[np.ndarray], np.ndarray] = change, shift: bool = name in SHIFTS,
        ) -> tuple[Any, ...]:  # fmt: skip
            found = [change(numbers(rng, n, dtype)) for _ in range(nin)]
            if shift:
                found[1] %= 8
            return tuple(found)

        dtypes = tuple(d for d in DTYPES if (name, d) not in SKIPPED and accepts(ufunc, d))
        yield Case(name, lambda xp, *x, name=name: getattr(xp, name)(*x), make, dtypes, False)


def accepts(ufunc: np.ufunc, dtype: str) -> bool:
    """Whether a ufunc has a loop of this dtype itself."""
    char = np.dtype(dtype).char
    return any(kind.startswith(char * ufunc.nin + "->") for kind in ufunc.types)


ONE = ("float64",)
ORDERS = (160_000, 1_000_000)  # elements of a square matrix
BATCH = (90_000,)  # elements of 10,000 matrices of order 3


def on_rows() -> Iterator[Case]:
    """Functions of a row that are made of others, by name."""
    for name in (
        "angle", "around", "ediff1d", "fix", "flatnonzero", "argwhere", "gradient", "isneginf",
        "isposinf", "iscomplex", "isreal", "nan_to_num", "nancumprod", "nancumsum", "nanvar",
        "sinc",
        "trapezoid", "unwrap", "diagflat", "ones_like", "zeros_like", "flip", "flipud", "round",
        "cumulative_sum", "cumulative_prod", "unique_values", "unique_counts", "unique_all",
        "unique_inverse", "real", "imag",
    ):  # fmt: skip
        few_rows = name.startswith("unique") or name == "diagflat"
        make = few if few_rows else signed

        def call(xp: Any, x: Any, name: str = name) -> Any:
            found = getattr(xp, name)(x[:1000] if name == "diagflat" else x)
            return found.copy() if name.startswith(("flip", "real", "imag")) else found

        yield Case(name, call, make, ONE, False)
    for name in (
        "isclose",
        "append",
        "column_stack",
        "dstack",
        "hstack",
        "vstack",
        "inner",
        "vdot",
    ):
        several = name.endswith("stack")

        def join(xp: Any, x: Any, y: Any, name: str = name, several: bool = several) -> Any:
            return getattr(xp, name)([x, y]) if several else getattr(xp, name)(x, y)

        yield Case(name, join, two, ONE, False)
    yield Case("allclose", lambda xp, x, y: xp.allclose(x, y), two, ONE)
    yield Case("block", lambda xp, x, y: xp.block([[x], [y]]), two, ONE)
    yield Case("full", lambda xp, x: xp.full(x.size, 3.0), one, ONE)
    yield Case("full_like", lambda xp, x: xp.full_like(x, 3.0), one, ONE)
    yield Case("ones", lambda xp, x: xp.ones(x.size), one, ONE)
    yield Case("fromfunction", lambda xp, x: xp.fromfunction(lambda i: i, (x.size,)), one, ONE)
    yield Case("polyval", lambda xp, x: xp.polyval([1.0, 2.0, 3.0, 4.0], x), one, ONE, False)
    yield Case("resize", lambda xp, x: xp.resize(x, x.size + 1000), one, ONE)
    yield Case("delete", lambda xp, x: xp.delete(x, slice(10, 1000)), one, ONE)
    yield Case("vander", lambda xp, x: xp.vander(x, 4), one, ONE, False)
    yield Case("meshgrid", lambda xp, x: xp.meshgrid(x[:1000], x[: x.size // 1000]), one, ONE)
    yield Case("split", lambda xp, x: [part + 1 for part in xp.split(x, 10)], one, ONE)
    yield Case("piecewise", lambda xp, x: xp.piecewise(x, [x < 0, x >= 0], [-1, 1]), signed, ONE)
    yield Case("select", lambda xp, x: xp.select([x < 0, x > 0.2], [x, -x]), signed, ONE)
    yield Case("sort_complex", lambda xp, x: xp.sort_complex(x), complexes, ONE)
    yield Case("put", lambda xp, x, i, v: changed(xp.put, x, i, v), placed, ONE)
    yield Case("putmask", lambda xp, x, m, v: changed(xp.putmask, x, m, 0.5), masked, ONE)
    yield Case("copyto", lambda xp, x, y: changed(xp.copyto, x, y), two, ONE)
    yield Case("modf", lambda xp, x: xp.modf(x), signed, ONE, False)
    yield Case("frexp", lambda xp, x: xp.frexp(x), signed, ONE, False)
    yield Case("divmod", lambda xp, x, y: xp.divmod(x, y), two, ONE, False)


def changed(function: Callable[..., Any], a: Any, *arguments: Any) -> Any:
    """A copy of `a` that a function has written to."""
    a = a.copy()
    function(a, *arguments)
    return a


def on_matrices() -> Iterator[Case]:
    """Functions of a matrix that are made of others."""
    yield Case("corrcoef", lambda xp, x: xp.corrcoef(x[:100]), matrix, ONE, False)
    yield Case("cov", lambda xp, x: xp.cov(x[:100]), matrix, ONE, False)
    yield Case("cross", lambda xp, x, y: xp.cross(x, y), points, ONE, False)
    yield Case("kron", lambda xp, x: xp.kron(x[:1, :100], x[: len(x) // 10, :100]), matrix, ONE)
    yield Case("diag", lambda xp, x: xp.diag(x[0]), matrix, ONE)
    yield Case("diagonal", lambda xp, x: xp.diagonal(x).copy(), matrix, ONE)
    yield Case("eye", lambda xp, x: xp.eye(*x.shape), matrix, ONE)
    yield Case("identity", lambda xp, x: xp.identity(len(x)), picture, ONE)
    yield Case("fill_diagonal", lambda xp, x: changed(xp.fill_diagonal, x, 0), matrix, ONE)
    yield Case("fliplr", lambda xp, x: xp.fliplr(x).copy(), matrix, ONE)
    yield Case("rot90", lambda xp, x: xp.rot90(x).copy(), matrix, ONE)
    yield Case("moveaxis", lambda xp, x: xp.moveaxis(x, 0, 1).copy(), matrix, ONE)
    yield Case("ravel", lambda xp, x: x.T.ravel(), matrix, ONE)
    yield Case("triu", lambda xp, x: xp.triu(x), matrix, ONE)
    yield Case("trace", lambda xp, x: xp.trace(x), matrix, ONE, False)
    yield Case("unstack", lambda xp, x: [part + 1 for part in xp.unstack(x[:10])], matrix, ONE)
    yield Case("ix_", lambda xp, x: x[xp.ix_(np.arange(900), np.arange(0, 1000, 2))], matrix, ONE)
    yield Case("mask_indices", lambda xp, x: xp.mask_indices(len(x), xp.triu), picture, ONE)
    yield Case("take_along_axis", lambda xp, x, i: xp.take_along_axis(x, i, 1), cells, ONE)
    yield Case("put_along_axis", lambda xp, x, i: along(xp, x, i), cells, ONE)
    yield Case("matmul", lambda xp, x: xp.matmul(x, x), square, ONE, False, ORDERS)
    yield Case("tensordot", lambda xp, x: xp.tensordot(x, x, 1), square, ONE, False, ORDERS)
    yield Case("einsum ij,jk", lambda xp, x: xp.einsum("ij,jk", x, x), square, ONE, False, ORDERS)
    yield Case("matvec", lambda xp, a, v: xp.matvec(a, v), vectors, ONE, False)
    yield Case("vecmat", lambda xp, a, v: xp.vecmat(v, a), vectors, ONE, False)
    yield Case("vecdot", lambda xp, x: xp.vecdot(x, x), matrix, ONE, False)


def along(xp: Any, x: Any, index: Any) -> Any:
    """`x` after a write along its rows."""
    x = x.copy()
    xp.put_along_axis(x, index, 0.5, 1)
    return x


def linear_algebra() -> Iterator[Case]:
    """`numpy.linalg`: large matrices, and many small ones."""

    def linalg(name: str, make: Make, sizes: tuple[int, ...], *options: Any, **more: Any) -> Case:
        def call(xp: Any, *arrays: Any) -> Any:
            return getattr(xp.linalg, name)(*arrays[:takes], *options)

        takes = more.get("takes", 1)
        title = f"linalg.{name}{more.get('title', '')}"
        # Vectors have any sign; values tell enough.
        return Case(title, call, make, ONE, None if "vectors" in more else False, sizes)

    for name in ("inv", "det", "slogdet"):
        yield linalg(name, square, ORDERS)
        yield linalg(name, many, BATCH, title=", many")
    yield linalg("solve", system, ORDERS, takes=2)
    yield linalg("solve", many, BATCH, takes=2, title=", many")
    yield linalg("cholesky", positive, ORDERS)
    yield linalg("cholesky", many, BATCH, title=", many")
    for name in ("eigh", "svd", "qr"):
        yield linalg(name, positive, ORDERS[:1], vectors=True)
        yield linalg(name, many, BATCH, title=", many", vectors=True)
    for name in ("eigvalsh", "svdvals", "pinv", "cond", "matrix_rank"):
        yield linalg(name, positive, ORDERS[:1])
        yield linalg(name, many, BATCH, title=", many")
    yield linalg("lstsq", tall, (1_000_000,), takes=2, vectors=True)
    yield linalg("norm", matrix, ())
    yield linalg("vector_norm", one, ())
    yield linalg("matrix_norm", matrix, ())
    yield linalg("norm", matrix, (), None, 1, title=", rows")
    yield linalg("matrix_power", square, ORDERS, 3)
    yield linalg("trace", picture, ())
    yield linalg("cross", points, (), takes=2)
    yield linalg("vecdot", points, (), takes=2)
    yield linalg("outer", lambda r, n, d: (r.random(1000), r.random(n // 1000)), (), takes=2)
    yield Case("linalg.multi_dot", lambda xp, x: xp.linalg.multi_dot([x, x, x[:, :9]]),
               square, ONE, False, ORDERS)  # fmt: skip
    yield Case("linalg.tensorinv", lambda xp, x: xp.linalg.tensorinv(x.reshape(20, 20, 400)),
               square, ONE, False, ORDERS[:1])  # fmt: skip
    yield Case("linalg.tensorsolve", lambda xp, x, b: xp.linalg.tensorsolve(x, b[:, 0]),
               system, ONE, False, ORDERS)  # fmt: skip


def transforms() -> Iterator[Case]:
    """`numpy.fft`: one long row, many rows, two and three axes."""

    def fft(title: str, make: Make, dtypes: tuple[str, ...] = ONE) -> Case:
        name = title.split(",")[0]
        axis = {"axis": 0} if "columns" in title else {}
        call = lambda xp, x: getattr(xp.fft, name)(x, **axis)  # noqa: E731
        return Case(f"fft.{title}", call, make, dtypes, False)

    def cube(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
        return (rng.random((n // 10_000, 100, 100)).astype(dtype),)

    def spectra(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
        return (complexes(rng, n, dtype)[0].reshape(n // 1000, 1000),)

    real = ("float64", "float32")
    yield fft("fft", one, real)
    yield fft("fft, complex", complexes)
    yield fft("ifft, complex", complexes)
    yield fft("rfft", one, real)
    yield fft("irfft, complex", complexes)
    yield fft("fft, rows", matrix, real)
    yield fft("fft, complex rows", spectra)
    yield fft("fft, complex columns", spectra)
    yield fft("rfft, rows", matrix, real)
    yield fft("irfft, complex rows", spectra)
    yield fft("hfft, complex", complexes)
    yield fft("ihfft", one)
    for name in ("fft2", "ifft2", "rfft2", "irfft2"):
        yield fft(name, matrix)
    for name in ("fftn", "ifftn", "rfftn", "irfftn"):
        yield fft(name, cube)
    for name in ("fftshift", "ifftshift"):
        yield fft(name, matrix)
    yield Case("fft.fftfreq", lambda xp, x: xp.fft.fftfreq(x.size), one, ONE, False)
    yield Case("fft.rfftfreq", lambda xp, x: xp.fft.rfftfreq(x.size), one, ONE, False)


def table() -> list[Case]:
    """All cases."""
    return [
        *orders(), *reductions(), *shapes(), *on_rows(), *on_matrices(), *linear_algebra(),
        *transforms(), *ufuncs(),
    ]  # fmt: skip


# ---- what is left out

# Native functions that look at types, or give a view, or the same under another name.
NOTHING_TO_MEASURE = {
    "array", "array_split", "asanyarray", "asarray", "asarray_chkfinite", "ascontiguousarray",
    "asfortranarray", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast", "broadcast_arrays",
    "broadcast_shapes", "broadcast_to", "can_cast", "common_type", "dsplit", "dtype", "einsum_path",
    "empty", "empty_like", "errstate", "expand_dims", "finfo", "flatiter", "from_dlpack",
    "get_include", "get_printoptions", "getbufsize", "geterr", "geterrcall", "hsplit", "iinfo",
    "isdtype", "isfortran", "iscomplexobj", "isrealobj", "isscalar", "issubdtype", "iterable",
    "matrix_transpose", "may_share_memory", "mintypecode", "ndenumerate", "ndim", "ndindex",
    "nditer", "nested_iters", "permute_dims", "printoptions", "promote_types", "require", "reshape",
    "result_type", "rollaxis", "set_printoptions", "setbufsize", "seterr", "seterrcall", "shape",
    "shares_memory", "show_config", "show_runtime", "size", "squeeze", "swapaxes", "transpose",
    "typename", "ufunc", "vsplit",
}  # fmt: skip
SAME = {
    "abs": "absolute", "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh",
    "atan": "arctan", "atan2": "arctan2", "atanh": "arctanh", "amax": "max", "amin": "min",
    "bitwise_invert": "invert", "bitwise_left_shift": "left_shift", "bitwise_not": "invert",
    "bitwise_right_shift": "right_shift", "concat": "concatenate", "conj": "conjugate",
    "degrees": "rad2deg", "radians": "deg2rad", "mod": "remainder", "power": "pow",
    "true_divide": "divide", "row_stack": "vstack",
    "linalg.matmul": "matmul", "linalg.tensordot": "tensordot", "linalg.diagonal": "diagonal",
    "linalg.matrix_transpose": "transpose",
}  # fmt: skip


def unmeasured(cases: list[Case]) -> list[str]:
    """The functions with a kernel of their own that no case calls."""
    known = {case.name.split(",")[0].split(" ")[0] for case in cases}
    found = []
    for row in rows():
        space = row.space.removeprefix("numpy").strip(".")
        theirs = np if not space else getattr(np, space, None)
        if row.status != "native" or theirs is None or space == "ndarray":
            continue
        name = f"{space}.{row.name}" if space else row.name
        function = getattr(theirs, row.name)
        plain = not callable(function) or isinstance(function, type)
        if plain or name in NOTHING_TO_MEASURE or SAME.get(name) in NOTHING_TO_MEASURE:
            continue
        if SAME.get(name, name) not in known:
            found.append(name)
    return found
