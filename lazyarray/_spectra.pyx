# Design. Kernels of decompositions: eigenvalues of Hermitian matrices, singular values, orthonormal columns. The ABI is that of
# _loops. A unit is one matrix of a batch.
# Invariants: a kernel is re-entrant, its params are read-only. LAPACK and BLAS have one thread a call, so bits do not depend on
# the number of workers.
# Memory: `params` is a C++ object that the kernel owns. Working storage is the thread's.
# Without the GIL: run. No Python object is touched there, no lock of ours is taken. The routines are SciPy's, found by
# their exported pointers when the first kernel is made.
from libcpp.vector cimport vector
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer

import numpy as np

from lazyarray import _blas

from lazyarray._loops cimport Made, wrap

cdef extern from "spectra.hpp" namespace "la" nogil:
    const int kDiverged
    void set_decompositions(char kind, void* geqrf, void* gqr, void* evd, void* sdd, void* gemm)
    Made make_decomposition(char kind, int what, Py_ssize_t batch, Py_ssize_t m, Py_ssize_t n, Py_ssize_t left, Py_ssize_t right,
                            const vector[Py_ssize_t]& starts, char job, char uplo, double share)

cdef enum:
    EIGEN = 0
    SINGULAR = 1
    ORTHONORMAL = 2
    PSEUDO_INVERSE = 3

cdef bint loaded = False
cdef dict EIGENVALUES = {kDiverged: (np.linalg.LinAlgError, "Eigenvalues did not converge")}
cdef dict SINGULAR_VALUES = {kDiverged: (np.linalg.LinAlgError, "SVD did not converge")}
cdef double RATE = 2.0          # multiplications and additions a nanosecond on one core


cdef void* routine(object module, str name) except NULL:
    capsule = module.__pyx_capi__[name]
    return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


cdef void load() except *:
    """Find SciPy's routines; its BLAS gets one thread a call."""
    global loaded
    if loaded:
        return
    import scipy.linalg.cython_blas as blas
    import scipy.linalg.cython_lapack as lapack

    _blas.load_blas()
    for kind, names in (("d", ("dgeqrf", "dorgqr", "dsyevd", "dgesdd")), ("D", ("zgeqrf", "zungqr", "zheevd", "zgesdd"))):
        set_decompositions(<char>ord(kind), routine(lapack, names[0]), routine(lapack, names[1]),
                           routine(lapack, names[2]), routine(lapack, names[3]), routine(blas, names[0][0] + "gemm"))
    loaded = True


cdef object decomposed(str label, dtype, int what, Py_ssize_t batch, Py_ssize_t m, Py_ssize_t n, Py_ssize_t left,
                       Py_ssize_t right, object starts, str job, str uplo, double flops, dict errors, double share=0):
    cdef vector[Py_ssize_t] offsets
    load()
    for start in starts:
        offsets.push_back(start)
    cdef Made made = make_decomposition(<char>ord(np.dtype(dtype).char), what, batch, m, n, left, right, offsets,
                                        <char>ord(job), <char>ord(uplo), share)
    return wrap(made, label, 2, batch * flops / RATE + 1000, errors)


def eigen(dtype, Py_ssize_t batch, Py_ssize_t n, bint vectors, str uplo, starts):
    """Eigenvalues, and eigenvectors if asked for. Operands: a (batch, n, n); the results, from `starts` bytes on."""
    cdef double flops = (9.0 if vectors else 1.4) * n * n * n
    return decomposed("eigh" if vectors else "eigvalsh", dtype, EIGEN, batch, n, n, 0, 0, starts, "V" if vectors else "N",
                      uplo, flops, EIGENVALUES)


def singular(dtype, Py_ssize_t batch, Py_ssize_t m, Py_ssize_t n, str job, starts):
    """Singular values (`job` N), with vectors for each (S) or whole bases (A). Operands: a (batch, m, n); the results."""
    cdef Py_ssize_t k = min(m, n)
    cdef double flops = (3.0 if job == "N" else 20.0) * m * n * k
    cdef Py_ssize_t left = 0 if job == "N" else m if job == "A" else k
    cdef Py_ssize_t right = 0 if job == "N" else n if job == "A" else k
    return decomposed("svd", dtype, SINGULAR, batch, m, n, left, right, starts, job, "L", flops, SINGULAR_VALUES)


def orthonormal(dtype, Py_ssize_t batch, Py_ssize_t m, Py_ssize_t n, Py_ssize_t left, Py_ssize_t right, starts):
    """Orthonormal columns (m, left), none if that is 0, and a triangle (right, n). Operands: a (batch, m, n); the results."""
    cdef double flops = 2.7 * m * n * min(m, n)
    return decomposed("qr", dtype, ORTHONORMAL, batch, m, n, left, right, starts, "N", "L", flops, None)


def pseudo_inverse(dtype, Py_ssize_t batch, Py_ssize_t m, Py_ssize_t n, double share):
    """Pseudo-inverses: singular values up to a share of the greatest one count as zero. Operands: a (batch, m, n); out."""
    cdef Py_ssize_t k = min(m, n)
    return decomposed("pinv", dtype, PSEUDO_INVERSE, batch, m, n, k, k, (0,), "S", "L", 22.0 * m * n * k, SINGULAR_VALUES, share)
