"""cuBLAS's calls on memory of the CPU, by their own rules: columns first, leading dimensions."""

import ctypes

import ml_dtypes
import numpy as np

DTYPES = {0: "f4", 1: "f8", 2: "f2", 4: "c8", 5: "c16", 14: ml_dtypes.bfloat16}  # cudaDataType_t
# Bytes of attributes, in cublasLt.h.
SIZES = {
    "MatmulDesc": {3: 4, 4: 4, 7: 4, 8: 8},
    "MatmulPreference": {1: 8, 3: 4, 5: 4, 6: 4, 7: 4, 8: 4},
}
COMPUTED = {68: "f4", 69: "c8", 70: "f8", 71: "c16"}  # cublasComputeType_t, as it is asked for


def matrices(address, kind, rows, columns, leading, step, batch):
    """A batch of matrices, by their columns."""
    assert leading >= max(1, rows), "cuBLAS refuses such a leading dimension"
    dtype = np.dtype(DTYPES[kind])
    count = (batch - 1) * step + (columns - 1) * leading + rows
    room = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    strides = [each * dtype.itemsize for each in (step, 1, leading)]
    return np.ndarray((batch, rows, columns), dtype, room, 0, strides)


class Blas:
    """The functions of the library that are called."""

    def __init__(self, issued=lambda work: work()):
        self.issued = issued
        self.calls = []  # their names

    def cublasCreate_v2(self, handle):
        return 0

    def cublasSetStream_v2(self, handle, stream):
        self.workspace = None
        return 0

    def cublasSetWorkspace_v2(self, handle, workspace, nbytes):
        assert workspace % 256 == 0
        self.workspace = nbytes
        return 0

    def cublasSetMathMode(self, handle, mode):
        assert mode == 16
        return 0

    def cublasSetAtomicsMode(self, handle, mode):
        assert mode == 0
        return 0

    def cublasGemmEx_64(
        self, handle, turn_a, turn_b, m, n, k, alpha, a, kind_a, lead_a, b, kind_b, lead_b, beta,
        c, kind_c, lead_c, compute, algorithm,
    ):  # fmt: skip
        return self.cublasGemmStridedBatchedEx_64(
            *(handle, turn_a, turn_b, m, n, k, alpha, a, kind_a, lead_a, 0, b, kind_b, lead_b, 0),
            *(beta, c, kind_c, lead_c, 0, 1, compute, algorithm, "cublasGemmEx_64"),
        )

    def cublasGemmStridedBatchedEx_64(
        self, handle, turn_a, turn_b, m, n, k, alpha, a, kind_a, lead_a, step_a,
        b, kind_b, lead_b, step_b, beta, c, kind_c, lead_c, step_c, batch, compute, algorithm,
        name="cublasGemmStridedBatchedEx_64",
    ):  # fmt: skip
        assert self.workspace and (alpha[0], beta[0]) == (1, 0)
        assert min(m, n, k, batch) > 0 and algorithm == -1
        wide = np.dtype(COMPUTED[compute])
        self.calls.append(name)

        def work():
            left = matrices(a, kind_a, *((k, m) if turn_a else (m, k)), lead_a, step_a, batch)
            right = matrices(b, kind_b, *((n, k) if turn_b else (k, n)), lead_b, step_b, batch)
            out = matrices(c, kind_c, m, n, lead_c, step_c, batch)
            left = left.swapaxes(1, 2) if turn_a else left
            right = right.swapaxes(1, 2) if turn_b else right
            out[...] = np.matmul(left.astype(wide), right.astype(wide)).astype(out.dtype)

        self.issued(work)
        return 0


class Lt:
    """The functions of cuBLASLt that are called; it has algorithms where `finds`."""

    def __init__(self, issued=lambda work: work()):
        self.issued = issued
        self.finds = True
        self.alive = {}
        self.made = self.asked = self.calls = 0
        for kind in ("MatmulDesc", "MatrixLayout", "MatmulPreference"):
            setattr(self, f"cublasLt{kind}Create", self.creates(kind))
            setattr(self, f"cublasLt{kind}Destroy", self.destroy)
            setattr(self, f"cublasLt{kind}SetAttribute", self.sets(kind))

    def cublasLtCreate(self, at):
        at._obj.value = 5
        return 0

    def creates(self, kind):
        def create(at, *what):
            self.made += 1
            at._obj.value = self.made
            self.alive[self.made] = {"kind": kind, "what": what}
            return 0

        return create

    def destroy(self, at):
        del self.alive[at.value]
        return 0

    def sets(self, kind):
        def set_attribute(at, attribute, value, size):
            assert self.alive[at.value]["kind"] == kind and size == SIZES[kind][attribute]
            self.alive[at.value][attribute] = value._obj.value
            return 0

        return set_attribute

    def cublasLtMatmulAlgoGetHeuristic(
        self, light, operation, a, b, c, d, wish, wanted, found, count
    ):
        wish = self.alive[wish.value]
        assert wish["kind"] == "MatmulPreference" and wish[1] > 0 and wish[3] == 2 and wanted == 1
        assert all(wish[each] <= 256 and not 256 % wish[each] for each in (5, 6, 7, 8))
        self.asked += 1
        count._obj.value = int(self.finds)
        found._obj.algorithm[0] = 42
        return 0 if self.finds else 15

    def cublasLtMatmul(
        self, light, operation, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout,
        algorithm, workspace, nbytes, stream,
    ):  # fmt: skip
        assert (light.value, alpha[0], beta[0]) == (5, 1, 0) and c == d and workspace and nbytes
        assert algorithm._obj.algorithm[0] == 42
        known = dict(self.alive[operation.value])
        layouts = [self.alive[each.value]["what"] for each in (a_layout, b_layout, d_layout)]
        assert known["what"] == (68, 0) and known[7] == 4
        self.calls += 1

        def work():
            seen = [
                matrices(place, kind, rows, columns, leading, 0, 1)[0]
                for place, (kind, rows, columns, leading) in zip((a, b, d), layouts, strict=True)
            ]
            left, right = (
                (x.T if known[turn] else x).astype("f4")
                for x, turn in zip(seen, (3, 4), strict=False)
            )
            line = matrices(known[8], layouts[2][0], seen[2].shape[0], 1, seen[2].shape[0], 0, 1)[0]
            seen[2][...] = (left @ right + line.astype("f4")).astype(seen[2].dtype)

        self.issued(work)
        return 0
