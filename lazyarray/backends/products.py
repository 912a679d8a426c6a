"""Products of matrices on a GPU by cuBLAS: which call computes one, on operands as they lie.

cuBLAS knows columns first: the rows of ours are its columns, so it is asked for the transpose of
the result, which is the product of the transposes. Where the innermost axis of an operand has unit
steps, that is an operand as it lies; where the second innermost has, it is one to be transposed.
CuPy's own products are not used: they refuse to be captured, and know few of our layouts.

Nothing here depends on what else a GPU does: there is one stream, a workspace of our own, and no
atomics. float32 is computed in float32 (TensorFloat-32 is never asked for), 16-bit floats are
added in float32 throughout, partial sums included, and complex products have four real ones.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from lazyarray._ir import c_strides
from lazyarray.dtypes import BFLOAT16
from lazyarray.errors import DeviceError
from lazyarray.works import Layout, Whole

from .tasks import Issue, address_of, array_at

MAJORS = (13, 12)  # of CUDA
SUCCESS = 0
# cublas_api.h, library_types.h
PLAIN, TRANSPOSED = 0, 1  # CUBLAS_OP_N, CUBLAS_OP_T
DEFAULT_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT
WHOLE_SUMS = 16  # CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION, with CUBLAS_DEFAULT_MATH
NO_ATOMICS = 0  # CUBLAS_ATOMICS_NOT_ALLOWED
# CUBLAS_COMPUTE_32F and 64F; the pedantic ones of complex numbers do without Gauss's three
# products, whose error is bounded by the norm alone.
SINGLE, SINGLE_PEDANTIC, DOUBLE, DOUBLE_PEDANTIC = 68, 69, 70, 71


Factor = type[ctypes.c_float] | type[ctypes.c_double]


class Kind(NamedTuple):
    """How cuBLAS names a dtype, what it computes in, and what its factors are."""

    name: int  # cudaDataType_t
    compute: int
    factor: Factor


KINDS = {
    np.dtype(np.float16): Kind(2, SINGLE, ctypes.c_float),
    BFLOAT16: Kind(14, SINGLE, ctypes.c_float),
    np.dtype(np.float32): Kind(0, SINGLE, ctypes.c_float),
    np.dtype(np.float64): Kind(1, DOUBLE, ctypes.c_double),
    np.dtype(np.complex64): Kind(4, SINGLE_PEDANTIC, ctypes.c_float),
    np.dtype(np.complex128): Kind(5, DOUBLE_PEDANTIC, ctypes.c_double),
}
# Of its workspace, bytes: what NVIDIA advises for Hopper and later, and before. In cuBLAS's manual.
WORKSPACE, WORKSPACE_BEFORE_HOPPER, HOPPER = 32 << 20, 4 << 20, 90
CALLS = 16  # for one product; where its batch asks for more, operands are copied
PLACES = {size: np.dtype(f"u{size}") for size in (2, 4, 8)} | {16: np.dtype("c16")}  # to be copied


# ---- which call


class Operand(NamedTuple):
    """A matrix as cuBLAS reads it: in columns, whose starts are `leading` elements apart."""

    transposed: bool
    leading: int


@dataclass(frozen=True, slots=True)
class Product:
    """What cuBLAS is asked for; extents are those of ours, steps and offsets are elements."""

    m: int
    n: int
    k: int
    batch: int
    a: Operand
    b: Operand
    steps: tuple[int, int, int]  # between the matrices of a batch: a's, b's, the result's
    starts: tuple[tuple[int, int, int], ...]  # of each call, likewise
    copied: tuple[bool, bool]  # whether a, b is put in C order first


def operand(shape: tuple[int, ...], steps: tuple[int, ...]) -> Operand | None:
    """How cuBLAS reads matrices with these steps between elements; None where it cannot."""
    (rows, columns), (down, along) = shape[-2:], steps[-2:]
    if columns == 1 or along == 1:
        leading = down if rows > 1 else columns
        if leading >= columns:
            return Operand(False, max(leading, 1))
    if rows == 1 or down == 1:
        leading = along if columns > 1 else rows
        if leading >= rows:
            return Operand(True, max(leading, 1))
    return None


def elements(layout: Layout) -> tuple[int, ...] | None:
    """The steps of a layout in elements; None where they are none, or go backwards."""
    _, strides, dtype = layout
    if any(step < 0 or step % dtype.itemsize for step in strides):
        return None
    return tuple(step // dtype.itemsize for step in strides)


def runs(
    extents: tuple[int, ...], steps: tuple[tuple[int, ...], ...]
) -> list[tuple[int, tuple[int, ...]]]:
    """The axes of a batch, innermost first, those joined that are one for every operand."""
    found: list[tuple[int, tuple[int, ...]]] = []
    for extent, own in reversed(list(zip(extents, zip(*steps, strict=True), strict=True))):
        if extent == 1:
            continue
        if found:
            inner, within = found[-1]
            if all(step == inner * other for step, other in zip(own, within, strict=True)):
                found[-1] = inner * extent, within
                continue
        found.append((extent, own))
    return found


def decide(a: Layout, b: Layout, out: Layout) -> Product | None:
    """How cuBLAS computes the product of two arrays; None where it cannot."""
    dtype = out[2]
    if dtype not in KINDS or a[2] != dtype or b[2] != dtype:
        return None
    shapes, seen, copied = (a[0], b[0]), [], []
    for layout in (a, b):
        steps = elements(layout)
        if steps is None:
            return None
        copied.append(operand(layout[0], steps) is None)
        seen.append(c_strides(layout[0], 1) if copied[-1] else steps)
    batch, results = out[0][:-2], c_strides(out[0], 1)
    joined = runs(batch, (seen[0][:-2], seen[1][:-2], results[:-2]))
    if calls(joined) > CALLS:
        for i in range(2):
            whole = c_strides(shapes[i], 1)
            copied[i] = copied[i] or seen[i] != whole
            seen[i] = whole
        joined = runs(batch, (seen[0][:-2], seen[1][:-2], results[:-2]))
    joined.sort(key=lambda run: run[0])
    extent, steps_of_batch = joined.pop() if joined else (1, (0, 0, 0))
    ways = [operand(shape, own) for shape, own in zip(shapes, seen, strict=True)]
    assert ways[0] is not None and ways[1] is not None
    places = itertools.product(*[[[i * s for s in own] for i in range(n)] for n, own in joined])
    starts = tuple(tuple(map(sum, zip((0, 0, 0), *place, strict=True))) for place in places)
    m, n = out[0][-2:]
    return Product(
        *(m, n, a[0][-1], extent, ways[0], ways[1]),
        *(steps_of_batch, starts, (copied[0], copied[1])),  # type: ignore[arg-type]
    )


def calls(joined: list[tuple[int, Any]]) -> int:
    """How many calls these axes of a batch take."""
    extents = [extent for extent, _ in joined]
    return prod(extents) // max(extents, default=1)


# ---- the library


def loaded(name: str) -> Any:
    """A library of CUDA's: that which is in the process, CuPy's, or the newest there is."""
    with suppress(ImportError, OSError):  # as CuPy finds it
        __import__("cupy_backends.cuda.libs", fromlist=["cublas"])
    for mode in (os.RTLD_NOLOAD | os.RTLD_NOW, os.RTLD_NOW):
        for major in MAJORS:
            try:
                return ctypes.CDLL(f"lib{name}.so.{major}", mode=mode)
            except OSError:
                continue
    return None


POINTER, INT, LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
MATRIX = (POINTER, INT, LONG)  # address, dtype, leading dimension
SIGNATURES = {
    "cublasCreate_v2": (POINTER,),
    "cublasSetStream_v2": (POINTER, POINTER),
    "cublasSetWorkspace_v2": (POINTER, POINTER, ctypes.c_size_t),
    "cublasSetMathMode": (POINTER, INT),
    "cublasSetAtomicsMode": (POINTER, INT),
    "cublasGemmEx_64": (
        *(POINTER, INT, INT, LONG, LONG, LONG, POINTER, *MATRIX, *MATRIX, POINTER, *MATRIX),
        *(INT, INT),
    ),
    "cublasGemmStridedBatchedEx_64": (
        *(POINTER, INT, INT, LONG, LONG, LONG, POINTER, *MATRIX, LONG, *MATRIX, LONG),
        *(POINTER, *MATRIX, LONG, LONG, INT, INT),
    ),
}


@cache
def library() -> Any:
    """Return cuBLAS, 12 or newer; None where there is none."""
    found = loaded("cublas")
    if found is not None:
        for name, arguments in SIGNATURES.items():
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, INT
    return found


def check(status: int, what: str) -> None:
    """Raise DeviceError for a status that is no success."""
    if status != SUCCESS:
        raise DeviceError(f"cuBLAS: {what} failed with status {status}")


class Blas:
    """cuBLAS for a GPU's stream. Its calls are guarded by the GPU's lock."""

    def __init__(self, owner: Any) -> None:
        found = library()
        handle = POINTER()
        self.owner, self.library, self.handle = owner, found, handle
        self.light: Any = None  # of cuBLASLt, see epilogues.py
        self.nbytes = WORKSPACE if owner.capability >= HOPPER else WORKSPACE_BEFORE_HOPPER
        self.workspace = owner.allocate(self.nbytes)
        check(found.cublasCreate_v2(ctypes.byref(handle)), "to begin")
        check(found.cublasSetStream_v2(handle, owner.stream.ptr), "a stream")
        # After the stream, which takes the workspace away.
        check(found.cublasSetWorkspace_v2(handle, self.workspace.ptr, self.nbytes), "a workspace")
        check(found.cublasSetMathMode(handle, WHOLE_SUMS), "a mode")
        check(found.cublasSetAtomicsMode(handle, NO_ATOMICS), "a mode")

    def multiply(self, product: Product, dtype: np.dtype, a: int, b: int, out: int) -> None:
        """Issue a product of what lies at these addresses; k is not 0."""
        for arguments, batched in arguments_of(product, dtype, a, b, out):
            name = "cublasGemmStridedBatchedEx_64" if batched else "cublasGemmEx_64"
            with self.owner.lock:
                check(getattr(self.library, name)(self.handle, *arguments), "a product")


def arguments_of(
    product: Product, dtype: np.dtype, a: int, b: int, out: int
) -> list[tuple[list[Any], bool]]:
    """The arguments of each call behind the handle, and whether it is one of a batch."""
    kind = KINDS[dtype]
    size, batched = dtype.itemsize, product.batch > 1
    one, zero = FACTORS[kind.factor]
    flags = [TRANSPOSED if each.transposed else PLAIN for each in (product.b, product.a)]
    found = []
    for starts in product.starts:
        first, second, third = (
            [place + start * size, kind.name, leading, *([step] if batched else [])]
            for place, start, leading, step in zip(
                (a, b, out),
                starts,
                (product.a.leading, product.b.leading, max(product.n, 1)),
                product.steps,
                strict=True,
            )
        )
        found.append(
            (
                [
                    *(*flags, product.n, product.m, product.k, one, *second, *first, zero, *third),
                    *([product.batch] if batched else []),
                    *(kind.compute, DEFAULT_ALGORITHM),
                ],
                batched,
            )
        )
    return found


# On the CPU; the second number is the imaginary part of a complex one.
FACTORS = {each: ((each * 2)(1, 0), (each * 2)(0, 0)) for each in (ctypes.c_float, ctypes.c_double)}


# ---- the task


class Multiply(Issue):
    """A product of matrices; a view may make operands lie where they cannot be read."""

    def __init__(
        self, owner: Any, work: Whole, product: Product, detour: Callable[[], Issue]
    ) -> None:
        super().__init__(owner)
        self.product, self.layouts, self.detour = product, work.layouts, detour
        self.shape, _, self.dtype = work.layouts[-1]
        self.blas = owner.blas()

    def issue(self, args: list[Any]) -> None:
        """Issue it, after copies of operands in an order that cuBLAS cannot read."""
        owner, product, size = self.owner, self.product, self.dtype.itemsize
        places = self.addresses(args)
        if any(place % size for place in places):
            self.detour().issue(args)
            return
        if not product.k or 0 in self.shape:
            nbytes = prod(self.shape) * size
            owner.xp.cuda.runtime.memsetAsync(places[-1], 0, nbytes, owner.stream.ptr)
            return
        kept = []
        if any(product.copied):
            with owner.allocations():
                for i, copied in enumerate(product.copied):
                    if copied:
                        kept.append(in_order(owner, places[i], self.layouts[i]))
                        places[i] = address_of(kept[-1])
        self.blas.multiply(product, self.dtype, *places)


def in_order(owner: Any, address: int, layout: Layout) -> Any:
    """A copy of an array in C order; the library need not know its dtype."""
    shape, strides, dtype = layout
    found = array_at(owner.xp, owner.index, address, shape, strides, PLACES[dtype.itemsize])
    return found.copy(order="C")


def multiply(owner: Any, work: Whole, detour: Callable[[], Issue]) -> Issue | None:
    """What issues a product; None where cuBLAS has none, or is not there."""
    product = decide(*work.layouts)
    if product is None or library() is None:
        return None
    return Multiply(owner, work, product, detour)
