"""Products of matrices with a line added to each row, in one call of cuBLASLt.

Where cuBLASLt is absent, or has nothing for the operands as they lie, two tasks are issued: the
product to memory aside, then the sum. The results of both ways are those of two summing orders; a
sum of 16-bit floats is rounded once in one call, twice in two: by at most a unit in the last place
of the product more. What else cuBLASLt computes with a product is left alone: its ReLU does not
say what becomes of NaN, and its GELU is that of tanh.

cuBLASLt keeps no stream and no workspace: both are given with each call, which a graph can have.
"""

from __future__ import annotations

import ctypes
from functools import cache
from math import prod
from typing import Any

from lazyarray.plan import Task
from lazyarray.works import Biased

from .products import FACTORS, KINDS, PLAIN, TRANSPOSED, Product, check, decide, loaded
from .tasks import Issue

# cublasLt.h: attributes of descriptors, layouts and preferences
TURN_A, TURN_B, EPILOGUE, LINE = 3, 4, 7, 8  # CUBLASLT_MATMUL_DESC_...
BIAS = 4  # CUBLASLT_EPILOGUE_BIAS
WORKSPACE_BYTES, REDUCTIONS, ALIGNMENTS = 1, 3, (5, 6, 7, 8)  # CUBLASLT_MATMUL_PREF_...
WHOLE_SUMS = 2  # CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE: of parts of k, in a fixed order
SINGLE = 0  # CUDA_R_32F, what factors are
ALIGNED = 256  # bytes: more are of no use
LINE_ALIGNED = 16  # bytes of the line: less, and some algorithms go wrong
KNOWN = ("float16", "bfloat16", "float32")

POINTER, INT, SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
ATTRIBUTE = (POINTER, INT, POINTER, SIZE)
SIGNATURES = {
    "cublasLtCreate": (POINTER,),
    "cublasLtMatmulDescCreate": (POINTER, INT, INT),
    "cublasLtMatmulDescDestroy": (POINTER,),
    "cublasLtMatmulDescSetAttribute": ATTRIBUTE,
    "cublasLtMatrixLayoutCreate": (POINTER, INT, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
    "cublasLtMatrixLayoutDestroy": (POINTER,),
    "cublasLtMatmulPreferenceCreate": (POINTER,),
    "cublasLtMatmulPreferenceDestroy": (POINTER,),
    "cublasLtMatmulPreferenceSetAttribute": ATTRIBUTE,
    "cublasLtMatmulAlgoGetHeuristic": (*[POINTER] * 7, INT, POINTER, POINTER),
    "cublasLtMatmul": (*[POINTER] * 14, SIZE, POINTER),
}


class Found(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t: an algorithm, and what it needs."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", SIZE),
        ("state", INT),
        ("waves", ctypes.c_float),
        ("reserved", INT * 4),
    )


@cache
def library() -> Any:
    """Return cuBLASLt; None where there is none."""
    found = loaded("cublasLt")
    if found is not None:
        for name, arguments in SIGNATURES.items():
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, INT
    return found


def opened(owner: Any, blas: Any) -> None:
    """Let cuBLAS's user have a handle of cuBLASLt, too: they may be of different versions."""
    with owner.lock, owner.device:
        if blas.light is None:
            light = POINTER()
            check(library().cublasLtCreate(ctypes.byref(light)), "to begin")
            blas.light = light


class Descriptor:
    """Something of cuBLASLt's that has attributes, and goes with this object."""

    def __init__(self, kind: str, *what: int) -> None:
        self.kind, self.library, self.at = kind, library(), POINTER()
        create = getattr(self.library, f"cublasLt{kind}Create")
        check(create(ctypes.byref(self.at), *what), f"cublasLt{kind}Create")

    def set(self, attribute: int, value: Any) -> None:
        """Set an attribute to a number of C's."""
        function = getattr(self.library, f"cublasLt{self.kind}SetAttribute")
        status = function(self.at, attribute, ctypes.byref(value), ctypes.sizeof(value))
        check(status, f"attribute {attribute} of cublasLt{self.kind}")

    def __del__(self) -> None:
        if self.at:
            getattr(self.library, f"cublasLt{self.kind}Destroy")(self.at)


