"""What NumPy's own functions compute on the CPU, by a library of their names.

Linear algebra is cuSOLVER's, Fourier transforms are cuFFT's; ranks come from sorts.

What NumPy raises for a matrix is raised here, too: whoever calls waits for the library's verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from lazyarray.ops.define import normalize_axes
from lazyarray.ops.host import Slot, places, thawed
from lazyarray.works import Whole

from .library import library

Solver = Callable[..., Any]


def strict(xp: Any) -> AbstractContextManager[Any]:
    """CuPy's solvers raise LinAlgError, as NumPy's do."""
    if xp.__name__ != "cupy":
        return nullcontext()
    found: AbstractContextManager[Any] = import_module("cupyx").errstate(linalg="raise")
    return found


def options_of(work: Whole) -> dict[str, Any]:
    """What an op was called with by name."""
    return dict(work.attributes["call"][1])


def solver(name: str, suits: Callable[..., bool] | None = None) -> Callable[[Solver], Solver]:
    """Register a function of arrays and options for a host op."""

    def define(function: Solver) -> Solver:
        @library(name, suits=suits)
        def _(xp: Any, *arrays: Any, out: Any, call: Any, results: Any = None) -> None:
            args, options = call
            given = {key: thawed(value, arrays) for key, value in options}
            with strict(xp), np.errstate(all="ignore"):
                found = function(xp, *thawed(args, arrays), **given)
            found = found if isinstance(found, tuple | list) else (found,)
            for part, place in zip(found, places(out, results), strict=True):
                place[...] = part

        return function

    return define


# ---- linear algebra


for same in ("inv", "det", "slogdet", "eigh", "eigvalsh", "qr"):

    def by_name(xp: Any, *args: Any, name: str = same, **options: Any) -> Any:
        """The library's function of that name."""
        return getattr(xp.linalg, name)(*args, **options)

    solver(f"linalg.{same}")(by_name)


@solver("linalg.solve")
def _(xp: Any, a: Any, b: Any) -> Any:
    if b.ndim == 1:
        return xp.linalg.solve(a, xp.broadcast_to(b[:, None], (*a.shape[:-1], 1)))[..., 0]
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = xp.broadcast_to(a, (*batch, *a.shape[-2:]))
    return xp.linalg.solve(a, xp.broadcast_to(b, (*batch, *b.shape[-2:])))


@solver("linalg.cholesky")
def _(xp: Any, a: Any, upper: bool = False) -> Any:
    if not upper:
        return xp.linalg.cholesky(a)
    return xp.linalg.cholesky(a.swapaxes(-1, -2).conj()).swapaxes(-1, -2).conj()


