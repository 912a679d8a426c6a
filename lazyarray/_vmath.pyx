# Design. The vector functions: inner loops over the scalar programs of codegen/scalars.py, which setup.py writes as C++
# into build/generated/vmath_loops.hpp. Importing the module registers them with _loops, whose find_loop then gives
# them in place of NumPy's.
# Invariants: the bits of an element depend on its arguments alone, at every instruction-set level.
# Nothing is owned here, and nothing runs here: kernels of _loops call the loops, without the GIL.
from libcpp.vector cimport vector
from libc.stdint cimport uintptr_t

from lazyarray import _loops

cdef extern from "simd.hpp" namespace "la" nogil:
    ctypedef void (*LoopFn)(char**, const Py_ssize_t*, const Py_ssize_t*, void*) noexcept

cdef extern from "vmath_loops.hpp" namespace "la" nogil:
    cdef cppclass VectorLoop:
        const char* name
        const char* types
        LoopFn fn
    const vector[VectorLoop]& vector_loops() except +


cdef list register():
    cdef vector[VectorLoop] loops = vector_loops()
    cdef VectorLoop loop
    found = []
    for loop in loops:
        types = tuple(loop.types.decode().split())
        made = _loops.loop_at(<uintptr_t>loop.fn, loop.name.decode(), types, len(types) - 1)
        _loops.add_loop(made)
        found.append(made)
    return found


LOOPS = tuple(register())
