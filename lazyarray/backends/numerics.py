"""Linear algebra and Fourier transforms by a library of NumPy's names: cuSOLVER's and cuFFT's.

What NumPy raises for a matrix is raised here, too: whoever calls waits for the library's verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import numpy as np

from lazyarray.ops.host import places, thawed
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
            with strict(xp):
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