@solver("linalg.svd", suits=lambda work: not options_of(work).get("hermitian"))
def _(
    xp: Any, a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    return xp.linalg.svd(a, full_matrices=full_matrices, compute_uv=compute_uv)


# ---- ranks


def at_ranks(
    xp: Any, a: Any, shares: Any, axis: Any, keepdims: bool, last_of: Solver, between: Solver
) -> list[Any]:
    """What lies between two elements in order, for each of `shares`: where, from 0 to 1."""
    axes = normalize_axes(axis, a.ndim, "median")
    rest = [i for i in range(a.ndim) if i not in axes]
    shape = tuple(a.shape[i] for i in rest)
    if keepdims:
        shape = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
    rows = xp.transpose(a, [*rest, *axes]).reshape(prod(shape), -1)
    wide = {"e": np.float32, "f": np.float32}.get(rows.dtype.char, np.float64)
    rows = xp.sort(rows.astype(wide), axis=-1)
    last = last_of(xp, rows)
    found = []
    for share in shares:
        low = (share * last).astype(np.int64)
        part = (share * last - low).astype(wide)
        below = xp.take_along_axis(rows, low, axis=1)
        above = xp.take_along_axis(rows, xp.minimum(low + 1, last), axis=1)
        found.append(between(xp, below, above, part).reshape(shape))
    return found


def interpolated(xp: Any, below: Any, above: Any, part: Any) -> Any:
    """Some way between two elements, from the nearer one, as NumPy has it."""
    step = above - below
    return xp.where(part < 0.5, below + step * part, above - step * (1 - part))


def halfway(xp: Any, below: Any, above: Any, part: Any) -> Any:
    """The first of two elements, or their mean."""
    return xp.where(part == 0, below, (below + above) / 2)


def last_element(xp: Any, rows: Any) -> Any:
    """The rank of the last element of each row: nothing is between NaNs but NaN."""
    last = xp.full((len(rows), 1), rows.shape[1] - 1)
    rows[...] = xp.where(rows[:, -1:] != rows[:, -1:], np.nan, rows)
    return last


def last_number(xp: Any, rows: Any) -> Any:
    """The rank of the last element of each row that is no NaN."""
    return xp.maximum((rows == rows).sum(axis=1, keepdims=True) - 1, 0)


def by_numbers(work: Whole) -> bool:
    """Whether ranks are told by numbers, to be interpolated linearly, and there are elements."""
    options = options_of(work)
    shares = np.ravel(np.asarray(options.get("q", 0.5), object))
    known = shares.size and not any(type(each) is Slot for each in shares)
    shape, _, dtype = work.layouts[0]
    linear = options.get("method", "linear") == "linear"
    return bool(known) and linear and all(shape) and dtype.kind != "c"


def ranked(name: str, last_of: Solver) -> None:
    """Register the median, the quantile and the percentile of a kind."""

    def middle(xp: Any, a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return at_ranks(xp, a, [0.5], axis, keepdims, last_of, halfway)

    solver(f"{name}median", suits=by_numbers)(middle)
    for each, whole in (("quantile", 1), ("percentile", 100)):

        def parts(
            xp: Any, a: Any, q: Any, axis: Any = None, method: str = "linear",
            keepdims: bool = False, whole: float = whole,
        ) -> Any:  # fmt: skip
            wanted = np.asarray(q, float) / whole
            shares = wanted.ravel().tolist()
            found = at_ranks(xp, a, shares, axis, keepdims, last_of, interpolated)
            return xp.stack(found).reshape((*wanted.shape, *found[0].shape))

        solver(f"{name}{each}", suits=by_numbers)(parts)


ranked("", last_element)
ranked("nan", last_number)


for extreme, filler in (("argmax", -np.inf), ("argmin", np.inf)):

    def of_numbers(
        xp: Any, a: Any, axis: Any = None, keepdims: bool = False,
        name: str = extreme, filler: float = filler,
    ) -> Any:  # fmt: skip
        """The place of an extreme of what is no NaN."""
        missing = a != a
        if bool(missing.all(axis=axis).any()):
            raise ValueError("All-NaN slice encountered")
        return getattr(xp, name)(xp.where(missing, filler, a), axis=axis, keepdims=keepdims)

    solver(f"nan{extreme}", suits=by_numbers)(of_numbers)


@solver("lexsort")
def _(xp: Any, keys: Any, axis: int = -1) -> Any:
    first, *rest = [xp.moveaxis(key, axis, -1) for key in keys]
    order = xp.argsort(first, axis=-1, kind="stable")
    for key in rest:
        ranks = xp.argsort(xp.take_along_axis(key, order, axis=-1), axis=-1, kind="stable")
        order = xp.take_along_axis(order, ranks, axis=-1)
    return xp.moveaxis(order, -1, axis)


def sorted_along(xp: Any, name: str, a: Any, axis: int | None) -> Any:
    """All elements in order, or their indices: a partition at every rank."""
    a, axis = (a.reshape(-1), -1) if axis is None else (a, axis)
    return getattr(xp, name)(a, axis=axis, kind="stable")


@solver("partition")
def _(xp: Any, a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect") -> Any:
    return sorted_along(xp, "sort", a, axis)


@solver("argpartition")
def _(xp: Any, a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect") -> Any:
    return sorted_along(xp, "argsort", a, axis)


@solver("digitize")
def _(xp: Any, x: Any, bins: Any, right: bool = False) -> Any:
    side = "left" if right else "right"
    if bool((bins[1:] >= bins[:-1]).all()):
        return xp.searchsorted(bins, x.reshape(-1), side).reshape(x.shape)
    if not bool((bins[1:] <= bins[:-1]).all()):
        raise ValueError("bins must be monotonically increasing or decreasing")
    back = xp.ascontiguousarray(bins[::-1])
    return bins.size - xp.searchsorted(back, x.reshape(-1), side).reshape(x.shape)


@solver("isin")
def _(
    xp: Any, element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False,
    kind: str | None = None,
) -> Any:  # fmt: skip
    return xp.isin(element, test_elements, assume_unique, invert)


# ---- Fourier transforms


def plain(work: Whole) -> bool:
    """Whether each axis is named once, and nothing is empty."""
    options = options_of(work)
    axes = options["axes"]
    return len(set(axes)) == len(axes) and all(options["s"]) and all(work.layouts[0][0])


for op, function in (("c2c", "fftn"), ("inverse", "ifftn"), ("r2c", "rfftn"), ("c2r", "irfftn")):

    def transform(xp: Any, x: Any, s: Any, axes: Any, norm: str, name: str = function) -> Any:
        """The library's transform."""
        return getattr(xp.fft, name)(x, s, axes, norm)

    solver(f"fft.{op}", suits=plain)(transform)