class Sum:
    """A product and a line, as cuBLASLt is asked for them: the transpose, as in products.py."""

    def __init__(self, product: Product, dtype: Any) -> None:
        kind = KINDS[dtype]
        m, n, k = product.m, product.n, product.k
        self.operation = Descriptor("MatmulDesc", kind.compute, SINGLE)
        for attribute, operand in ((TURN_A, product.b), (TURN_B, product.a)):
            turn = TRANSPOSED if operand.transposed else PLAIN
            self.operation.set(attribute, ctypes.c_int32(turn))
        self.operation.set(EPILOGUE, ctypes.c_uint32(BIAS))
        self.layouts = [
            Descriptor("MatrixLayout", kind.name, *extents, leading)
            for extents, leading in (
                ((k, n) if product.b.transposed else (n, k), product.b.leading),
                ((m, k) if product.a.transposed else (k, m), product.a.leading),
                ((n, m), n),
            )
        ]
        self.factors = FACTORS[kind.factor]
        self.known: dict[tuple[int, ...], Found | None] = {}

    def issue(self, owner: Any, blas: Any, a: int, b: int, line: int, out: int) -> bool:
        """Issue it; False where there is no algorithm for operands at these addresses."""
        if line % LINE_ALIGNED:
            return False
        with owner.lock:  # whose line the descriptor has
            self.operation.set(LINE, POINTER(line))
            found = self.algorithm(blas, b, a, out)
            if found is None:
                return False
            first, second, third = (each.at for each in self.layouts)
            one, zero = self.factors
            status = library().cublasLtMatmul(
                *(blas.light, self.operation.at, one, b, first, a, second),
                *(zero, out, third, out, third, ctypes.byref(found)),
                *(blas.workspace.ptr, blas.nbytes, owner.stream.ptr),
            )
        check(status, "a product with a line")
        return True

    def algorithm(self, blas: Any, *addresses: int) -> Found | None:
        """The best algorithm for operands that are so aligned; asked for once."""
        aligned = tuple(min(each & -each, ALIGNED) for each in addresses)
        if aligned in self.known:
            return self.known[aligned]
        wish = Descriptor("MatmulPreference")
        wish.set(WORKSPACE_BYTES, ctypes.c_uint64(blas.nbytes))
        wish.set(REDUCTIONS, ctypes.c_uint32(WHOLE_SUMS))
        for attribute, each in zip(ALIGNMENTS, (*aligned, aligned[-1]), strict=True):
            wish.set(attribute, ctypes.c_uint32(each))
        found, count = Found(), INT()
        first, second, third = (each.at for each in self.layouts)
        status = library().cublasLtMatmulAlgoGetHeuristic(
            *(blas.light, self.operation.at, first, second, third, third, wish.at, 1),
            *(ctypes.byref(found), ctypes.byref(count)),
        )
        good = status == 0 and count.value == 1 and found.state == 0
        self.known[aligned] = found if good else None
        return self.known[aligned]


class Added(Issue):
    """A product and a line, in one call or in two tasks."""

    def __init__(self, owner: Any, work: Biased, first: Issue, then: Issue) -> None:
        super().__init__(owner)
        self.work, self.first, self.then = work, first, then
        self.waits = first.waits or then.waits
        shape, _, self.dtype = work.product.layouts[-1]
        self.nbytes = prod(shape) * self.dtype.itemsize
        product = decide(*work.product.layouts) if self.dtype.name in KNOWN else None
        self.sum: Sum | None = None
        if product is None or not product.k or product.batch > 1 or any(product.copied):
            return
        if library() is not None:
            self.blas = owner.blas()
            opened(owner, self.blas)
            self.sum = Sum(product, self.dtype)

    def issue(self, args: list[Any]) -> None:
        """Issue it."""
        places = self.addresses(args)
        aligned = all(place % self.dtype.itemsize == 0 for place in places)
        if self.sum is not None and aligned and self.sum.issue(self.owner, self.blas, *places):
            return
        a, b, line, out = places
        aside = self.owner.malloc(self.nbytes)  # the stream's: free again once this is issued
        self.first.issue([a, b, aside.ptr])
        self.then.issue(self.work.added(aside.ptr, line, out))


def added(owner: Any, task: Task, work: Biased) -> Issue:
    """What issues a product with a line."""
    parts = [
        owner.launch_of(Task(None, None, [], [], [], task.place, each.label, work=each))
        for each in (work.product, work.program)
    ]
    return Added(owner, work, *parts)
