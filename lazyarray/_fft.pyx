# Design. Kernels of discrete Fourier transforms, native/fft.hpp. The ABI is that of _loops. A factory returns a list of
# NativeKernels, the stages of one op: they run one after the other on the same operands and one scratch region, each
# divided over the workers.
# Invariants: a kernel is re-entrant, its params are read-only. What is computed for a line depends on its length alone: so
# do its bits, whatever lies beside it and however many workers there are.
# Memory: `params` is a C++ object owned by a capsule. Working storage is the thread's, or the scratch region.
# Without the GIL: run. No Python object is touched there, no lock of ours is taken.
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

import numpy as np

from lazyarray._loops cimport Made, wrap

cdef extern from "fft.hpp" namespace "la" nogil:
    cppclass LineAxis:
        Py_ssize_t kind, inverse, lines, inner, given, n, source, target
        double factor
    vector[Made] make_transforms(cbool single, const vector[LineAxis]& axes, Py_ssize_t held) except +

COMPLEX, HALF, WHOLE, REAL = 0, 1, 2, 3
# Of a point, nanoseconds on one core for each doubling of the length.
cdef double STEP = 0.35


def transforms(dtype, list axes, Py_ssize_t held=0):
    """The stages of transforms along axes, one after the other; None: this has no kernel.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the complex side: complex64 or complex128.
    axes : list of (kind, inverse, lines, inner, given, n, source, target, factor)
        COMPLEX to complex, real to HALF or WHOLE of a spectrum, half of one to REAL. There are `lines` lines, `inner` of
        them side by side, of which `given` elements are there; `n` is the number of elements of the transform. Source and
        target are 0 for the input, 1 for the output, 2 for the scratch region, which holds `held` bytes of a value.
    """
    cdef vector[LineAxis] found
    cdef LineAxis one
    cdef double points = 0, doublings = 0
    for kind, inverse, lines, inner, given, n, source, target, factor in axes:
        one.kind, one.inverse, one.lines, one.inner, one.given, one.n = kind, inverse, lines, inner, given, n
        one.source, one.target, one.factor = source, target, factor
        found.push_back(one)
        points = max(points, <double>lines * n)
        doublings += <double>lines * n * max(np.log2(n), 1)
    if not points:
        return None
    cdef vector[Made] made = make_transforms(np.dtype(dtype).char == "F", found, held)
    cost = doublings * STEP / max(<Py_ssize_t>made.size(), 1) + 200
    return [wrap(each, "fft", 2, cost) for each in made] or None
