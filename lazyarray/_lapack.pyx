# Design. Kernels of linear equations: inverses, solutions, determinants, Cholesky factors; and of the spectra of large
# matrices. The ABI is that of _loops. A
# factory returns a list of NativeKernels, the stages of one op: they run one after the other on the same operands and one
# scratch region, each divided over the workers.
# Invariants: a kernel is re-entrant, its params are read-only. LAPACK and BLAS have one thread a call; how a matrix is
# divided depends on its shape alone, so bits do not depend on the number of workers.
# Memory: `params` is a C++ object owned by a capsule. Working storage is the thread's, or the scratch region.
# Without the GIL: run. No Python object is touched there, no lock of ours is taken. The routines are SciPy's, found by
# their exported pointers when the first kernel is made.
from libcpp cimport bool as cbool
from libcpp.vector cimport vector
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer

import numpy as np

from lazyarray import _blas

from lazyarray._loops cimport Made, wrap

cdef extern from "lapack.hpp" namespace "la" nogil:
    const int kSingular
    void set_routines(char kind, void* getrf, void* laswp, void* trsm, void* gemm, void* potrf)
    vector[Made] make_equations(char kind, int wanted, Py_ssize_t batch, Py_ssize_t n, Py_ssize_t k, cbool shared) except +
    Made make_cholesky(char kind, Py_ssize_t batch, Py_ssize_t n, cbool upper) except +

cdef extern from "decompose.hpp" namespace "la" nogil:
    const int kDiverged
    void set_decompositions(void** found)
    vector[Made] make_spectrum(cbool singular, Py_ssize_t n, cbool vectors, cbool upper) except +

ctypedef void* pointer

cdef dict WANTED = {"inv": 0, "solve": 1, "det": 2, "slogdet": 3}
cdef dict LETTERS = {"d": "d", "D": "z"}
cdef bint loaded = False
cdef dict SINGULAR = {kSingular: (np.linalg.LinAlgError, "Singular matrix")}
cdef dict INDEFINITE = {kSingular: (np.linalg.LinAlgError, "Matrix is not positive definite")}
cdef tuple STEPS = ("dsytrd", "dstedc", "dsterf", "dormtr", "dgebrd", "dbdsdc", "dormbr")
# Multiplications and additions a nanosecond on one core, of factors and of small matrices.
cdef double RATE = 8.0, SMALL_RATE = 1.0


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
    for kind, letter in LETTERS.items():
        set_routines(<char>ord(kind), routine(lapack, letter + "getrf"), routine(lapack, letter + "laswp"),
                     routine(blas, letter + "trsm"), routine(blas, letter + "gemm"), routine(lapack, letter + "potrf"))
    cdef vector[pointer] steps
    for name in STEPS:
        steps.push_back(routine(lapack, name))
    set_decompositions(steps.data())
    loaded = True


cdef double rate_of(Py_ssize_t n):
    return SMALL_RATE if n < 32 else RATE


def equations(str wanted, dtype, Py_ssize_t batch, Py_ssize_t n, Py_ssize_t k, bint shared=False):
    """The stages of an "inv", a "solve", a "det" or a "slogdet" of `batch` matrices of order n; k is 0 for the last two.

    Operands: a (batch, n, n); for a solution b (batch, n, k), or (n, k) where it is `shared`; out (batch, n, k), for an
    inverse with k = n, or (batch,); signs, then logarithms, each from an address divisible by 16. A singular matrix fails,
    but for its determinant.
    """
    load()
    cdef vector[Made] made = make_equations(<char>ord(np.dtype(dtype).char), WANTED[wanted], batch, n, k, shared)
    cdef double flops = <double>n * n * (n / 3.0 + k * (2 / 3.0 if wanted == "inv" else 1))
    cost = batch * flops / rate_of(n) / <Py_ssize_t>made.size() + 1000
    return [wrap(each, wanted, 3 if wanted == "solve" else 2, cost, SINGULAR) for each in made]


def cholesky(dtype, Py_ssize_t batch, Py_ssize_t n, bint upper):
    """Cholesky factors. Operands: a (batch, n, n), of which one triangle is read; out (batch, n, n)."""
    load()
    cdef double flops = <double>n * n * n / 6
    return wrap(make_cholesky(<char>ord(np.dtype(dtype).char), batch, n, upper), "cholesky", 2,
                batch * flops / rate_of(n) + 1000, INDEFINITE)


def spectrum(str wanted, Py_ssize_t n, bint vectors, bint upper=False):
    """The stages of an "eigh", of which the `upper` triangle may be read, or an "svd" of one matrix of doubles.

    Operands: a (n, n); out: eigenvalues, or U, singular values and Vh, side by side, each from an address divisible by 16;
    without `vectors` the values alone.
    """
    load()
    cdef bint singular = wanted == "svd"
    cdef vector[Made] made = make_spectrum(singular, n, vectors, upper)
    failure = "SVD did not converge" if singular else "Eigenvalues did not converge"
    cost = <double>n * n * n * (4 if singular else 2) / RATE
    return [wrap(each, wanted, 2, cost, {kDiverged: (np.linalg.LinAlgError, failure)}) for each in made]
